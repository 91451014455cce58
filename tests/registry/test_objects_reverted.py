"""Reverting a run takes back what it did to objects and aliases, and what was released never comes back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from object_support import clock, folders, large, mutable, opened, payload_of, storage, store
from registry_support import Later, publish, refused, rows, write

from prefect_registry import Registry
from prefect_registry.datasets.releasing import release
from prefect_registry.errors import Conflict, InvalidState
from prefect_registry.objects import releasing
from prefect_registry.records.types import ALIAS, OBJECT

__all__ = ["clock", "mutable", "storage", "store"]  # fixtures


def test_what_a_run_saved_is_deleted_and_comes_back(store: Registry) -> None:
    """Objects go and come with the datasets of their run; numbers that were given stay taken."""
    with store.run("work") as run:
        write(run, "orders", 1)
        store.save("m", large(1))
        store.save("small", {"a": 1})
    before = store.info("m@1")
    report = store.revert(run.id)
    assert sorted(report.cells) == [(OBJECT, "m@1"), (OBJECT, "small@1")]
    assert (rows(store, "orders"), store.list_objects(), store.has_object("m")) == ([], [], False)
    assert store.save("m", large(2)) == "2"
    store.revert(report.run_id)
    assert (rows(store, "orders"), store.list_versions("m")) == ([1], ["1", "2"])
    assert (store.load("m@1"), store.load("small")) == (large(1), {"a": 1})
    assert store.info("m@1") == before
    assert store.collect(dry_run=False).objects == 0


def test_what_a_run_overwrote_is_as_it_was(mutable: Registry) -> None:
    """By naming the generation, without a copy of its bytes; and the other way round again."""
    mutable.save("m@1", large(1))
    mutable.save("small@1", "one")
    with mutable.run("work") as run:
        mutable.save("m@1", large(2), on_conflict="overwrite")
        mutable.save("m@1", large(3), on_conflict="overwrite")
        mutable.save("small@1", "two", on_conflict="overwrite")
    stored = folders(mutable)
    report = mutable.revert(run.id)
    assert (mutable.load("m@1"), mutable.load("small@1")) == (large(1), "one")
    newest = mutable.ledger.cells.latest(OBJECT, "m@1")
    assert newest is not None
    assert newest.value == {"object": "m", "version": "1", "restores": 0}
    back = mutable.revert(report.run_id)
    assert (mutable.load("m@1"), mutable.load("small@1")) == (large(3), "two")
    mutable.revert(back.run_id)
    assert mutable.load("m@1") == large(1)
    assert folders(mutable) == stored


def test_what_a_run_deleted_is_there_again(store: Registry) -> None:
    """One version, and all of an object."""
    for value in (1, 2):
        store.save("m", large(value))
        store.save("n", large(value))
    with store.run("clean") as run:
        store.delete("m@1")
        store.delete("n")
    assert (store.list_versions("m"), store.has_object("n")) == (["2"], False)
    store.revert(run.id)
    assert (store.list_versions("m"), store.list_versions("n")) == (["1", "2"], ["1", "2"])
    assert store.load("n@2") == large(2)


def test_aliases_go_back_to_where_they_pointed(store: Registry) -> None:
    """One that was moved, one that was set, one that was removed."""
    for value in (1, 2):
        store.save("m", large(value))
    store.set_alias("m", "champion", "1")
    store.set_alias("m", "old", "1")
    with store.run("promote") as run:
        store.set_alias("m", "champion", "2")
        store.set_alias("m", "new", "2")
        store.remove_alias("m", "old")
    assert store.aliases("m") == {"champion": "2", "new": "2"}
    report = store.revert(run.id)
    assert sorted(report.cells) == [(ALIAS, "m@champion"), (ALIAS, "m@new"), (ALIAS, "m@old")]
    assert store.aliases("m") == {"champion": "1", "old": "1"}
    assert store.load("m@champion") == large(1)
    store.revert(report.run_id)
    assert store.aliases("m") == {"champion": "2", "new": "2"}


def test_what_others_have_changed_since_is_left_alone(mutable: Registry) -> None:
    """A version that was overwritten, and an alias that was moved, after the run that is reverted."""
    with mutable.run("work") as run:
        mutable.save("m@1", large(1))
        mutable.set_alias("m", "champion", "1")
    mutable.save("m@1", large(2), on_conflict="overwrite")
    mutable.save("m@2", large(3))
    mutable.set_alias("m", "champion", "2")
    report = mutable.revert(run.id)
    assert (report.cells, sorted(report.kept)) == ([], [(ALIAS, "m@champion"), (OBJECT, "m@1")])
    assert (mutable.load("m@1"), mutable.load("m@champion")) == (large(2), large(3))


# -- with retention --------------------------------------------------------------------------------------------------


def test_a_release_of_objects_cannot_be_reverted(store: Registry) -> None:
    """Its bytes are gone, or may be at any time."""
    store.save("m", large(1))
    store.save("m", large(2))
    store.set_retention(objects="m", keep_last=1)
    report = store.release(dry_run=False)
    with refused(InvalidState, committed="no") as caught:
        store.revert(str(report.run_id))
    assert "m@1" in caught.value.what
    assert store.list_versions("m") == ["2"]


def test_a_deletion_cannot_be_reverted_when_the_bytes_are_released(store: Registry, clock: Later) -> None:
    """And nothing else of the run is taken back then."""
    store.save("m", large(1))
    with store.run("clean") as run:
        store.delete("m@1")
        write(run, "orders", 1)
    store.set_retention(objects="m", keep_days=1)
    clock.ahead += timedelta(days=2)
    store.release(dry_run=False)
    with refused(InvalidState, committed="no") as caught:
        store.revert(run.id)
    assert "m@1" in caught.value.what
    assert rows(store, "orders") == [1]
    assert list(store.runs(state="RUNNING")) == []


def test_an_overwriting_cannot_be_reverted_when_the_older_bytes_are_released(mutable: Registry, clock: Later) -> None:
    """What it is now stays."""
    mutable.save("m@1", large(1))
    with mutable.run("work") as run:
        mutable.save("m@1", large(2), on_conflict="overwrite")
    mutable.set_retention(objects="m", keep_days=1)
    clock.ahead += timedelta(days=2)
    released = mutable.release(dry_run=False)
    for run_id in (run.id, str(released.run_id)):
        with refused(InvalidState, committed="no") as caught:
            mutable.revert(run_id)
        assert "m@1" in caught.value.what
    assert mutable.collect(dry_run=False).released == 1
    assert mutable.load("m@1") == large(2)


def test_an_alias_never_goes_back_to_a_released_version(store: Registry) -> None:
    """Whoever loads by it would lose what they have."""
    for value in (1, 2):
        store.save("m", large(value))
    store.set_alias("m", "champion", "1")
    with store.run("promote") as run:
        store.set_alias("m", "champion", "2")
    store.set_retention(objects="m", keep_last=1)
    assert [o.id for o in store.release(dry_run=False).objects] == ["m@1"]
    with refused(InvalidState, committed="no") as caught:
        store.revert(run.id)
    assert "champion" in caught.value.what
    assert store.load("m@champion") == large(2)


def test_a_run_whose_objects_were_released_can_be_reverted(store: Registry) -> None:
    """They stay released; the rest of it is taken back."""
    with store.run("work") as run:
        store.save("m", large(1))
        write(run, "orders", 1)
    store.save("m", large(2))
    store.set_retention(objects="m", keep_last=1)
    store.release(dry_run=False)
    report = store.revert(run.id)
    assert report.kept == [(OBJECT, "m@1")]
    assert rows(store, "orders") == []
    store.revert(report.run_id)
    assert (rows(store, "orders"), store.list_versions("m")) == ([1], ["2"])


@pytest.mark.parametrize("first", ["release", "revert"])
def test_of_a_release_and_a_revert_that_overlap_one_is_refused(mutable: Registry, clock: Later, first: str) -> None:
    """The overwritten bytes are given up, or wanted again: never both."""
    mutable.save("m@1", large(1))
    with mutable.run("work") as run:
        mutable.save("m@1", large(2), on_conflict="overwrite")
    clock.ahead += timedelta(days=2)
    mutable.set_retention(objects="m", keep_days=1)
    plan = releasing.plan(mutable.parts.objects, mutable.catalog)
    assert [c.released.generation for c in plan.chosen] == [0]
    if first == "release":
        mutable.release(dry_run=False)
        with refused(InvalidState):
            mutable.revert(run.id)
        value = large(2)
    else:
        mutable.revert(run.id)
        with pytest.raises(Conflict):
            release(mutable.parts.datasets, mutable.catalog, False, lambda: [plan])
        value = large(1)
        assert mutable.release(dry_run=False).objects == []
    mutable.collect(dry_run=False)
    assert mutable.load("m@1") == value
    assert payload_of(mutable, "m@1", int(first == "release")) in folders(mutable)


def test_a_revert_of_datasets_alone_costs_nothing_for_objects(store: Registry, storage: object, clock: Later) -> None:
    """No cell of objects, payloads or aliases is asked for."""
    from prefect_registry.testing.counting import CountingStorage

    run = publish(store, "orders", 1)
    counting = CountingStorage(storage)  # type: ignore[arg-type]
    other = opened(counting, clock)
    with counting.measure() as measured:
        other.revert(run)
    asked = {key.split("/")[1] for _, key in measured.keys if key.startswith("cells/")}
    assert asked == {"dataset", "table"}
