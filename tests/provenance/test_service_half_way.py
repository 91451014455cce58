"""Calls of provenance that write several things: what is told when the store fails between them is true."""

from __future__ import annotations

import contextlib

import pytest
from service_support import Things, dataset, opened, things

from prefect_registry.errors import NotFound, StorageError
from prefect_registry.ids import random_token
from prefect_registry.provenance.records import ItemModelRun, JobStatus
from prefect_registry.provenance.service import Provenance
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage(f"provenance-{random_token()}"))


@pytest.fixture
def provenance(storage: FaultyStorage) -> Provenance:
    return Provenance(opened(storage), by="ada")


@pytest.fixture
def known(provenance: Provenance) -> Things:
    return things(provenance)


def deleted(provenance: Provenance, known: Things, count: int) -> list[ItemModelRun]:
    """Model runs whose provenance was deleted."""
    raw = dataset(provenance.registry)
    ids = [str(provenance.register_model_run(known.record([raw], [raw])).session_id) for _ in range(count)]
    items = [provenance.get_model_run(id_) for id_ in ids]
    for id_ in ids:
        provenance.admin.delete_model_run_provenance(id_)
    return items


@pytest.mark.parametrize("count", [1, 2])
def test_lodging_again_in_a_run_that_fails_is_undone_with_it(provenance: Provenance, known: Things, count: int) -> None:
    """Inside it is seen, outside never; in a run that commits, it stands."""
    items = deleted(provenance, known, count)
    with pytest.raises(ValueError, match="no"), provenance.registry.run("fails") as run:
        provenance.admin.store_multiple_records(items)
        assert provenance.get_model_run(str(items[0].id), run_id=run.id).record == items[0].record
        raise ValueError("no")
    assert list(provenance.model_runs()) == []
    with pytest.raises(NotFound):
        provenance.get_model_run(str(items[0].id))
    with provenance.registry.run("commits"):
        provenance.admin.store_multiple_records(items)
        assert list(provenance.model_runs()) == []
    assert [m.id for m in provenance.model_runs()] == [m.id for m in items]


@pytest.mark.parametrize("method", ["create", "list"])
def test_of_several_records_all_are_lodged_again_or_none(
    storage: FaultyStorage, provenance: Provenance, known: Things, method: str
) -> None:
    """When the second one fails, the first is not visible, and the error says that nothing is."""
    items = deleted(provenance, known, 2)
    storage.plan.append(error_before(method=method, key=f"cells/model_run/{items[1].id}/*", times=1000))
    with pytest.raises(StorageError) as raised:
        provenance.admin.store_multiple_records(items)
    storage.plan.clear()
    assert raised.value.committed == "no"
    assert list(provenance.model_runs()) == []
    assert provenance.admin.store_multiple_records(items).status.details.startswith("2 of 2")
    assert provenance.admin.store_multiple_records(items).status.details.startswith("0 of 2")
    assert not [f for f in provenance.registry.fsck().findings if f.severity != "note"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_batch_whose_end_is_not_recorded_is_named_and_does_not_count_as_nothing(
    storage: FaultyStorage, provenance: Provenance, known: Things, inside: bool
) -> None:
    """Its model runs are published: only in a run, which fails, they are not."""
    raw = dataset(provenance.registry)

    def register() -> None:
        storage.plan.append(error_before(method="list", key="cells/prov_batch/*", times=1000))
        with pytest.raises(StorageError) as raised:
            provenance.register_batch_model_runs({"records": [known.record([raw], [raw])] * 2})
        storage.plan.clear()
        assert raised.value.committed == ("no" if inside else "yes")
        (note,) = raised.value.__notes__
        found.append(next(word for word in note.split() if word.startswith("batch_01")))

    found: list[str] = []
    if inside:
        with contextlib.suppress(ValueError), provenance.registry.run("fails"):
            register()
            raise ValueError
        assert list(provenance.model_runs()) == []
        return
    register()
    assert len(list(provenance.model_runs(batch_id=found[0]))) == 2
    assert {r.status for r in provenance.batch_results(found[0])} == {JobStatus.SUCCEEDED}


def test_what_is_unpublished_before_an_error_is_told_and_the_call_can_be_made_again(
    storage: FaultyStorage, provenance: Provenance, known: Things
) -> None:
    """Deleting a model run from the registry: the store fails behind the revert, and looking is advised."""
    registry, raw = provenance.registry, dataset(provenance.registry)
    with registry.run("grow") as run:
        with run.dataset("corals") as ds:
            ds.set_rows(0)
        provenance.register_model_run(known.record([raw], [ds.id]))
    provenance.update_model_run(run.id, "told better", known.record([raw], [ds.id], display_name="better"))
    broken = error_before(method="list", key="cells/model_run/*", times=1000)
    storage.plan.append(Fault("after", lambda each: each.plan.append(broken), method="create", key="runs/*/end.json"))
    with pytest.raises(StorageError) as raised:
        provenance.admin.delete_model_run_provenance_and_registry(run.id)
    storage.plan.clear()
    assert raised.value.committed == "unknown"
    assert registry.get_dataset(ds.id).state == "DELETED"
    assert run.id in raised.value.__notes__[0]
    assert [m.id for m in provenance.model_runs()] == [run.id]
    provenance.admin.delete_model_run_provenance_and_registry(run.id)
    assert list(provenance.model_runs()) == []
    assert not [f for f in registry.fsck().findings if f.severity != "note"]
