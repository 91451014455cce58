"""The collector and the bytes of objects: what no published version names goes, and nothing else (DESIGN.md P8)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from object_support import LARGE, clock, folders, opened, payload_of, refusing, storage, store
from registry_support import FAST, Later, publish

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied, RunAborted
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import RunSpec
from prefect_registry.records.cells import CellRef
from prefect_registry.records.runs import Members
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import Upload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage

__all__ = ["clock", "storage", "store"]  # fixtures


def test_what_is_published_stays(store: Registry) -> None:
    """Objects of runs of their own, of a run with datasets, and of a nested one lose nothing."""
    store.save("alone", b"a" * LARGE)
    with store.run("work") as run:
        store.save("in-run", b"b" * LARGE)
        with run.dataset("orders") as ds, ds.open("a.txt", "w") as file:
            file.write("a")
        with store.run("inner", parent=run.id):
            store.save("nested", b"c" * LARGE)
    before = folders(store)
    assert len(before) == 4
    report = store.collect(dry_run=False)
    assert (report.objects, report.waiting, report.damaged) == (0, [], {})
    assert folders(store) == before
    assert {name: store.load(name)[:1] for name in ("alone", "in-run", "nested")} == {
        "alone": b"a", "in-run": b"b", "nested": b"c",
    }  # fmt: skip


def test_the_bytes_of_a_save_that_failed_go_when_its_run_is_closed(
    store: Registry, storage: MemoryStorage, clock: Later
) -> None:
    """One that has uploaded, and could not write its record: its run commits, and what it has published stays."""
    store.save("m@1", b"first" * LARGE)
    other = opened(refusing(storage, "m", "9"), clock)
    with other.run("work"):
        with pytest.raises(AccessDenied):
            other.save("m@9", b"second" * LARGE)
        other.save("m@2", b"third" * LARGE)
        assert other.collect(dry_run=False).objects == 0
        assert len(folders(store)) == 3
    preview = store.collect()
    assert (preview.objects, preview.bytes, preview.released) == (1, 6 * LARGE, 0)
    assert store.collect(dry_run=False).objects == 1
    assert folders(store) == sorted([payload_of(store, "m@1"), payload_of(store, "m@2")])
    assert store.load("m@1") == b"first" * LARGE
    assert store.load("m@2") == b"third" * LARGE


def test_what_lies_in_no_folder_of_ours_is_never_collected(store: Registry) -> None:
    """Only folders that this library could have made are judged."""
    run = publish(store, "orders", 1)
    prefix = paths.data_prefix(run)
    for key in ("notes.txt", "backup/a.txt", "ABCDEFGHJKMNPQRS/a"):
        store.storage.upload([Upload(prefix + key, b"somebody's")])
    assert store.collect(dry_run=False).objects == 0


def test_a_run_whose_objects_cannot_be_read_keeps_its_bytes(
    store: Registry, storage: MemoryStorage, clock: Later
) -> None:
    """A missing or damaged generation proves nothing of the folders beside it; other runs are judged all the same."""
    with store.run("damaged") as run:
        store.save("m", b"a" * LARGE)
        store.save("n", b"b" * LARGE)
    with pytest.raises(ZeroDivisionError), store.run("failed") as failed:
        store.save("o", b"c" * LARGE)
        raise ZeroDivisionError
    key = paths.cell_key(CellRef.named(OBJECT, "m@1"), 0)
    data = storage.get(key)
    other = data.replace(payload_of(store, "m@1")[-16:].encode(), b"0" * 16, 1)
    of_nobody = data.replace(run.id.encode(), failed.id.encode(), 1)
    for damage in (b"{", b"", other, of_nobody, data.replace(b'"size":', b'"size":"x",')):
        assert damage != data
        storage.delete_many([key])
        if damage:
            storage.put(key, damage)
        report = opened(storage, clock).collect()
        assert list(report.damaged) == [run.id]
        assert key in report.damaged[run.id]
        assert report.runs == [failed.id]
    storage.put(key, data)
    again = opened(storage, clock)
    assert again.collect(dry_run=False).runs == [failed.id]
    assert (again.load("m"), again.load("n")) == (b"a" * LARGE, b"b" * LARGE)


def test_bytes_of_a_run_that_never_began_go_when_nobody_can_begin_it(store: Registry, clock: Later) -> None:
    """A process died while begin and upload travelled side by side: watched for half a lease, aborted, then deleted.
    Who was only slow is told so.
    """
    begin = store.ledger.runs.new(RunSpec("save"))
    key = f"{paths.data_prefix(begin.run_id)}0123456789abcdef/data"
    store.storage.upload([Upload(key, b"x" * LARGE)])
    store.ledger.cells.first(OBJECT, "m@1", {"object": "m", "version": "1"}, run_id=begin.run_id, guarded=False)
    assert store.collect(dry_run=False).waiting == [begin.run_id]
    clock.ahead += timedelta(seconds=FAST.lease_seconds / 4)
    assert store.collect(dry_run=False).waiting == [begin.run_id]
    clock.ahead += timedelta(seconds=FAST.lease_seconds / 4 + 1)
    preview = store.collect()
    assert (preview.runs, preview.bytes, preview.waiting) == ([begin.run_id], LARGE, [])
    assert store.ledger.store.decision(begin.run_id) is None
    report = store.collect(dry_run=False)
    assert (report.runs, report.bytes, report.waiting) == ([begin.run_id], LARGE, [])
    assert folders(store) == []
    store.ledger.runs.create_begin(begin)
    with pytest.raises(RunAborted):
        store.ledger.commit_own(begin.run_id, only=Members(cells=[(OBJECT, "m/1", 0)]))
    assert not store.has_object("m")


def test_a_registry_without_objects_pays_nothing_for_them(clock: Later, storage: MemoryStorage) -> None:
    """No listing of payloads, and no generation is read, where only datasets lie; one of each at most where they do."""
    counting = CountingStorage(storage)
    store = opened(counting, clock)
    publish(store, "orders", 1)
    with counting.measure() as without:
        store.collect()
    assert not [key for method, key in without.keys if "payload" in key or "object" in key]
    for name in ("a", "b"):
        store.save(name, b"x" * LARGE)
    again = opened(counting, clock)
    with counting.measure() as with_objects:
        again.collect()
    asked = [key for method, key in with_objects.keys if key.endswith("/datasets/")]
    assert len(asked) == 1  # of the run with the dataset
    assert sorted(key for method, key in with_objects.keys if key.startswith("cells/")) == [
        "cells/dataset/",
        "cells/object/a/1/0000000000.json",
        "cells/object/b/1/0000000000.json",
        "cells/payload/",
    ]
