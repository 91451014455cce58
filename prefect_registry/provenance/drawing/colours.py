"""Colours of boxes, those of W3C PROV's own diagrams: entities yellow, activities blue, agents orange.

Text on each, and each outline on its ground, has the contrast that WCAG 2.2 asks for (4.5 and 3): a test measures it.
"""

from __future__ import annotations

from typing import NamedTuple

from prefect_registry.provenance.relations import ItemCategory


class Colours(NamedTuple):
    """Of one kind of box, as ``#rrggbb``."""

    fill: str
    line: str


class Theme(NamedTuple):
    """The colours on one ground."""

    ground: str
    ink: str
    quiet: str
    """Lines between boxes, and their texts."""
    boxes: dict[str, Colours]


MORE = "more"
"""The kind of the box that stands for what is not drawn; the others are called as their categories, in lower case."""

LIGHT = Theme(
    ground="#ffffff",
    ink="#1f2328",
    quiet="#59636e",
    boxes={
        "entity": Colours("#fff3bf", "#9a6700"),
        "activity": Colours("#dbe4ff", "#3b5bdb"),
        "agent": Colours("#ffe3d1", "#bc4c00"),
        MORE: Colours("#f1f3f5", "#59636e"),
    },
)
DARK = Theme(
    ground="#0d1117",
    ink="#f0f6fc",
    quiet="#9ea7b3",
    boxes={
        "entity": Colours("#3d3200", "#d9a514"),
        "activity": Colours("#1c2a5e", "#8da2fb"),
        "agent": Colours("#4a2310", "#f59e5b"),
        MORE: Colours("#22272e", "#9ea7b3"),
    },
)


def kind_of(category: ItemCategory | None) -> str:
    """What the box of a node of this category is called; None: what is not drawn."""
    return category.value.lower() if category else MORE
