"""What is particular to a folder: links, leftovers of dead processes, durability, names."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_registry.errors import AlreadyExists, InvalidInput, NotFound, RegistryError, StorageError
from prefect_registry.storage import Download, Upload
from prefect_registry.storage import folders as folders_module
from prefect_registry.storage.local import LocalStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "store"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    """A store in a folder that does not exist yet."""
    return LocalStorage(root)


def test_reading_makes_nothing(storage: LocalStorage, root: Path) -> None:
    """Looking into a store that is not there leaves no trace."""
    assert list(storage.list("")) == []
    assert storage.info("key") is None
    with pytest.raises(NotFound):
        storage.get("key")
    storage.delete_many(["key"])
    assert not root.exists()


def test_symbolic_links_lead_nowhere(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    """No link below the root is followed, by no method, wherever it leads; the root itself may be one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    storage.put("inside", b"x")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "circle").symlink_to(root)
    for key in ("folder/secret", "file", "circle/inside", "folder/new"):
        for call in (
            lambda key=key: storage.get(key),
            lambda key=key: storage.open(key),
            lambda key=key: storage.info(key),
            lambda key=key: storage.create(key, b"x"),
            lambda key=key: storage.put(key, b"x"),
            lambda key=key: storage.upload([Upload(key, b"x")]),
            lambda key=key: storage.download([Download(key, tmp_path / "target")]),
            lambda key=key: storage.delete_many([key]),
        ):
            with pytest.raises(StorageError, match="symbolic link"):
                call()
    assert [info.key for info in storage.list("")] == ["inside"]
    assert sorted(outside.iterdir()) == [outside / "secret"]
    (tmp_path / "link").symlink_to(root)
    assert LocalStorage(tmp_path / "link").get("inside") == b"x"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(key=st.text(st.sampled_from("ab./\\\0\n~%:*?"), max_size=12))
def test_no_key_leads_outside(key: str, tmp_path: Path) -> None:
    """Whatever the key, it is stored below the root or refused."""
    root = tmp_path / "a" / "b" / "store"
    storage = LocalStorage(root)
    before = {path for path in tmp_path.rglob("*") if root not in path.parents}
    try:
        storage.put(key, b"x")
    except RegistryError:
        pass
    else:
        assert storage.get(key) == b"x"
        assert key in [info.key for info in storage.list("")]
        storage.delete_many([key])
    assert {path for path in tmp_path.rglob("*") if root not in path.parents} - before <= {
        root,
        root.parent,
        root.parent.parent,
    }


def test_a_file_is_no_folder(storage: LocalStorage) -> None:
    """A name below an existing object, or that is a folder, is refused with the reason."""
    storage.create("a/b", b"x")
    for key in ("a/b/c", "a"):
        with pytest.raises((StorageError, AlreadyExists)) as caught:
            storage.create(key, b"x")
        with pytest.raises(StorageError, match="file stands where a folder"):
            storage.put(key, b"x")
        assert not isinstance(caught.value, NotFound)


def test_temporary_files_are_hidden_and_gone(storage: LocalStorage, root: Path) -> None:
    """After each write there is no temporary file, and their folder is in no listing and out of reach."""
    storage.create("a", b"x")
    with pytest.raises(AlreadyExists):
        storage.create("a", b"y")
    storage.put("b", b"x")
    storage.upload([Upload("c", b"x")])
    assert [path.name for path in (root / ".tmp").rglob("*") if path.is_file()] == ["lock"]
    assert [info.key for info in storage.list("")] == ["a", "b", "c"]
    with pytest.raises(InvalidInput):
        storage.put(".tmp/x", b"x")


def test_leftovers_of_dead_processes_are_swept(storage: LocalStorage, root: Path) -> None:
    """What a killed process left is removed by the next one that writes; what a living one has is not."""
    living, killed = _writer_in_the_middle(root), _writer_in_the_middle(root)
    try:
        assert len(_temporary_files(root)) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        storage.put("key", b"x")
        assert len(_temporary_files(root)) == 1
        assert living.poll() is None
    finally:
        living.kill()
        living.wait()
    assert [info.key for info in storage.list("")] == ["key"]


def _writer_in_the_middle(root: Path) -> subprocess.Popen[bytes]:
    code = (
        "import os, time; from prefect_registry.storage.local import LocalStorage\n"
        "def fill(path, file): os.write(file, b'x' * 1000); print('writing', flush=True); time.sleep(600)\n"
        f"LocalStorage({str(root)!r})._write(fill)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.stdout.close()
    return process


def _temporary_files(root: Path) -> list[Path]:
    return [path for path in (root / ".tmp").rglob("*") if path.is_file() and path.name != "lock"]


def test_many_processes_sweep_and_write(root: Path) -> None:
    """Processes that come, write, are killed and sweep at the same time never hurt each other."""
    context: Any = multiprocessing.get_context("fork")
    processes = []
    for i in range(40):
        process = context.Process(target=_write_a_little, args=(str(root), i))
        process.start()
        processes.append(process)
        if i % 3 == 0:
            time.sleep(0.002)
            process.kill()
    for process in processes:
        process.join(60)
    assert {process.exitcode for process in processes} <= {0, -signal.SIGKILL}
    storage = LocalStorage(root)
    for info in storage.list(""):
        assert storage.get(info.key) == b"x" * 1000
    for i in range(40):
        if i % 3:
            assert len(list(storage.list(f"{i}/"))) == 10


def _write_a_little(root: str, number: int) -> None:
    status = 1
    try:
        storage = LocalStorage(root)
        for i in range(10):
            storage.create(f"{number}/{i}", b"x" * 1000)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # what other tests have left to be done at the exit of this process is none of ours


def test_somebody_empties_the_temporary_folder(storage: LocalStorage, root: Path) -> None:
    """A write goes on after somebody removed the folder of temporary files."""
    import shutil

    storage.create("a", b"x")
    shutil.rmtree(root / ".tmp")
    storage.create("b", b"x")
    assert storage.get("b") == b"x"


def test_names_survive_a_power_cut(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create syncs its folder and every ancestor that this process has not synced yet, whoever made it."""
    (root / "made" / "by").mkdir(parents=True)  # by another process
    synced: list[str] = []
    real = folders_module._sync
    monkeypatch.setattr(folders_module, "_sync", lambda folder: (synced.append(folder), real(folder)))
    storage = LocalStorage(root)

    def below() -> list[str]:
        found = [os.path.relpath(folder, root) for folder in synced if folder.startswith(str(root))]
        synced.clear()
        return found

    storage.create("made/by/another/process/key", b"x")
    assert below() == ["made/by/another/process", "made/by/another", "made/by", "made", "."]
    storage.create("made/by/another/process/key2", b"x")
    assert below() == ["made/by/another/process"]
    storage.create("made/by/me/key", b"x")
    assert below() == ["made/by/me", "made/by"]
    storage.upload([Upload("data/x/file", b"x")])
    assert below() == ["data/x", "data", "."]
    storage.delete_many(["data/x/file"])
    storage.put("data/x/file", b"x")
    assert below() == ["data/x", "data", "."]


def test_deleting_leaves_no_empty_folders(storage: LocalStorage, root: Path) -> None:
    """Folders go with the last object in them, and not before."""
    for key in ("data/run/a/1", "data/run/a/2", "data/run/b/1", "data/other/1"):
        storage.put(key, b"x")
    storage.delete_many(["data/run/a/1"])
    assert (root / "data/run/a").exists()
    storage.delete_many(["data/run/a/2", "data/run/b/1"])
    assert sorted(os.listdir(root / "data")) == ["other"]
    storage.delete_many(["data/other/1"])
    assert sorted(os.listdir(root)) == [".tmp"]


@pytest.mark.parametrize("temporary", [True, False])
def test_a_folder_is_listed_in_order_however_many_names_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    """What does not fit the memory that a listing may take lies in a temporary file, if one can be made."""
    monkeypatch.setattr("prefect_registry.storage.names.MOST_IN_MEMORY", 7)
    monkeypatch.setattr("prefect_registry.storage.names._BLOCK", 5)
    if not temporary:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    storage = LocalStorage(tmp_path / "store")
    keys = [f"a/{name}" for name in ("é", "b.c", "b/c", "b-/x", "z z", "☃/☃", *(str(n * n) for n in range(40)))]
    for key in keys:
        storage.put(key, b"x")
    expected = sorted(keys, key=str.encode)
    assert [info.key for info in storage.list("")] == expected
    assert [info.key for info in storage.list("a/", start_after="a/25")] == [k for k in expected if k > "a/25"]
    assert next(iter(storage.list(""))).key == expected[0]
