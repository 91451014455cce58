r"""Graphviz' DOT language (https://graphviz.org/doc/info/lang.html).

Ids are ours, and names stand only in quoted texts. There a quote and a backslash are written with a backslash, since
``\N`` and the like mean something in labels, and an ampersand as an entity.
"""

from __future__ import annotations

from typing_extensions import Unpack

from prefect_registry.provenance.drawing.collapsing import Box, DrawingOptions, picture
from prefect_registry.provenance.drawing.colours import LIGHT, kind_of
from prefect_registry.provenance.graph import Graph

_SHAPES = {"entity": "ellipse", "activity": "box", "agent": "house", "more": "note"}
_GREY = "#767676"
"""It can be read on white and on black."""


def dot(graph: Graph, **options: Unpack[DrawingOptions]) -> str:
    """The text of a digraph; it ends in a line break."""
    drawn = picture(graph, **options)
    lines = [
        "digraph lineage {",
        f"    graph [rankdir={drawn.direction}, label={_quoted(drawn.caption)}];",
        f'    graph [bgcolor="transparent", fontname="sans-serif", fontcolor="{_GREY}"];',
        f'    node [style="filled", fontname="sans-serif", fontsize=12, fontcolor="{LIGHT.ink}"];',
        f'    edge [fontname="sans-serif", fontsize=10, color="{_GREY}", fontcolor="{_GREY}"];',
    ]
    lines += [f"    {_box(box)}" for box in drawn.boxes]
    for arrow in drawn.arrows:
        look = f"label={_quoted(arrow.label)}" if arrow.label else 'style="dashed"'
        lines.append(f"    {arrow.source} -> {arrow.target} [{look}];")
    return "\n".join([*lines, "}"]) + "\n"


def _box(box: Box) -> str:
    kind = kind_of(box.category)
    colours = LIGHT.boxes[kind]
    width = "3" if box.highlighted else "1"
    return (
        f'{box.key} [label="{_escaped(box.label)}\\n{_escaped(box.detail)}", tooltip={_quoted(box.title)}, '
        f'shape={_SHAPES[kind]}, fillcolor="{colours.fill}", color="{colours.line}", penwidth={width}];'
    )


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
