"""Registering model runs, killed at every storage call: each record is there as a whole, or not at all."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from service_support import Things, dataset, opened, person, things

from prefect_registry import Registry
from prefect_registry.errors import NotFound, StorageError
from prefect_registry.ids import random_token
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.provenance.records import JobStatus, Person
from prefect_registry.provenance.relations import ItemSubType
from prefect_registry.provenance.service import Provenance
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash, lost_answer

FAST = LedgerSettings(undecided_wait_seconds=0.3, younger_wait_seconds=0.2, poll_seconds=0.01)
Work = Callable[[Provenance, Things, str], Any]


def copy_of(storage: MemoryStorage) -> MemoryStorage:
    other = MemoryStorage(f"provenance-{random_token()}")
    other._objects.update(storage._objects)
    return other


def one(provenance: Provenance, known: Things, raw: str) -> object:
    return provenance.register_model_run(known.record([raw], [raw]))


def one_in_a_run(provenance: Provenance, known: Things, raw: str) -> object:
    with provenance.registry.run("all"):
        provenance.register_model_run(known.record([raw], [raw]))
        return provenance.register_model_run(known.record([raw], [raw]))


def a_batch(provenance: Provenance, known: Things, raw: str) -> object:
    records = [known.record([raw], [raw]), known.record(["no"], [raw]), known.record([raw], [raw])]
    return provenance.register_batch_model_runs({"records": records})


def prepared() -> tuple[MemoryStorage, Things, str]:
    storage = MemoryStorage(f"provenance-{random_token()}")
    registry = opened(storage, settings=FAST)
    known = things(Provenance(registry))
    return storage, known, dataset(registry)


def check(registry: Registry, raw: str) -> int:
    """How many model runs there are: all that there is of each, and nothing of any other."""
    provenance = Provenance(registry)
    runs = {str(item.id) for item in provenance.model_runs()}
    graph = provenance.downstream(raw)
    assert {n.id for n in graph.nodes if n.subtype is ItemSubType.MODEL_RUN} == runs
    for run in runs:
        assert len([link for link in provenance.upstream(run, 1).links if link.source == run]) == 6
        assert provenance.get_session(run).status is JobStatus.SUCCEEDED
    errors = [f for f in registry.fsck().findings if f.severity == "error"]
    assert not errors
    return len(runs)


@pytest.mark.parametrize("work", [one, one_in_a_run, a_batch])
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_every_call(work: Work, where: Any) -> None:
    template, known, raw = prepared()
    seen = set()
    for n in itertools.count(1):
        storage = copy_of(template)
        faulty = FaultyStorage(storage)
        registry = opened(faulty, settings=FAST)
        before = len(faulty.calls)
        faulty.plan.append(crash(where, at=n))
        faulty._met.clear()
        with contextlib.suppress(SimulatedCrash):
            work(Provenance(registry), known, raw)
        count = check(opened(storage, settings=FAST), raw)
        seen.add(count)
        assert count in (0, 2) if work is one_in_a_run else count <= 2
        for info in storage.list("cells/prov_batch/"):
            _check_batch(Provenance(opened(storage)), info.key.split("/")[2], count)
        if n > len(faulty.calls) - before:
            break
    assert seen == ({0, 1} if work is one else {0, 2} if work is one_in_a_run else {0, 1, 2})


def _check_batch(provenance: Provenance, batch_id: str, count: int) -> None:
    """A batch that was cut short tells of each record what became of it."""
    try:
        results = provenance.batch_results(batch_id)
    except NotFound:  # its run was never decided
        return
    statuses = [result.status for result in results]
    assert len(statuses) == 3
    assert statuses[1] is JobStatus.FAILED
    assert statuses.count(JobStatus.SUCCEEDED) == count


@pytest.mark.parametrize("work", [one, one_in_a_run, a_batch])
def test_a_lost_answer_is_no_lost_record(work: Work) -> None:
    """What is told to be registered is, and what is not told so may be; never half of it."""
    template, known, raw = prepared()
    for n in itertools.count(1):
        storage = copy_of(template)
        faulty = FaultyStorage(storage)
        registry = opened(faulty, settings=FAST)
        before = len(faulty.calls)
        faulty.plan.append(lost_answer(method="create", at=n))
        told = False
        with contextlib.suppress(StorageError):
            work(Provenance(registry), known, raw)
            told = True
        count = check(opened(storage, settings=FAST), raw)
        assert not told or count == (1 if work is one else 2)
        if sum(method == "create" for method, _ in faulty.calls[before:]) < n:
            break


def test_a_run_that_died_leaves_no_model_run_when_it_is_reaped() -> None:
    storage, known, raw = prepared()
    registry = opened(storage)
    run = registry.insert_run("dies")
    Provenance(registry).register_model_run(known.record([raw], [raw]), run_id=run)
    Provenance(registry).register_item(person("Bob"), run_id=run)
    registry.close_run(run, success=False)
    later = Provenance(opened(storage))
    assert list(later.model_runs()) == []
    assert [p.display_name for p in later.items("PERSON") if isinstance(p, Person)] == ["Ada"]
    assert later.get_session(run).status is JobStatus.FAILED
