"""A copy of a registry is whole, or cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from registry_support import FAST, assert_tells, doc, keys, numbers, publish, rows, write

from prefect_registry import Registry
from prefect_registry.errors import IntegrityError, InvalidState, NotFound
from prefect_registry.ledger import manifests
from prefect_registry.ledger.store import Store
from prefect_registry.registry.copying import Copy
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, SimulatedCrash, crash
from prefect_registry.testing.servers import Server


def history(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> str:
    """Something of everything; returns a run that is still going on."""
    first = publish(registry, "k", 1, 2)
    publish(registry, "k", 3, mode="append")
    publish(registry, "gone", 4)
    registry.revert(registry.latest("gone").run_id)
    with registry.run("outer") as outer, registry.run("inner", parent=outer.id) as inner:
        write(inner, "nested", 5)
    with registry.run("partly") as run:
        write(run, "kept", 6)
        with run.dataset("dropped") as ds:
            ds.write_table(numbers(7))
        registry.rollback_dataset(ds.id)
    with monkeypatch.context() as patched:
        patched.setattr(manifests, "MOST_INLINE_FILES", 0)
        publish(registry, "large", 8)
    with pytest.raises(ZeroDivisionError), registry.run("failed") as run:
        write(run, "k", 9)
        raise ZeroDivisionError
    registry.register_documents([doc("a"), doc("b")])
    registry.emit_event("seen", first, {})
    registry.incident("trouble", first, "E", "m")
    running = registry.insert_run("running")
    write(registry.attach(running), "k", 10)
    registry.register_documents([doc("c")], run_id=running)
    with registry.run("decided in it", parent=running) as nested:
        write(nested, "nested", 12)
        registry.register_documents([doc("c", title="nested")], run_id=nested.id)
    registry.incident("slow", running, "E", "m", run_id=running)
    return running


def shown(registry: Registry, but: str) -> list[Any]:
    """What readers see, but for one run."""
    view = registry.snapshot()
    return [
        {kind: view.table(kind).to_table().to_pylist() for kind in view.kinds()},
        [(r.id, r.state, r.config, r.notes, r.finished_at) for r in view.runs() if but not in (r.id, r.parent)],
        [(d.id, d.state, d.rows, d.bytes) for d in view.datasets() if d.state == "READY"],
        list(view.documents()),
        list(view.events(derived=False)),
        list(view.incidents()),
    ]


@pytest.fixture
def source(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "source", settings=FAST)


def test_a_copy_shows_what_the_registry_showed(
    source: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = history(source, monkeypatch)
    before = keys(source)
    moved: list[int] = []
    report = source.copy_to(tmp_path / "copy", progress=moved.append)
    assert sum(moved) == report.bytes > 0
    assert report.unfinished[0] == running
    copy = Registry(tmp_path / "copy", create=False)
    assert report.registry_id == copy.registry_id != source.registry_id
    assert shown(copy, running) == shown(source, running)
    ended = copy.get_run(running)
    assert (ended.state, ended.failure.cls if ended.failure else "") == ("ABORTED", "Unfinished")
    assert copy.reap().reaped == []
    assert copy.collect(dry_run=False).objects == 0
    assert rows(copy, "k") == [1, 2, 3]
    publish(copy, "k", 11, mode="append")
    copy.register_documents([doc("c", title="free again")])
    assert keys(source) == before
    source.close_run(running, True)
    assert rows(source, "k") == [10]
    assert rows(copy, "k") == [1, 2, 3, 11]


def test_a_copy_on_an_object_store_and_back_is_the_same(
    source: Registry, seaweedfs: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = history(source, monkeypatch)
    url, options = seaweedfs.url(), seaweedfs.storage_options
    source.copy_to(url, storage_options=options)
    there = Registry(url, storage_options=options, create=False)
    assert shown(there, running) == shown(source, running)
    there.copy_to(tmp_path / "back")
    assert shown(Registry(tmp_path / "back"), running) == shown(source, running)


def test_a_registry_is_never_copied_into_another(source: Registry, tmp_path: Path) -> None:
    publish(source, "k", 1)
    other = Registry(tmp_path / "other")
    publish(other, "k", 2)
    before = keys(other)
    with pytest.raises(InvalidState, match="already") as refused:
        source.copy_to(tmp_path / "other")
    assert_tells(refused.value)
    assert keys(other) == before


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_file_ends_the_copy_before_anybody_can_open_it(source: Registry, tmp_path: Path, damage: str) -> None:
    publish(source, "k", 1)
    file = next(Path(source.url).glob("data/**/*.parquet"))
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="cannot be copied") as refused:
        source.copy_to(tmp_path / "copy")
    assert_tells(refused.value)
    with pytest.raises(NotFound):
        Registry(tmp_path / "copy", create=False)


def test_what_is_written_outside_of_runs_while_a_copy_is_made_is_not_half_in_it(
    source: Registry, tmp_path: Path
) -> None:
    """The copy is one state: what stands on a run that it does not have is no part of it."""
    source.register_documents([doc("a")])
    for ended in (True, False):
        attempt = source.insert_run("attempt", flow_run=f"flow run {ended}")
        _ = source.close_run(attempt, True) if ended else None
    entries = source.ledger.journal.consistent_entries()
    with source.run("p") as run:
        run.register_documents([doc("a", title="second")])
    source.register_documents([doc("a", title="third")])
    source.register_documents([doc("b")])
    Copy(source.ledger.store, Store(ResolvingStorage(LocalStorage(tmp_path / "copy"))), None).run(entries)
    copy = Registry(tmp_path / "copy", create=False, settings=FAST)
    assert list(copy.documents()) == [doc("a")]
    assert [len(copy.ledger.runs.attempts(f"flow run {ended}")) for ended in (True, False)] == [1, 1]
    assert copy.fsck(verify="none").ok


def test_a_copy_goes_on_although_a_run_has_ended_since_it_was_interrupted(source: Registry, tmp_path: Path) -> None:
    """What the first attempt said of the run counts no more: nobody could open that copy."""
    running, aborted = source.insert_run("running"), source.insert_run("aborted")
    write(source.attach(running), "k", 1)
    target = FaultyStorage(LocalStorage(tmp_path / "copy"), crash(method="create", key="registry.json"))
    store = Store(ResolvingStorage(target), source.ledger.store.clock)
    with pytest.raises(SimulatedCrash):
        Copy(source.ledger.store, store, None).run(source.ledger.journal.consistent_entries())
    source.close_run(running, True)
    source.close_run(aborted, False)
    assert source.copy_to(tmp_path / "copy").unfinished == []
    copy = Registry(tmp_path / "copy", create=False, settings=FAST)
    assert (rows(copy, "k"), copy.get_run(aborted).failure) == ([1], source.get_run(aborted).failure)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_copy_that_is_killed_anywhere_cannot_be_opened_and_goes_on_when_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    source = Registry(tmp_path / "source", settings=FAST)
    running = history(source, monkeypatch)
    entries = source.ledger.journal.consistent_entries()
    at, died = 2, True  # the first call finds nothing
    while died:
        place = tmp_path / f"copy-{at}"
        faulty = FaultyStorage(LocalStorage(place), crash(where=where, at=at))
        try:
            Copy(source.ledger.store, Store(ResolvingStorage(faulty)), None).run(entries)
            died = False
        except SimulatedCrash:
            try:  # only its very last call makes it a registry
                Registry(place, create=False)
            except NotFound:
                assert source.copy_to(place).unfinished[0] == running
        assert shown(Registry(place, create=False), running) == shown(source, running)
        at += 7
    assert at > 70
