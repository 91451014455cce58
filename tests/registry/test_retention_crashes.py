"""Release, revert and collect, killed at every storage call, or with every answer lost: all or nothing, and no byte of
what a table shows is ever gone.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from registry_support import FAST, publish, rows, write

from prefect_registry import Registry
from prefect_registry.errors import InvalidState, RegistryError
from prefect_registry.ids import random_token
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash, lost_answer

Work = Callable[[Registry], object]


def opened(storage: Storage) -> Registry:
    return Registry(ResolvingStorage(storage, attempts=1), settings=FAST, heartbeats=False, use_cache=False)


def prepared() -> Storage:
    """Two kinds; of one, a table of two datasets in front of two states that no rule keeps."""
    storage = MemoryStorage(f"crashes-{random_token()}")
    registry = opened(storage)
    publish(registry, "orders", 1)
    publish(registry, "orders", 2, mode="append")
    publish(registry, "orders", 3)
    publish(registry, "orders", 4, mode="append")
    with registry.run("other") as run:
        write(run, "other", 5)
    publish(registry, "other", 6)
    registry.set_retention("*", keep_last=1)
    return storage


def copy_of(storage: Storage) -> MemoryStorage:
    other = MemoryStorage(f"crashes-{random_token()}")
    for info in list(storage.list("")):
        other.put(info.key, storage.get(info.key))
    return other


def released(registry: Registry) -> list[str]:
    return sorted(d.id for d in registry.datasets(state="DELETED"))


def settle(registry: Registry) -> None:
    """What a reaper does when it knows that the process is gone."""
    for run in list(registry.runs(state="RUNNING")):
        registry.close_run(run.id, False)


def end_well(registry: Registry) -> None:
    """Whatever was interrupted: a later pass finishes it."""
    settle(registry)
    expected = {kind: rows(registry, kind) for kind in ("orders", "other")}
    registry.release(dry_run=False)
    registry.collect(dry_run=False)
    assert registry.collect().objects == 0
    for kind, found in expected.items():
        assert rows(registry, kind) == found
        for dataset in registry.table(kind).datasets():
            dataset.verify()
    visible = {d.prefix for kind in expected for d in registry.table(kind).datasets()}
    deleted = [(d, registry.ledger.cells.latest("dataset", d.id)) for d in registry.datasets(state="DELETED")]
    visible |= {d.prefix for d, cell in deleted if cell is not None and not cell.value.get("purged")}
    assert {info.key.rpartition("/")[0] + "/" for info in registry.storage.list("data/")} == visible


def release(registry: Registry) -> None:
    registry.release(dry_run=False)


def release_and_collect(registry: Registry) -> None:
    registry.release(dry_run=False)
    registry.collect(dry_run=False)


def revert_and_release(registry: Registry) -> None:
    newest = next(iter(registry.runs(purpose="publish")))
    registry.revert(newest.id)
    registry.release(dry_run=False)


@pytest.mark.parametrize("work", [release, release_and_collect, revert_and_release])
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_every_call(work: Work, where: Any) -> None:
    template = prepared()
    complete = opened(copy_of(template))
    work(complete)
    outcomes = set()
    for n in itertools.count(1):
        storage = copy_of(template)
        faulty = FaultyStorage(storage)
        registry = opened(faulty)
        faulty.plan.append(crash(where, at=n))
        before = len(faulty.calls)
        with contextlib.suppress(SimulatedCrash):
            work(registry)
        if n > len(faulty.calls) - before:
            break
        later = opened(storage)
        there = rows(later, "orders"), rows(later, "other")
        assert there in ([([3, 4], [6])] if work is not revert_and_release else [([3, 4], [6]), ([3, 4], [5])]), n
        outcomes.add(len(released(later)))
        end_well(later)
    assert n > 20
    assert outcomes <= {0, 1, len(released(complete))}
    assert len(outcomes) > 1 or (work, where) == (release, "before")


@pytest.mark.parametrize("work", [release, release_and_collect])
def test_every_answer_lost(work: Work) -> None:
    template = prepared()
    for n in itertools.count(1):
        storage = copy_of(template)
        faulty = FaultyStorage(storage)
        registry = opened(faulty)
        faulty.plan.append(lost_answer(at=n))
        before = len(faulty.calls)
        with contextlib.suppress(RegistryError):
            work(registry)
        if n > len(faulty.calls) - before:
            break
        later = opened(storage)
        assert (rows(later, "orders"), rows(later, "other")) == ([3, 4], [6]), n
        assert len(released(later)) in (0, 3), n
        end_well(later)


def test_a_revert_that_is_refused_leaves_nothing_behind() -> None:
    registry = opened(prepared())
    registry.release(dry_run=False)
    (newest,) = {d.run_id for d in registry.table("other").datasets()}
    with pytest.raises(InvalidState, match="released by retention"):
        registry.revert(newest)
    assert [r.id for r in registry.runs(state="RUNNING")] == []
    registry.release(dry_run=False)
    publish(registry, "other", 7)
    registry.revert(newest)
    end_well(registry)
