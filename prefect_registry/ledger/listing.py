"""What lies in a run's prefix: read when the run closes, and when the index looks at it again (DESIGN.md P6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile

from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.cells import CellRef
from prefect_registry.storage.base import ObjectInfo

PAGE = 1_000
"""Keys per page of a listing on S3 and GCS."""

_QUARTERS = ("datasets/8", "datasets/g", "datasets/r")
"""Where suffixes, which are random base32 digits, fall into four parts of one size."""


@dataclass
class Listing:
    """What one LIST of a run's prefix shows."""

    end: bool = False
    begin: ObjectInfo | None = None
    datasets: dict[str, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    touched: list[tuple[CellRef, int]] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, objects: Iterable[ObjectInfo]) -> Listing:
        """Sort the objects below a run's prefix by what they are."""
        found, dropped = cls(), set[str]()
        for info in objects:
            parsed = paths.parse_run_object(info.key)
            if parsed is None:
                continue
            kind, rest = parsed.kind, parsed.rest
            if kind == "end.json":
                found.end = True
            elif kind == "begin.json":
                found.begin = info
            elif kind == "datasets" and len(rest) == 2:
                gen = paths.gen_of_key(info.key)
                found.datasets[rest[0]] = max(gen, found.datasets.get(rest[0], -1))
            elif kind == "events":
                name = rest[0].removesuffix(".json")
                (found.incidents if name.startswith("i") else found.events).append(name)
            elif kind == "touch" and rest:
                found.touched.append(paths.cell_of_key("/".join(rest)))
            elif kind == "nested":
                found.nested.append(rest[0])
            elif kind == "dropped":
                dropped.add(rest[0])
        found.events = [name for name in found.events if name not in dropped]
        return found


def list_run(store: Store, run_id: str) -> list[ObjectInfo]:
    """Every object below a run's prefix, ascending by key.

    One page is one request. What lies beyond the first is listed in up to four parts at the same time: a dataset is two
    small objects, and a run of 1,000 more of them closes one round trip later.
    """
    prefix = paths.run_prefix(run_id)
    found = list(islice(store.storage.list(prefix), PAGE))
    if len(found) < PAGE:
        return found
    starts = [found[-1].key, *(prefix + q for q in _QUARTERS if prefix + q > found[-1].key)]
    ends = [*starts[1:], None]
    for part in store.together([partial(_part, store, prefix, a, b) for a, b in zip(starts, ends, strict=True)]):
        found += part
    return found


def _part(store: Store, prefix: str, start_after: str, last: str | None) -> list[ObjectInfo]:
    keys: Iterator[ObjectInfo] = store.storage.list(prefix, start_after)
    return list(keys if last is None else takewhile(lambda o: o.key <= last, keys))
