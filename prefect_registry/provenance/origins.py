"""Where something is from: the ways from it back to its sources, by a graph of what came from what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.relations import RUNS, ItemSubType

MOST_PATHS = 1_000
_MOST_STEPS = 200 * MOST_PATHS
"""How many beginnings of paths are looked at: only among cycles are there so many that lead to few paths."""


def before(graph: Graph) -> dict[str, list[str]]:
    """The data and the runs that each node comes from by one link, each once."""
    data = {n.id for n in graph.nodes if n.subtype is ItemSubType.DATASET or n.subtype in RUNS}
    return {
        id_: list(dict.fromkeys(link.target for link in links if link.target in data))
        for id_, links in graph.links_from.items()
    }


def with_makers(graph: Graph, whole: Graph) -> Graph:
    """A part of ``whole`` with the runs that made what comes from nothing else in it.

    A dataset that came from nothing but its template and its makers is a source.
    """
    earlier = before(graph)
    made = [
        link
        for node in graph.nodes
        if not earlier.get(node.id)
        for link in whole.links_from.get(node.id, ())
        if link.relation == "wasGeneratedBy" and whole.by_id[link.target].subtype in RUNS and link.target not in graph
    ]
    makers = dict.fromkeys(link.target for link in made)
    return Graph((*graph.nodes, *(whole.by_id[id_] for id_ in makers)), (*graph.links, *made))


@dataclass(frozen=True)
class Ways:
    """The ways from ``start`` back to what nothing comes before.

    Args:
        before: What each node comes from by one link.
        data: The nodes that are datasets; the others are runs, or the start.
    """

    start: str
    before: Mapping[str, Sequence[str]]
    data: frozenset[str]

    @classmethod
    def of(cls, graph: Graph, start: str) -> Ways:
        """Those in a graph."""
        return cls(start, before(graph), frozenset(n.id for n in graph.nodes if n.subtype is ItemSubType.DATASET))

    # -- sources -------------------------------------------------------------------------------------------------

    def sources(self) -> list[str]:
        """What all ways go back to, however many there are: the last dataset of each, or its end if it has none."""
        found: dict[str, None] = {}
        runs: list[str] = []
        for end in self._ends:
            found |= {end: None} if end in self.data else {}
            runs += [] if end in self.data else [end]
        for end in runs:
            met, layer = {end}, [end]
            while layer:
                following: list[str] = []
                for id_ in layer:
                    found |= {end: None} if id_ == self.start else {}
                    following += [each for each in self._after.get(id_, ()) if each not in met]
                    met.update(following)
                found |= dict.fromkeys(id_ for id_ in following if id_ in self.data)
                layer = list(dict.fromkeys(id_ for id_ in following if id_ not in self.data))
        return list(found)

    @cached_property
    def _steps(self) -> dict[str, int]:
        """How many links each node is away from the start, nearest first."""
        return _nearest([self.start], self.before)

    @cached_property
    def _after(self) -> dict[str, list[str]]:
        """What came from each node, as far as that is on the ways from the start."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for id_ in self._steps:
            for each in self.before.get(id_, ()):
                found[each].append(id_)
        return dict(found)

    @cached_property
    def _ends(self) -> list[str]:
        """What nothing comes before; of cycles that nothing leads out of, where there is no way that leads further."""
        ends = [id_ for id_ in self._steps if not self.before.get(id_)]
        ending = _nearest(ends, self._after)
        for id_, step in self._steps.items():
            if id_ not in ending and all(self._steps[each] <= step for each in self.before[id_]):
                ends.append(id_)
        return ends

    # -- paths ---------------------------------------------------------------------------------------------------

    def paths(self, most: int = MOST_PATHS) -> tuple[list[tuple[str, ...]], bool]:
        """The shortest ways, shortest first, and whether these are all. In cycles they end where they would begin
        again.

        What is looked at next is the beginning that can become the shortest path; so there are never many of them.
        Among cycles that may lead nowhere for long: then what was begun is finished in any way.
        """
        rest = _nearest(self._ends, self._after)
        order: dict[str, list[str]] = {}
        numbers, found = count(), list[tuple[str, ...]]()
        waiting: list[tuple[int, int, int, _Beginning]] = []

        def wait(siblings: Sequence[str], index: int, way: _Way | None, length: int) -> None:
            """The first of ``siblings``, from ``index`` on, that is not on its own way there."""
            while index < len(siblings) and _is_on(siblings[index], way):
                index += 1
            if index < len(siblings):
                total = length + rest.get(siblings[index], 0)
                heappush(waiting, (total, -length, next(numbers), (siblings, index, way)))

        wait([self.start], 0, None, 0)
        for _ in range(_MOST_STEPS):
            if not waiting or len(found) == most:
                break
            _, length, _, (siblings, index, above) = heappop(waiting)
            wait(siblings, index + 1, above, -length)
            way = siblings[index], above
            if way[0] not in order:
                order[way[0]] = sorted(self.before.get(way[0], ()), key=lambda id_: rest.get(id_, 0))
            if all(_is_on(id_, way) for id_ in order[way[0]]):
                found.append(_told(way))
            else:
                wait(order[way[0]], 0, way, 1 - length)
        complete, left = not waiting, _MOST_STEPS
        while waiting and len(found) < most and left > 0:
            *_, (siblings, index, above) = heappop(waiting)
            found.append(self._longer(_told((siblings[index], above))))
            left -= len(found[-1])
        return sorted(found, key=len), complete

    def _longer(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """A path that begins like that."""
        on = dict.fromkeys(path)
        here: str | None = path[-1]
        while here is not None:
            on[here] = None
            here = next((id_ for id_ in self.before.get(here, ()) if id_ not in on), None)
        return tuple(on)

    def source(self, path: Sequence[str]) -> str:
        """What a path goes back to: its last dataset, or its end if it has none."""
        return next((id_ for id_ in reversed(path) if id_ in self.data), path[-1])


_Way: TypeAlias = "tuple[str, _Way | None]"
"""A node, and the way from the start to the one before it."""
_Beginning: TypeAlias = "tuple[Sequence[str], int, _Way | None]"
"""Nodes that are reached by one link, the number of the next one of them, and the way that leads to all of them."""


def _is_on(id_: str, way: _Way | None) -> bool:
    while way is not None:
        if way[0] == id_:
            return True
        way = way[1]
    return False


def _told(way: _Way | None) -> tuple[str, ...]:
    found = []
    while way is not None:
        found.append(way[0])
        way = way[1]
    return tuple(reversed(found))


def _nearest(starts: Iterable[str], links: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many links each node is away from the nearest of ``starts``, nearest first."""
    steps = dict.fromkeys(starts, 0)
    layer, step = list(steps), 0
    while layer:
        step += 1
        met = dict.fromkeys(each for id_ in layer for each in links.get(id_, ()) if each not in steps)
        steps |= dict.fromkeys(met, step)
        layer = list(met)
    return steps
