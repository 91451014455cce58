"""How often a local store waits for the disk, and that what it says is stored outlives a power cut (decision 0030)."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from prefect_registry.errors import AlreadyExists
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


def test_writes_in_order_share_the_syncs_of_their_folders(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder is synced once, when all are in place; so it is when one of them is refused."""
    recorded = record(monkeypatch)
    writes = [partial(storage.put, "a/touch", b""), partial(storage.create, "b/0", b"x")]
    storage.in_order([*writes, partial(storage.create, "a/0", b"x")])
    assert [kind for kind, _ in recorded.steps] == ["file", "place"] * 2 + ["folder"] * 2
    recorded.steps.clear()
    with pytest.raises(AlreadyExists):
        storage.in_order([partial(storage.put, "a/again", b""), *writes[1:]])
    assert [kind for kind, _ in recorded.steps] == ["file", "folder"]
    storage.put("a/alone", b"")
    assert recorded.count("folder") == 2, "what is written afterwards is synced at once"


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
