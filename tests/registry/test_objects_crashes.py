"""Saving, releasing and collecting objects, killed at every storage call: whole or not at all, and nothing leaks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from object_support import clock, large
from registry_support import FAST, Later

from prefect_registry import Registry
from prefect_registry.ids import random_token
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash

__all__ = ["clock"]  # fixtures

Work = Callable[[Registry], object]


def opened(storage: Storage, clock: Later) -> Registry:
    return Registry(
        ResolvingStorage(storage, attempts=1), version_objects=True, mutable=True, settings=FAST, clock=clock,
        heartbeats=False, use_cache=False,
    )  # fmt: skip


def prepared(clock: Later) -> MemoryStorage:
    """A version that was overwritten, one that was deleted, one beyond the last."""
    storage = MemoryStorage(f"crashes-{random_token()}", clock=clock)
    registry = opened(storage, clock)
    for value in (1, 2):
        registry.save("m@1", large(value), on_conflict="overwrite")
    registry.save("m@2", large(3))
    registry.save("gone", large(4))
    registry.delete("gone@1")
    clock.ahead += timedelta(days=2)
    registry.set_retention(objects="*", keep_days=1)
    return storage


def copy_of(storage: MemoryStorage, clock: Later) -> MemoryStorage:
    other = MemoryStorage(f"crashes-{random_token()}", clock=clock)
    other._objects.update(storage._objects)
    return other


def save(registry: Registry) -> None:
    registry.save("new", large(5))


def overwrite(registry: Registry) -> None:
    registry.save("m@2", large(6), on_conflict="overwrite")


def save_in_a_run(registry: Registry) -> None:
    with registry.run("work"):
        registry.save("new", large(5))


def release_and_collect(registry: Registry) -> None:
    registry.release(dry_run=False)
    registry.collect(dry_run=False)


def keep_house(registry: Registry, clock: Later) -> None:
    """Until nothing is left to do: a reaper that watches, and a collector that runs again and again."""
    for _ in range(3):
        registry.reap()
        registry.collect(dry_run=False)
        clock.ahead += timedelta(seconds=FAST.lease_seconds)
    report = registry.collect()
    assert (report.objects, report.waiting, report.damaged) == (0, [], {})


def check(registry: Registry, storage: MemoryStorage) -> tuple[Any, ...]:
    """Everything loads, and what lies in ``data/`` is what a version is, was, or would be when it is restored."""
    shown = {f"{n}@{v}": registry.load(n, v) for n, vs in registry.list_objects_and_versions().items() for v in vs}
    released = {
        g.name
        for g in (registry.ledger.cells.latest("payload", i.key.split("/")[2]) for i in storage.list("cells/payload/"))
        if g is not None and g.value["purged"]
    }
    named = set()
    for name in ("m@1", "m@2", "gone@1", "new@1"):
        named |= {g.value.get("payload", "") for g in registry.ledger.cells.history(OBJECT, name)}
    suffixes = {i.key.split("/")[4] for i in storage.list("data/")}
    assert suffixes == {payload[-16:] for payload in named - released - {""}}
    return tuple((name, value[:1]) for name, value in sorted(shown.items()))


@pytest.mark.parametrize("work", [save, overwrite, save_in_a_run, release_and_collect])
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_every_call(work: Work, where: Any, clock: Later) -> None:
    """Readers see the old or the new state; housekeeping ends with no byte too many, and none too few."""
    template = prepared(clock)
    complete = copy_of(template, clock)
    work(opened(complete, clock))
    ends = [check(opened(template, clock), template), check(opened(complete, clock), complete)]
    seen = set()
    for n in itertools.count(1):
        storage = copy_of(template, clock)
        faulty = FaultyStorage(storage)
        registry = opened(faulty, clock)
        faulty.plan.append(crash(where, at=n))
        before = len(faulty.calls)
        with contextlib.suppress(SimulatedCrash):
            work(registry)
        was_killed = n <= len(faulty.calls) - before
        later = opened(storage, clock)
        keep_house(later, clock)
        there = check(later, storage)
        assert there in ends, n
        seen.add(there)
        if not was_killed:
            break
    assert seen == set(ends)
    assert n > 5
