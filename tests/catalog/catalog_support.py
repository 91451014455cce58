"""What the tests of the catalog share: a clock that is set by hand, and registries whose calls are counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

EPOCH = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class HandClock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """UTC."""
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Waiting takes exactly this long."""
        self.seconds += seconds

    def hours(self, count: float) -> None:
        """Let hours pass."""
        self.seconds += count * 3600


class World:
    """A store in memory under a clock; each process on it is a registry whose calls are counted."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.storage = MemoryStorage(clock=self.clock)

    def process(self, storage: Storage | None = None) -> Registry:
        """A registry as another process opens it; ``counting(registry)`` has its calls."""
        counting = CountingStorage(storage or self.storage)
        return Registry(ResolvingStorage(counting, self.clock), clock=self.clock, heartbeats=False)


def counting(registry: Registry) -> CountingStorage:
    """The counter below a registry of :class:`World`."""
    found = registry.storage
    assert isinstance(found, ResolvingStorage)
    assert isinstance(found.inner, CountingStorage)
    return found.inner


def fresh(registry: Registry) -> Catalog:
    """A catalog of the same store with an index of its own, which has seen nothing."""
    return Catalog(registry.ledger.store, use_cache=False)


def publish(registry: Registry, kind: str, *values: int, count: int = 1, **options: Any) -> str:
    """A run that publishes ``count`` datasets of integers; returns its id."""
    with registry.run("publish") as run:
        for _ in range(count):
            with run.dataset(kind, mode="append", **options) as ds:
                ds.write_table(pa.table({"n": pa.array(values, pa.int64())}))
    return run.id


def walked(registry: Registry) -> list[Any]:
    """What a walk of the journal shows, without an index."""
    view = registry.snapshot()
    datasets = {d.id: (d.state, d.kind, d.rows, d.bytes, len(d.files), dict(d.tags)) for d in view.datasets()}
    return [list(view.runs()), datasets, list(view.events(derived=False)), list(view.incidents())]


def asked(catalog: Catalog) -> list[Any]:
    """The same from the index."""
    datasets = {
        d.id: (d.state, d.kind, d.rows, d.bytes, d.file_count, dict(d.tags)) for d in catalog.datasets(limit=10_000)
    }
    runs = list(catalog.runs(order="-id", limit=10_000))
    return [runs, datasets, list(catalog.events(limit=10_000)), list(catalog.incidents(limit=10_000))]
