"""Retention of objects: what is released and what is kept, that nothing of it comes back, and that bytes go at last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from object_support import LARGE, clock, folders, large, mutable, opened, payload_of, storage, store
from registry_support import Later, publish, refused, write

from prefect_registry import Registry
from prefect_registry.catalog.retention import ReleaseReport
from prefect_registry.errors import Conflict, InvalidInput, InvalidState, NotFound
from prefect_registry.objects import releasing
from prefect_registry.objects.errors import RegistryObjectNotFound
from prefect_registry.objects.versions import Wanted
from prefect_registry.storage.memory import MemoryStorage

__all__ = ["clock", "mutable", "storage", "store"]  # fixtures


def released(report: ReleaseReport) -> list[tuple[str, int | None]]:
    return [(o.id, o.generation) for o in report.objects]


def swept(registry: Registry) -> int:
    """Collect, once and for all; returns how many payloads went."""
    report = registry.collect(dry_run=False)
    assert report.damaged == {}
    assert report.waiting == []
    assert registry.collect().objects == 0
    return report.released


# -- rules -----------------------------------------------------------------------------------------------------------


def test_rules_for_objects_and_for_kinds_of_one_name_are_two(store: Registry) -> None:
    """Neither hides, changes or removes the other."""
    store.set_retention("model", keep_last=3)
    store.set_retention(objects="model", keep_days=7, keep_used=False)
    store.set_retention(objects="*", keep_last=2)
    assert [(r.kind, r.objects, r.keep_last, r.keep_days, r.keep_used) for r in store.retention()] == [
        ("model", None, 3, None, True),
        (None, "*", 2, None, True),
        (None, "model", None, 7, False),
    ]
    store.remove_retention("model")
    assert [r.objects for r in store.retention()] == ["*", "model"]
    store.remove_retention(objects="model")
    with refused(NotFound, store):
        store.remove_retention(objects="model")
    assert [r.name for r in store.retention()] == ["*"]


@pytest.mark.parametrize(
    "wrong", [{"keep_last": 1}, {"kind": "a", "objects": "a", "keep_last": 1}, {"objects": "a@1", "keep_last": 1},
              {"objects": "a"}, {"objects": "", "keep_last": 1}],
)  # fmt: skip
def test_a_rule_for_nothing_or_for_two_things_is_refused(store: Registry, wrong: dict[str, Any]) -> None:
    with refused(InvalidInput, store):
        store.set_retention(**wrong)


def test_without_a_rule_nothing_of_objects_is_released(store: Registry) -> None:
    """A rule for kinds is none for objects."""
    store.save("m", large(1))
    store.save("m", large(2))
    store.delete("m@1")
    store.set_retention("*", keep_last=1)
    report = store.release(dry_run=False)
    assert (report.objects, report.kept_objects, report.run_id) == ([], {"no_rule": 1}, None)


# -- what is released ------------------------------------------------------------------------------------------------


def test_deleted_versions_go_after_their_days(store: Registry, clock: Later) -> None:
    """Until then the deletion can be taken back, afterwards not; other versions lose nothing."""
    for value in (1, 2, 3):
        store.save("m", large(value))
    store.set_retention(objects="m", keep_days=7)
    store.delete("m@1")
    clock.ahead += timedelta(days=4)
    store.delete("m@2")
    store.restore("m@2")
    store.delete("m@2")
    assert store.release(dry_run=False).kept_objects == {"current": 1, "keep_days": 2}
    clock.ahead += timedelta(days=4)
    preview = store.release()
    report = store.release(dry_run=False)
    assert released(report) == released(preview) == [("m@1", None)]
    assert (report.bytes, report.objects[0].bytes, report.kept_objects) == (
        LARGE,
        LARGE,
        {"current": 1, "keep_days": 1},
    )
    assert "deleted at" in report.objects[0].why
    assert store.release().objects == []
    with refused(InvalidState, store):
        store.restore("m@1")
    assert swept(store) == 1
    assert folders(store) == sorted([payload_of(store, "m@2"), payload_of(store, "m@3")])
    store.restore("m@2")
    assert (store.load("m@2"), store.load("m@3")) == (large(2), large(3))
    with refused(InvalidState, store):
        store.restore("m@1")
    with pytest.raises(RegistryObjectNotFound):
        store.load("m@1")
    assert store.save("m", large(4)) == "4"


def test_of_many_versions_the_last_stay(store: Registry) -> None:
    """Numbers count, not time; what lies in a record goes like the rest, as far as readers are concerned."""
    for version in ("1", "10", "9", "2.5"):
        store.save(f"m@{version}", large(1))
    for value in range(3):
        store.save("small", value)
    store.set_retention(objects="*", keep_last=2)
    report = store.release(dry_run=False)
    assert sorted(released(report)) == [("m@1", None), ("m@2.5", None), ("small@1", None)]
    assert report.bytes == 2 * LARGE
    assert report.kept_objects == {"keep_last": 4}
    assert (store.list_versions("m"), store.list_versions("small")) == (["9", "10"], ["2", "3"])
    assert store.list_objects_and_versions() == {"m": ["9", "10"], "small": ["2", "3"]}
    assert swept(store) == 2
    assert len(folders(store)) == 2
    for name in ("m@1", "small@1"):
        with refused(InvalidState, store):
            store.restore(name)


def test_what_is_deleted_goes_only_by_days_and_what_is_old_only_by_number(store: Registry, clock: Later) -> None:
    """A rule with one condition alone does not release what the other is about."""
    for value in (1, 2):
        store.save("a", large(value))
        store.save("b", large(value))
    store.delete("a@2")
    store.delete("b@2")
    clock.ahead += timedelta(days=50)
    store.set_retention(objects="a", keep_last=1)
    store.set_retention(objects="b", keep_days=1)
    report = store.release(dry_run=False)
    assert released(report) == [("b@2", None)]
    assert report.kept_objects == {"current": 1, "deleted": 1, "keep_last": 1}


def test_a_version_of_these_days_stays_beyond_the_last(store: Registry, clock: Later) -> None:
    """One condition is enough to keep something."""
    store.save("m", large(1))
    clock.ahead += timedelta(days=2)
    store.save("m", large(2))
    store.save("m", large(3))
    store.set_retention(objects="m", keep_last=1, keep_days=1)
    assert released(store.release(dry_run=False)) == [("m@1", None)]
    assert store.list_versions("m") == ["2", "3"]


def test_overwritten_bytes_go_and_the_version_stays(mutable: Registry, clock: Later) -> None:
    """Of a version that was overwritten, what it is now loads as before, by one request no more."""
    for value in (1, 2, 3):
        mutable.save("m@1", large(value), on_conflict="overwrite")
        clock.ahead += timedelta(days=1)
    mutable.set_retention(objects="m", keep_days=1.5)
    report = mutable.release(dry_run=False)
    assert released(report) == [("m@1", 0)]
    assert report.kept_objects == {"current": 1, "keep_days": 1}
    assert "overwritten at" in report.objects[0].why
    assert swept(mutable) == 1
    assert mutable.load("m@1") == large(3)
    assert mutable.info("m@1")["run_id"] == payload_of(mutable, "m@1", 2)[:30]
    clock.ahead += timedelta(days=1)
    assert released(mutable.release(dry_run=False)) == [("m@1", 1)]
    assert swept(mutable) == 1
    assert folders(mutable) == [payload_of(mutable, "m@1", 2)]
    mutable.delete("m@1")
    mutable.restore("m@1")
    assert mutable.load("m@1") == large(3)
    mutable.delete("m@1")
    clock.ahead += timedelta(days=2)
    assert released(mutable.release(dry_run=False)) == [("m@1", None)]
    assert (swept(mutable), folders(mutable)) == (1, [])


def test_an_object_without_versions_can_be_saved_again_after_its_release(storage: MemoryStorage, clock: Later) -> None:
    """Its one cell goes on behind what was released."""
    store = opened(storage, clock, version_objects=False)
    store.save("m", large(1))
    store.delete("m")
    store.set_retention(objects="*", keep_days=1)
    clock.ahead += timedelta(days=2)
    assert released(store.release(dry_run=False)) == [("m@1", None)]
    store.save("m", large(2))
    assert (swept(store), store.load("m")) == (1, large(2))
    assert store.release(dry_run=False).objects == []


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_an_alias_keeps_its_version_and_what_that_was_made_from(store: Registry) -> None:
    """Also where nothing that is merely used is kept: a dataset, and an object, that went into it."""
    first, _ = publish(store, "orders", 1), publish(store, "orders", 2)
    dataset = next(d.id for d in store.datasets(run_id=first))
    for value in (1, 2):
        store.save("features", large(value))
    for value in (1, 2, 3):
        with store.run("train"):
            if value == 1:
                store.get_dataset(dataset).to_table()
                store.load("features@1")
            store.save("model", large(10 + value))
    publish(store, "orders", 3)
    store.set_alias("model", "champion", "1")
    store.set_retention("*", keep_last=1, keep_used=False)
    store.set_retention(objects="*", keep_last=1, keep_used=False)
    report = store.release(dry_run=False)
    assert released(report) == [("model@2", None)]
    assert report.kept_objects == {"alias": 2, "keep_last": 2}
    assert len(report.datasets) == 1
    assert dataset not in {d.id for d in report.datasets}
    assert report.kept == {"alias": 1, "current": 1}
    store.remove_alias("model", "champion")
    report = store.release(dry_run=False)
    assert released(report) == [("features@1", None), ("model@1", None)]
    assert [d.id for d in report.datasets] == [dataset]


def test_a_deleted_version_that_an_alias_points_at_can_be_restored(store: Registry, clock: Later) -> None:
    """Deleting does not move the alias; who takes it back finds all as it was."""
    store.save("m", large(1))
    store.set_alias("m", "champion", "1")
    store.delete("m@1")
    store.set_retention(objects="m", keep_days=1)
    clock.ahead += timedelta(days=9)
    assert store.release(dry_run=False).kept_objects == {"alias": 1}
    store.restore("m@1")
    assert store.load("m@champion") == large(1)


def test_what_something_visible_was_made_from_is_kept(store: Registry, clock: Later) -> None:
    """Until that is deleted, too; a run that used it and made nothing keeps nothing."""
    for value in (1, 2, 3):
        store.save("features", large(value))
    with store.run("train") as train:
        store.load("features@1")
        store.save("model", large(4))
    with store.run("look"):
        store.load("features@2")
    store.set_retention(objects="features", keep_last=1)
    report = store.release(dry_run=False)
    assert released(report) == [("features@2", None)]
    assert report.kept_objects == {"keep_last": 1, "keep_used": 1, "no_rule": 1}
    store.revert(train.id)
    assert released(store.release(dry_run=False)) == [("features@1", None)]


def test_a_version_that_was_made_from_itself_does_not_keep_what_it_was(mutable: Registry, clock: Later) -> None:
    """Trained on and overwritten in one run, it descends from itself; another thing that was made from it counts."""
    mutable.save("m@1", large(1))
    with mutable.run("train on"):
        mutable.load("m@1")
        mutable.save("m@1", large(2), on_conflict="overwrite")
    clock.ahead += timedelta(days=2)
    mutable.set_retention(objects="m", keep_days=1)
    assert released(mutable.release()) == [("m@1", 0)]
    with mutable.run("report") as run:
        mutable.load("m@1")
        write(run, "report", 1)
    assert mutable.release().kept_objects == {"current": 1, "keep_used": 1}


# -- together --------------------------------------------------------------------------------------------------------


def test_datasets_and_objects_go_by_one_decision(store: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one of them changed meanwhile, nothing of either is released."""
    publish(store, "orders", 1)
    publish(store, "orders", 2)
    for value in (1, 2, 3):
        store.save("m", large(value))
    store.set_retention("*", keep_last=1)
    store.set_retention(objects="*", keep_last=1)
    plan = releasing.plan

    def meanwhile(what: Callable[[], object]) -> None:
        def planned(*args: Any) -> Any:
            found = plan(*args)
            what()
            return found

        monkeypatch.setattr(releasing, "plan", planned)
        with pytest.raises(Conflict) as caught:
            store.release(dry_run=False)
        assert caught.value.committed == "no"
        monkeypatch.undo()
        assert {d.state for d in store.datasets()} == {"READY"}
        assert "3" in store.list_versions("m")

    meanwhile(lambda: store.delete("m@1"))
    meanwhile(lambda: store.set_retention(objects="m", keep_last=3))
    store.remove_retention(objects="m")
    meanwhile(lambda: store.set_retention(objects="*", keep_last=2))
    store.set_retention(objects="*", keep_last=1)
    report = store.release(dry_run=False)
    assert (len(report.datasets), released(report)) == (1, [("m@2", None)])
    assert [r.id for r in store.runs(purpose="release", state="COMMITTED")] == [report.run_id]


def test_what_is_being_written_is_left_alone(store: Registry) -> None:
    """A version that a run deletes or overwrites just now is not proved; the others go."""
    for value in (1, 2, 3):
        store.save("m", large(value))
    store.set_retention(objects="m", keep_last=1)
    run = store.insert_run("deletes")
    store.delete("m@1", run_id=run)
    report = store.release(dry_run=False)
    assert released(report) == [("m@2", None)]
    assert report.kept_objects == {"keep_last": 1, "unproved": 1}
    store.close_run(run, False)
    assert released(store.release(dry_run=False)) == [("m@1", None)]


# -- readers ---------------------------------------------------------------------------------------------------------


def test_who_reads_released_bytes_is_told_so(mutable: Registry, clock: Later) -> None:
    """Of a version that is deleted, and of one that was overwritten, while somebody held it."""
    mutable.save("gone@1", large(1))
    mutable.save("new@1", large(2))
    objects = mutable.parts.objects
    founds = [objects.get(Wanted.of(name), None) for name in ("gone@1", "new@1")]
    held = [
        objects.reading.payload(f, partial(objects.finding.files, f), gone=partial(objects.gone, f, None))
        for f in founds
    ]
    mutable.delete("gone@1")
    mutable.save("new@1", large(3), on_conflict="overwrite")
    mutable.set_retention(objects="*", keep_days=1)
    clock.ahead += timedelta(days=2)
    mutable.release(dry_run=False)
    swept(mutable)
    for payload, how in zip(held, ("is deleted", "was overwritten"), strict=True):
        with refused(InvalidState, mutable) as caught:
            payload.read("data")
        assert how in caught.value.what
        assert "retention has released" in caught.value.what
    assert mutable.load("new@1") == large(3)
