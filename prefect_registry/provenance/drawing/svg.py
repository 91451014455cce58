"""SVG: a picture that browsers, notebooks and Prefect's artifacts show as it is, in light and in dark.

Colours stand on the elements, and a style of a few lines replaces them where dark is preferred: where styles are not
allowed, the picture is the light one. It has no scripts, no links and no ids that could clash with those of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from typing_extensions import Unpack

from prefect_registry.provenance.drawing.collapsing import Arrow, Box, DrawingOptions, Picture, picture
from prefect_registry.provenance.drawing.colours import DARK, LIGHT, MORE, Theme, kind_of
from prefect_registry.provenance.drawing.layers import Layout, arrange
from prefect_registry.provenance.graph import Graph

_WIDTH, _HEIGHT = 200, 44
_MARGIN, _CAPTION = 20, 24
_HEAD_LENGTH, _HEAD_WIDTH = 8, 7
_CORNER = 9

Point = tuple[float, float]
"""Along the arrows, and across them; pixels."""


def svg(graph: Graph, **options: Unpack[DrawingOptions]) -> str:
    """The text of an ``<svg>`` element; ends in a line break."""
    drawn = picture(graph, **options)
    return "\n".join(_Drawing(drawn).lines()) + "\n"


class _Drawing:
    """One picture, and where its parts stand."""

    def __init__(self, drawn: Picture) -> None:
        self.drawn = drawn
        self.number = {box.key: i for i, box in enumerate(drawn.boxes)}
        pairs = [(self.number[arrow.source], self.number[arrow.target]) for arrow in drawn.arrows]
        self.layout: Layout = arrange(len(drawn.boxes), pairs)
        self.level = drawn.direction in ("LR", "RL")
        self.size, self.breadth = (_WIDTH, _HEIGHT) if self.level else (_HEIGHT, _WIDTH)
        self.step, self.row = (_WIDTH + 110, _HEIGHT + 16) if self.level else (_HEIGHT + 70, _WIDTH + 16)
        self.shift = 12 if self.level else 50
        self.length = max(self.layout.layer, default=0) * self.step + self.size
        self.across = max(self.layout.at, default=0.0) * self.row + self.breadth

    def lines(self) -> Iterator[str]:
        width, height = (self.length, self.across) if self.level else (self.across, self.length)
        width, height = width + 2 * _MARGIN, height + 2 * _MARGIN + _CAPTION * (not self.drawn.whole)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="lineage" role="graphics-document document" '
            f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}" '
            f'font-family="system-ui, sans-serif" font-size="12" text-anchor="middle">'
        )
        yield f"<title>{_escaped(self.drawn.caption)}</title>"
        yield f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(_rules(DARK))} }}</style>"
        yield f'<rect class="lineage-ground" width="100%" height="100%" fill="{LIGHT.ground}"/>'
        for arrow, path, i in zip(self.drawn.arrows, self.layout.paths, range(len(self.layout.paths)), strict=True):
            yield self._arrow(arrow, path, i in self.layout.turned)
        for i, box in enumerate(self.drawn.boxes):
            yield self._box(box, i)
        if not self.drawn.whole:
            place = f'x="{_n(width / 2)}" y="{_n(height - _MARGIN / 2)}"'
            yield f'<text class="lineage-quiet" {place} fill="{LIGHT.quiet}">{_escaped(self.drawn.caption)}</text>'
        yield "</svg>"

    # -- boxes -----------------------------------------------------------------------------------------------------

    def _box(self, box: Box, number: int) -> str:
        kind = kind_of(box.category)
        colours = LIGHT.boxes[kind]
        middle, centre = self._begin(number) + self.size / 2, self._centre(number)
        x, y = self._place((middle, centre))
        classes = f"lineage-{kind}" + " lineage-highlighted" * box.highlighted
        width = 3 if box.highlighted else 1
        dashes = ' stroke-dasharray="4 3"' if kind == MORE else ""
        return (
            f'<g class="{classes}" role="graphics-symbol img"><title>{_escaped(box.title)}</title>'
            f'<path d="{_outline(kind, x, y)}" fill="{colours.fill}" stroke="{colours.line}" stroke-width="{width}"'
            f'{dashes}/><text x="{_n(x)}" y="{_n(y - 3)}" fill="{LIGHT.ink}">{_escaped(box.label)}</text>'
            f'<text x="{_n(x)}" y="{_n(y + 13)}" font-size="10" fill="{LIGHT.ink}">{_escaped(box.detail)}</text></g>'
        )

    def _begin(self, number: int) -> float:
        return self.layout.layer[number] * self.step

    def _centre(self, number: int) -> float:
        return self.layout.at[number] * self.row + self.breadth / 2

    def _lane(self, number: int, turned: bool) -> float:
        """Where an arrow meets a box: those that lead back beside the others, since some of them join the same two."""
        return self._centre(number) + self.shift * turned

    def _place(self, point: Point) -> Point:
        """Where a point of the layout is on the paper."""
        along, across = point
        if self.drawn.direction in ("RL", "BT"):
            along = self.length - along
        x, y = (along, across) if self.level else (across, along)
        return x + _MARGIN, y + _MARGIN

    # -- arrows ----------------------------------------------------------------------------------------------------

    def _arrow(self, arrow: Arrow, path: list[int], turned: bool) -> str:
        if len(path) == 1:
            way, tip, back, label = self._loop(path[0])
        else:
            way, label = self._way(path, turned)
            end = path[0] if turned else path[-1]
            tip = (self._begin(end) + self.size * turned, self._lane(end, turned))
            back = (tip[0] + (_HEAD_LENGTH if turned else -_HEAD_LENGTH), tip[1])
        boxes = self.drawn.boxes
        source, target = (boxes[self.number[key]].label for key in (arrow.source, arrow.target))
        told = f"{source} → {arrow.label or '…'} → {target}"
        dashes = "" if arrow.label else ' stroke-dasharray="4 3"'
        lines = (
            f'<g class="lineage-arrow" role="graphics-symbol img"><title>{_escaped(told)}</title>'
            f'<path class="lineage-line" d="{way}" fill="none" stroke="{LIGHT.quiet}"{dashes}/>'
            f'<path class="lineage-quiet" d="{self._head(tip, back)}" fill="{LIGHT.quiet}"/>'
        )
        if arrow.label and (self.level or len(path) > 1):  # beside a loop, there is no room for a text
            x, y = self._place(label)
            lines += (
                f'<text class="lineage-quiet lineage-halo" x="{_n(x)}" y="{_n(y + 3)}" font-size="10" '
                f'fill="{LIGHT.quiet}" stroke="{LIGHT.ground}" stroke-width="3" paint-order="stroke">'
                f"{_escaped(arrow.label)}</text>"
            )
        return lines + "</g>"

    def _way(self, path: list[int], turned: bool) -> tuple[str, Point]:
        """The line of an arrow, from the first layer to the last, and where its label stands."""
        here = (self._begin(path[0]) + self.size + _HEAD_LENGTH * turned, self._lane(path[0], turned))
        parts, label = [f"M{self._at(here)}"], here
        for i, number in enumerate(path[1:], 1):
            last = i == len(path) - 1
            there = (self._begin(number) - _HEAD_LENGTH * (last and not turned), self._lane(number, turned))
            half = (here[0] + there[0]) / 2
            parts.append(f"C{self._at((half, here[1]))} {self._at((half, there[1]))} {self._at(there)}")
            if i == 1:
                label = (half, (here[1] + there[1]) / 2)
            here = there
            if not last:
                here = (there[0] + self.size, there[1])
                parts.append(f"L{self._at(here)}")
        return " ".join(parts), label

    def _loop(self, number: int) -> tuple[str, Point, Point, Point]:
        """An arrow from a box to itself: its line, its tip, where its head begins, and its label."""
        middle, edge = self._begin(number) + self.size / 2, self._centre(number) + self.breadth / 2
        out = self.size * 0.3
        begin, tip = (middle - out, edge), (middle + out, edge)
        back = (tip[0], edge + _HEAD_LENGTH)
        far = edge + 1.4 * _HEAD_LENGTH
        way = f"M{self._at(begin)} C{self._at((begin[0], far))} {self._at((tip[0], far))} {self._at(back)}"
        return way, tip, back, (middle, edge + _HEAD_LENGTH)

    def _head(self, tip: Point, back: Point) -> str:
        half = _HEAD_WIDTH / 2
        if tip[1] == back[1]:
            sides = (back[0], back[1] - half), (back[0], back[1] + half)
        else:
            sides = (back[0] - half, back[1]), (back[0] + half, back[1])
        return f"M{self._at(tip)} L{self._at(sides[0])} L{self._at(sides[1])} Z"

    def _at(self, point: Point) -> str:
        x, y = self._place(point)
        return f"{_n(x)},{_n(y)}"


def _outline(kind: str, x: float, y: float) -> str:
    """Around the middle of a box: entities are round, activities square, agents have cut corners."""
    left, right, top, bottom = x - _WIDTH / 2, x + _WIDTH / 2, y - _HEIGHT / 2, y + _HEIGHT / 2
    cut = {"entity": _HEIGHT / 2, "agent": _CORNER}.get(kind, 0)
    if not cut:
        return f"M{_n(left)},{_n(top)} H{_n(right)} V{_n(bottom)} H{_n(left)} Z"
    corner = f"a{_n(cut)},{_n(cut)} 0 0 1 " if kind == "entity" else "l"
    turns = [f"{corner}{_n(dx)},{_n(dy)}" for dx, dy in ((cut, cut), (-cut, cut), (-cut, -cut), (cut, -cut))]
    return (
        f"M{_n(left + cut)},{_n(top)} H{_n(right - cut)} {turns[0]} V{_n(bottom - cut)} {turns[1]} "
        f"H{_n(left + cut)} {turns[2]} V{_n(top + cut)} {turns[3]} Z"
    )


def _rules(theme: Theme) -> Iterator[str]:
    """What replaces the colours on the elements."""
    yield f".lineage .lineage-ground {{ fill: {theme.ground} }}"
    yield f".lineage text {{ fill: {theme.ink} }}"
    yield f".lineage .lineage-quiet {{ fill: {theme.quiet} }}"
    yield f".lineage .lineage-line {{ stroke: {theme.quiet} }}"
    yield f".lineage .lineage-halo {{ stroke: {theme.ground} }}"
    for kind, colours in theme.boxes.items():
        yield f".lineage .lineage-{kind} > path {{ fill: {colours.fill}; stroke: {colours.line} }}"


def _n(number: float) -> str:
    """A number without needless digits."""
    return f"{number:.1f}".removesuffix(".0")


def _escaped(text: str) -> str:
    return escape(text, quote=True)
