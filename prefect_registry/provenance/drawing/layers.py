"""Where boxes stand: in layers, so that arrows lead forward, with few crossings (Sugiyama, Tagawa and Toda, 1981).

Nothing here is random, so the same graph always gives the same picture. Work grows with boxes times sweeps.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Pair = tuple[int, int]
SWEEPS = 8
MOST_BENDS = 4_000
"""Arrows past this many bends go straight across the layers between."""
_BEND_ROOM = 0.5


@dataclass
class Layout:
    """Positions of boxes and of the bends of arrows: ``layer`` along the arrows, ``at`` across them, in boxes.

    Args:
        layer: By box, then by bend.
        at: Likewise.
        paths: For each arrow that was given, the boxes and bends on its way, in the order of the layers; a single one
            for an arrow to the box itself.
        turned: The arrows that lead back to an earlier layer: their paths begin at their heads.
    """

    layer: list[int]
    at: list[float] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)
    turned: set[int] = field(default_factory=set)


def arrange(count: int, arrows: Sequence[Pair]) -> Layout:
    """Place ``count`` boxes, numbered from 0, and the arrows between them."""
    turned = _turned(count, arrows)
    forward = [(b, a) if i in turned else (a, b) for i, (a, b) in enumerate(arrows)]
    layout = Layout(_ranks(count, [pair for pair in forward if pair[0] != pair[1]]), turned=turned)
    for a, b in forward:
        layout.paths.append(_path(layout, a, b, count))
    steps = [pair for path in layout.paths for pair in pairwise(path)]
    short = [(a, b) for a, b in steps if layout.layer[b] - layout.layer[a] == 1]
    layers = _ordered(layout.layer, short)
    layout.at = _spread(layers, short, count)
    return layout


def _path(layout: Layout, a: int, b: int, count: int) -> list[int]:
    """Give an arrow a bend in each layer between its ends."""
    if a == b:
        return [a]
    between = range(layout.layer[a] + 1, layout.layer[b])
    if len(layout.layer) + len(between) > count + MOST_BENDS:
        return [a, b]
    bends = range(len(layout.layer), len(layout.layer) + len(between))
    layout.layer += between
    return [a, *bends, b]


def _neighbours(count: int, pairs: Sequence[Pair]) -> tuple[list[list[int]], list[list[int]]]:
    """The boxes behind and before each one."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in pairs:
        before[b].append(a)
        after[a].append(b)
    return before, after


def _turned(count: int, arrows: Sequence[Pair]) -> set[int]:
    """The arrows that close a cycle in a depth-first walk: without them there is none."""
    ways: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for i, (a, b) in enumerate(arrows):
        if a != b:
            ways[a].append((i, b))
    turned: set[int] = set()
    state = [0] * count  # 1: on the way, 2: done
    for start in range(count):
        stack = [(start, iter(ways[start]))] if not state[start] else []
        state[start] = state[start] or 1
        while stack:
            here, rest = stack[-1]
            for i, there in rest:
                if state[there] == 1:
                    turned.add(i)
                elif not state[there]:
                    state[there] = 1
                    stack.append((there, iter(ways[there])))
                    break
            else:
                state[here] = 2
                stack.pop()
    return turned


def _ranks(count: int, pairs: Sequence[Pair]) -> list[int]:
    """The layer of each box: behind all that lead to it; what nothing leads to, right before what it leads to."""
    before, after = _neighbours(count, pairs)
    open_, rank = [len(each) for each in before], [0] * count
    ready = [box for box in range(count) if not open_[box]]
    for box in ready:  # grows meanwhile
        for there in after[box]:
            rank[there] = max(rank[there], rank[box] + 1)
            open_[there] -= 1
            if not open_[there]:
                ready.append(there)
    for box in range(count):
        if after[box] and not before[box]:
            rank[box] = min(rank[there] for there in after[box]) - 1
    least = min(rank, default=0)
    return [each - least for each in rank]


def _ordered(layer: Sequence[int], pairs: Sequence[Pair]) -> list[list[int]]:
    """The boxes and bends of each layer in the order, of those tried, in which the fewest arrows cross."""
    layers: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for box, number in enumerate(layer):
        layers[number].append(box)
    before, after = _neighbours(len(layer), pairs)
    best, fewest = [list(each) for each in layers], _crossings(layers, after)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down, place = sweep % 2 == 0, _places(layers)
        for boxes in layers if down else reversed(layers):
            _sort(boxes, before if down else after, place)
            place.update({box: i for i, box in enumerate(boxes)})
        crossings = _crossings(layers, after)
        if crossings < fewest:
            best, fewest = [list(each) for each in layers], crossings
    return best


def _places(layers: Sequence[Sequence[int]]) -> dict[int, int]:
    return {box: i for boxes in layers for i, box in enumerate(boxes)}


def _sort(boxes: list[int], beside: Sequence[Sequence[int]], place: dict[int, int]) -> None:
    """Order a layer by the mean places of what each is linked with in the one beside it; the rest stay about there."""

    def mean(box: int) -> float:
        linked = beside[box]
        return sum(place[each] for each in linked) / len(linked) if linked else place[box]

    boxes.sort(key=mean)


def _crossings(layers: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """How often two arrows between neighbouring layers cross."""
    place, found = _places(layers), 0
    for boxes in layers:
        ends: list[int] = []
        for box in boxes:
            reached = sorted(place[there] for there in after[box])
            found += sum(len(ends) - bisect_right(ends, end) for end in reached)
            for end in reached:
                insort(ends, end)
    return found


def _spread(layers: Sequence[Sequence[int]], pairs: Sequence[Pair], count: int) -> list[float]:
    """Where each stands in its layer: near what it is linked with, and apart from its neighbours."""
    total = sum(map(len, layers))
    before, after = _neighbours(total, pairs)
    at = [0.0] * total
    for boxes in layers:
        for i, box in enumerate(boxes):
            at[box] = i - (len(boxes) - 1) / 2
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        beside = before if down else after
        for boxes in layers if down else reversed(layers):
            linked = [[at[each] for each in beside[box]] or [at[box]] for box in boxes]
            wishes = [sum(each) / len(each) for each in linked]
            for box, place in zip(boxes, _apart(boxes, wishes, count), strict=True):
                at[box] = place
    least = min(at, default=0.0)
    return [place - least for place in at]


def _apart(boxes: Sequence[int], wishes: Sequence[float], count: int) -> list[float]:
    """Places as near to the wishes as order and distances allow: the mean of pushing all forward and all back."""
    rooms = [0.0] * len(boxes)
    for i in range(1, len(boxes)):
        rooms[i] = 1.0 if boxes[i] < count and boxes[i - 1] < count else _BEND_ROOM
    up, down = list(wishes), list(wishes)
    for i in range(1, len(boxes)):
        up[i] = max(up[i], up[i - 1] + rooms[i])
    for i in range(len(boxes) - 2, -1, -1):
        down[i] = min(down[i], down[i + 1] - rooms[i + 1])
    return [(a + b) / 2 for a, b in zip(up, down, strict=True)]
