"""Where every dataset of a kind stands in the states that its table has gone through (DESIGN.md P15).

Each publication makes a state of the table; they are counted from the present one, which is 0. A dataset is part of the
states from its own publication on, up to the one whose publication hides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from prefect_registry.catalog.histories import Published
from prefect_registry.datasets.partitions import within
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.tables import without

Load = Callable[[Published], Dataset]
"""Reads a dataset with its files: needed where the folders of files spell partitions."""


@dataclass(frozen=True)
class Place:
    """Where a dataset stands.

    Attributes:
        hidden_since: When it ceased to be part of the table; None while it is part of it.
        last_state: The number of the newest state that has it.
        hidden_by: The datasets that hide it: one that replaced the table, or those that replaced partitions.
    """

    dataset: Published
    hidden_since: datetime | None = None
    last_state: int = 0
    hidden_by: tuple[Published, ...] = ()

    @property
    def current(self) -> bool:
        """Whether it is part of the table as it is."""
        return self.hidden_since is None


@dataclass
class _Newer:
    """What is newer than the datasets that are looked at: in front of a wall, only what is older than it counts."""

    wall: tuple[int, Published] | None = None
    partitions: list[tuple[int, Published]] = field(default_factory=list)

    def add(self, state: int, group: Iterable[Published]) -> None:
        """Remember what a publication hides."""
        members = list(group)
        replacing = next((d for d in members if d.mode == "replace"), None)
        if replacing is not None:
            self.wall, self.partitions = (state, replacing), []
        self.partitions += [(state, d) for d in members if d.mode == "replace_partitions" and d.partition is not None]


def places(published: Iterable[Published], load: Load) -> Iterator[Place]:
    """The place of every dataset that counts, READY ones and those that were released; newest publication first.

    Those that a revert hides are no part of any state. ``published`` is in the order of :func:`history`.
    """
    newer = _Newer()
    shown = (d for d in published if d.state != "DELETED")
    for state, (_, group) in enumerate(groupby(shown, key=lambda d: d.publication)):
        members = list(group)
        for dataset in members:
            yield _place(dataset, newer, load)
        newer.add(state, members)


def _place(dataset: Published, newer: _Newer, load: Load) -> Place:
    hiders = _hiding_partitions(dataset, newer.partitions, load)
    if hiders:  # they are older than the wall, so they came first
        state = min(s for s, _ in hiders)
        return Place(dataset, max(_since(d) for _, d in hiders), state + 1, tuple(d for _, d in hiders))
    if newer.wall is not None:
        state, wall = newer.wall
        return Place(dataset, _since(wall), state + 1, (wall,))
    return Place(dataset)


def _since(dataset: Published) -> datetime:
    """Since when it hides others: a revert that was taken back has put it there again."""
    return max(dataset.published_at, dataset.later_at) if dataset.later_at is not None else dataset.published_at


def _hiding_partitions(
    dataset: Published, newer: list[tuple[int, Published]], load: Load
) -> list[tuple[int, Published]]:
    """The oldest of the newer partitions that together leave nothing of a dataset; empty when something is left."""
    for state, other in reversed(newer):
        if within(dataset.partition or {}, other.partition or {}):
            return [(state, other)]
    if not newer:
        return []
    found = load(dataset)
    if not any("=" in f.path for f in found.files) or without(found, _partitions(newer)) is not None:
        return []
    oldest_first = newer[::-1]
    least, most = 1, len(oldest_first)
    while least < most:  # how many are enough
        middle = (least + most) // 2
        if without(found, _partitions(oldest_first[:middle])) is None:
            most = middle
        else:
            least = middle + 1
    return oldest_first[:least]


def _partitions(newer: list[tuple[int, Published]]) -> list[Mapping[str, Any]]:
    return [d.partition or {} for _, d in newer]
