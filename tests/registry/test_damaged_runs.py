"""Collection beside damage: what cannot be read is told, and neither deleted nor in the way of anything else."""

from __future__ import annotations

import pytest
from registry_support import FAST, publish, write

from prefect_registry import Registry
from prefect_registry.ids import random_token
from prefect_registry.ledger import paths
from prefect_registry.names import key_of
from prefect_registry.records.cells import CellRef
from prefect_registry.records.datasets import LATER_STATES


@pytest.fixture
def store() -> Registry:
    return Registry(f"memory://damaged-{random_token()}", settings=FAST, heartbeats=False, use_cache=False)


def reopened(registry: Registry) -> Registry:
    """Another process, which has read nothing yet."""
    return Registry(registry.storage, settings=FAST, heartbeats=False, use_cache=False)


def failed(registry: Registry) -> str:
    """A run that wrote a dataset and was rolled back; returns its id."""
    run_id = registry.insert_run("fails")
    write(registry.attach(run_id), "k", 1)
    registry.close_run(run_id, False)
    return run_id


def with_data(registry: Registry) -> list[str]:
    """Runs that have bytes, oldest first."""
    return sorted({info.key.split("/")[3] for info in registry.storage.list("data/")})


def damage(registry: Registry, key: str) -> str:
    """Cut a document off in the middle; returns its key."""
    registry.storage.put(key, registry.storage.get(key)[:-9])
    return key


@pytest.mark.parametrize("document", ["begin.json", "end.json"])
def test_a_run_with_a_damaged_record_keeps_its_bytes(store: Registry, document: str) -> None:
    """The bytes of the runs before and after it go; whether its own are dead is not known, so they stay."""
    runs = [failed(store) for _ in range(3)]
    key = damage(store, paths.run_prefix(runs[1]) + document)
    for dry_run in (True, False):
        report = reopened(store).collect(dry_run=dry_run)
        assert report.runs == [runs[0], runs[2]]
        assert list(report.damaged) == [runs[1]]
        assert key in report.damaged[runs[1]]
    assert with_data(store) == [runs[1]]


def test_an_aborted_run_with_a_damaged_heartbeat_waits_until_it_has_stood_still(store: Registry) -> None:
    """Nobody knows whose beat it is: the bytes stay for half a lease of watching, however dead its beginner is."""
    run_id, other = failed(store), failed(store)
    store.storage.put(paths.heartbeat_key(run_id), b"\0\0\0\0")
    report = reopened(store).collect(dry_run=False)
    assert (report.runs, report.waiting, list(report.damaged)) == ([other], [run_id], [run_id])
    assert with_data(store) == [run_id]


def test_a_damaged_dataset_of_a_published_run_is_not_taken_for_one_that_was_left_out(store: Registry) -> None:
    """Of one run, what is known to be dead goes, and what nobody can read stays."""
    with store.run("both") as run:
        kept, dropped = write(run, "k", 1), write(run, "k", 2)
        store.rollback_dataset(dropped)
    key = damage(store, paths.dataset_key(run.id, kept[-16:], 1))
    report = reopened(store).collect(dry_run=False)
    assert (report.runs, list(report.damaged)) == ([run.id], [run.id])
    assert key in report.damaged[run.id]
    assert {info.key.split("/")[4] for info in store.storage.list("data/")} == {kept[-16:]}


def test_a_damaged_release_releases_nothing(store: Registry) -> None:
    """A dataset goes only if it can be read that it was released; the other one goes."""
    runs = [publish(store, "k", n) for n in range(3)]
    store.set_retention("k", keep_last=1)
    released = [d.id for d in store.release(dry_run=False).datasets]
    assert {f"run_{d[3:29]}" for d in released} == set(runs[:2])
    first = next(d for d in released if runs[0][4:] in d)
    damage(store, paths.cell_key(CellRef(LATER_STATES, key_of(first)), 0))
    report = reopened(store).collect(dry_run=False)
    assert (report.runs, report.released, list(report.damaged)) == ([runs[1]], 1, [runs[0]])
    assert with_data(store) == [runs[0], runs[2]]
