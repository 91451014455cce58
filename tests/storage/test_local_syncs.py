"""How often a local store waits for the disk, and that what it says is stored outlives a power cut (decision 0030)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from prefect_registry.errors import AlreadyExists, OutcomeUnknown
from prefect_registry.storage import Upload
from prefect_registry.storage.local import LocalStorage
from tests.storage.recorded_syncs import record

FILES = 40


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """A store whose folders ``a`` and ``b`` are there and synced."""
    storage = LocalStorage(tmp_path / "store")
    for folder in ("a", "b"):
        storage.put(f"{folder}/first", b"x")
    return storage


def test_a_document_takes_one_sync_of_the_file_and_one_of_the_folder(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create or put where folders are known costs what any durable write does."""
    for write in (storage.create, storage.put):
        recorded = record(monkeypatch)
        write(f"a/{write.__name__}", b"x")
        assert [kind for kind, _ in recorded.steps] == ["file", "place", "folder"]
        monkeypatch.undo()


def test_an_empty_object_takes_a_sync_of_the_folder_only(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A touch has no bytes to sync, and its name needs no temporary file."""
    recorded = record(monkeypatch)
    storage.put("a/touch", b"")
    assert [kind for kind, _ in recorded.steps] == ["folder"]
    assert storage.get("a/touch") == b""


def test_an_empty_object_replaces_what_is_there(storage: LocalStorage) -> None:
    """Whoever has the old object open goes on reading it."""
    with storage.open("a/first") as old:
        storage.put("a/first", b"")
        assert storage.get("a/first") == b""
        assert old.read() == b"x"
    storage.put("a/first", b"")
    assert storage.get("a/first") == b""


def test_writes_in_order_sync_each_folder_once_and_all_before_they_return(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders of all calls behind what the last has placed; so it is when one of them is refused."""
    recorded = record(monkeypatch)
    writes: list[Callable[[], object]] = [partial(storage.put, "a/touch", b""), partial(storage.create, "b/0", b"x")]
    storage.in_order(writes)
    assert [kind for kind, _ in recorded.steps if kind != "folder"] == ["file", "place"]
    a, b = ((tmp_path / "store" / folder).stat().st_ino for folder in "ab")
    assert sorted(inode for kind, inode in recorded.steps if kind == "folder") == sorted([a, b])
    assert [kind for kind, _ in recorded.steps] == ["file", "place", "folder", "folder"]
    recorded.steps.clear()
    again: list[Callable[[], object]] = [partial(storage.put, "a/again", b""), *writes[1:]]
    with pytest.raises(AlreadyExists):
        storage.in_order(again)
    assert sorted(recorded.steps)[1:] == [("folder", a)]
    storage.put("a/alone", b"")
    assert recorded.count("folder") == 2, "what is written afterwards is synced at once"


@pytest.mark.parametrize("failing", ["a", "b"])
def test_a_folder_that_cannot_be_synced_is_told_whichever_it_is(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """It is not known whether what was written there lasts, and the other folder is synced all the same."""
    recorded = record(monkeypatch)
    fsync, inode = os.fsync, (tmp_path / "store" / failing).stat().st_ino

    def fail(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutcomeUnknown, match=failing) as caught:
        storage.in_order([partial(storage.put, "a/touch", b""), partial(storage.create, "b/0", b"x")])
    assert caught.value.committed == "unknown"
    assert recorded.count("folder") == 1


def test_after_an_interrupt_what_was_placed_is_synced(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left half done behind the caller's back, and what is written afterwards is synced at once."""
    recorded = record(monkeypatch)

    def interrupt() -> None:
        raise KeyboardInterrupt

    calls: list[Callable[[], object]] = [partial(storage.put, "a/touch", b""), interrupt]
    with pytest.raises(KeyboardInterrupt):
        storage.in_order(calls)
    assert recorded.steps == [("folder", (tmp_path / "store/a").stat().st_ino)]
    storage.put("b/alone", b"")
    assert recorded.count("folder") == 2


def test_an_upload_syncs_each_folder_once_behind_all_its_files(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files go to a folder, their names are made to last together, when all are there."""
    recorded = record(monkeypatch)
    keys = [f"{folder}/{i}" for i in range(FILES) for folder in ("a", "b", "new/below")]
    storage.upload([Upload(key, os.urandom(100)) for key in keys])
    root = tmp_path / "store"
    assert recorded.count("file") == len(keys)
    assert recorded.count("folder") == 5, "a, b, new/below, and what has the new ones: new and the root"
    for key in keys:
        placed = recorded.last("place", str(root / key))
        assert -1 < recorded.last("file", (root / key).stat().st_ino) < placed
        assert placed < recorded.last("folder", (root / key).parent.stat().st_ino)
