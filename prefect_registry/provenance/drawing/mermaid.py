"""Mermaid flowcharts (https://mermaid.js.org/syntax/flowchart.html).

Ids are ours, and names stand only in quoted texts, where every character that is no letter, digit or space is written
as an entity (``#34;``): nothing in a name can end the text, begin a directive, or be taken for Markdown or HTML.
"""

from __future__ import annotations

import re

from typing_extensions import Unpack

from prefect_registry.provenance.drawing.collapsing import Box, DrawingOptions, picture
from prefect_registry.provenance.drawing.colours import LIGHT, kind_of
from prefect_registry.provenance.graph import Graph

_SHAPES = {"entity": ("([", "])"), "activity": ("[", "]"), "agent": ("{{", "}}"), "more": ("[", "]")}

_MEANT = re.compile(r"\$(?=\$)|\\(?=[nN])|:(?=fa-)|¶(?=ß)")
"""Formulas between ``$$``, line breaks, icons, and the end of an entity in Mermaid's own spelling."""


def mermaid(graph: Graph, **options: Unpack[DrawingOptions]) -> str:
    """The text of a flowchart; it ends in a line break."""
    drawn = picture(graph, **options)
    lines = [f"flowchart {drawn.direction}", f"accTitle: {drawn.caption}"]
    lines += [f"    {_box(box)}" for box in drawn.boxes]
    for arrow in drawn.arrows:
        line = f'-->|"{arrow.label}"|' if arrow.label else "-.->"
        lines.append(f"    {arrow.source} {line} {arrow.target}")
    for kind, colours in LIGHT.boxes.items():
        dashes = ",stroke-dasharray:4 3" if kind == "more" else ""
        lines.append(f"    classDef {kind} fill:{colours.fill},stroke:{colours.line},color:{LIGHT.ink}{dashes}")
    lines.append("    classDef highlighted stroke-width:4px")
    highlighted = ",".join(box.key for box in drawn.boxes if box.highlighted)
    if highlighted:
        lines.append(f"    class {highlighted} highlighted")
    if not drawn.whole:
        lines[:0] = ["---", f'title: "{drawn.caption}"', "---"]
    return "\n".join(lines) + "\n"


def _box(box: Box) -> str:
    kind = kind_of(box.category)
    opening, closing = _SHAPES[kind]
    return f'{box.key}{opening}"{_escaped(box.label)}<br/>{_escaped(box.detail)}"{closing}:::{kind}'


def _escaped(text: str) -> str:
    """Mermaid looks at texts again after it has resolved entities: what then means something is broken up by a space of
    no width, and the ligature with which its own spelling of entities begins is spelt out.
    """
    text = _MEANT.sub("\\g<0>\u200b", text.replace("\ufb02", "fl"))
    return "".join(c if c == " " or c.isalnum() else f"#{ord(c)};" for c in text)
