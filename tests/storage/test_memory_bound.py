"""Files of any size pass through bounded memory."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.registry import Registry, Run
from prefect_registry.storage import Download, Storage, Upload, open_storage
from prefect_registry.testing.servers import Server

MOST = 256 << 20
GIB = 1 << 30


def _raw(storage: Storage, source: Path, target: Path) -> None:
    (stored,) = storage.upload([Upload("large", source)])
    storage.download([Download("large", target, stored.size, stored.sha256)])


def _open(run: Run, source: Path) -> None:
    with run.dataset("large") as ds, ds.open("large") as file, open(source, "rb") as given:
        while chunk := given.read(1 << 20):
            file.write(chunk)


def _upload(run: Run, source: Path) -> None:
    with run.dataset("large") as ds:
        ds.upload(source)


def _adopt(run: Run, source: Path) -> None:
    run.adopt(source.as_uri(), "large")


def _commit(run: Run, source: Path) -> None:
    """Another program wrote into the folder: the commit lists and hashes what is there."""
    dataset_id = run.registry.begin_dataset("large", run.id)
    root = Path(run.registry.get_dataset(dataset_id).root)
    root.mkdir(parents=True)
    source.rename(root / "large")
    run.registry.commit_dataset(dataset_id, str(root), 0)


WRITES = {"open": _open, "upload": _upload, "adopt": _adopt, "commit": _commit}


def _published(registry: Registry, source: Path, target: Path, how: str) -> None:
    """The way of a file through a run and back, by three ways to read."""
    size = source.stat().st_size
    with registry.run("large") as run:
        WRITES[how](run, source)
    dataset = registry.latest("large")
    (entry,) = dataset.files
    assert (entry.size, len(entry.sha256)) == (size, 64)
    if how == "upload":
        dataset.download(entry.path, target)
    elif how == "open":
        dataset.verify()
    else:
        with dataset.open(entry.path) as file:
            while file.read(1 << 20):
                pass


def _saved(registry: Registry, source: Path, target: Path) -> None:
    """The way of a file, or of a folder, through a version of an object and back."""
    registry.save("large", source)
    registry.save("large", source)  # the same again: hashed, compared, and copied inside the store
    back = registry.load("large", output_dir=target)
    sizes = [sum(f.stat().st_size for f in each.rglob("*")) if each.is_dir() else each.stat().st_size
             for each in (source, back)]  # fmt: skip
    assert sizes[0] == sizes[1]


def _child(answers: Any, storage: Storage, folder: str, size: int, how: str) -> None:
    source, target = Path(folder) / "source", Path(folder) / "target"
    if how == "object folder":
        source.mkdir()
    for path in [source / f"{i}" for i in range(8)] if how == "object folder" else [source]:
        with open(path, "wb") as file:
            file.truncate(size // 8 if how == "object folder" else size)
    if how.startswith("object"):
        _saved(Registry(storage, version_objects=True, use_cache=False), source, target)
        answers.put(_peak())
        return
    if how == "raw":
        _raw(storage, source, target)
    else:
        _published(Registry(storage), source, target, how)
    if target.exists():
        assert target.stat().st_size == size
    answers.put(_peak())


def _peak() -> int:
    """The most that was resident since this program began. (``ru_maxrss`` would tell of the parent, too.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def peak_of(storage: Storage, folder: Path, size: int, how: str = "raw") -> int:
    """The largest resident size of a process that stores and reads back one file in one of the ways above."""
    context: Any = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_child, args=(answers, storage, str(folder), size, how))
    process.start()
    try:
        return int(answers.get(timeout=600))
    finally:
        process.join(60)
        process.kill()


@pytest.mark.parametrize("how", WRITES)
def test_local(tmp_path: Path, how: str) -> None:
    """1 GiB (384 MiB by most ways) into a run on a folder and back takes less than 256 MiB of memory."""
    size = GIB if how == "upload" else 384 << 20
    assert peak_of(open_storage(tmp_path / "store"), tmp_path, size, how) < MOST


@pytest.mark.server
def test_s3(tmp_path: Path, seaweedfs: Server) -> None:
    """1 GiB to S3 by a run and back takes less than 256 MiB of memory, the interpreter and the client included."""
    storage = seaweedfs.storage()
    assert peak_of(storage, tmp_path, GIB, "upload") < MOST
    storage.delete_many([info.key for info in storage.list("data/")])


@pytest.mark.server
def test_s3_streamed(tmp_path: Path, seaweedfs: Server) -> None:
    """A file that is written piece by piece to S3, 384 MiB of it, and verified there, does neither."""
    storage = seaweedfs.storage()
    assert peak_of(storage, tmp_path, 384 << 20, "open") < MOST
    storage.delete_many([info.key for info in storage.list("data/")])


@pytest.mark.server
def test_gcs(tmp_path: Path, fake_gcs: Server) -> None:
    """The same for Google Cloud Storage, with a smaller file, as the emulator copies all with each part."""
    storage = fake_gcs.storage()
    assert peak_of(storage, tmp_path, 320 << 20) < MOST
    storage.delete_many(["large"])


@pytest.mark.azure
@pytest.mark.server
def test_azure(tmp_path: Path, azurite: Server) -> None:
    """And for Azure, by a run."""
    storage = azurite.storage()
    assert peak_of(storage, tmp_path, 384 << 20, "upload") < MOST
    storage.delete_many([info.key for info in storage.list("data/")])


@pytest.mark.parametrize("how", ["object", "object folder"])
def test_objects(tmp_path: Path, how: str) -> None:
    """A file or folder of 384 MiB, saved as an object, saved again and loaded, takes less than 256 MiB of memory."""
    assert peak_of(open_storage(tmp_path / "store"), tmp_path, 384 << 20, how) < MOST


@pytest.mark.deep
@pytest.mark.parametrize("how", ["object", "object folder"])
def test_objects_of_4_gib(tmp_path: Path, how: str) -> None:
    """4 GiB take no more."""
    assert peak_of(open_storage(tmp_path / "store"), tmp_path, 4 * GIB, how) < MOST


@pytest.mark.deep
@pytest.mark.server
def test_objects_of_4_gib_on_s3(tmp_path: Path, seaweedfs: Server) -> None:
    """Nor on S3."""
    storage = seaweedfs.storage()
    assert peak_of(storage, tmp_path, 4 * GIB, "object") < MOST
    storage.delete_many([info.key for info in storage.list("data/")])


@pytest.mark.deep
def test_local_8_gib(tmp_path: Path) -> None:
    """8 GiB into a run on a folder and back takes no more than 1 GiB does."""
    assert peak_of(open_storage(tmp_path / "store"), tmp_path, 8 * GIB, "upload") < MOST


@pytest.mark.deep
@pytest.mark.server
def test_s3_8_gib(tmp_path: Path, seaweedfs: Server) -> None:
    """8 GiB to S3 and back takes no more than 1 GiB does."""
    storage = seaweedfs.storage()
    assert peak_of(storage, tmp_path, 8 * GIB) < MOST
    storage.delete_many(["large"])


@pytest.mark.deep
@pytest.mark.server
@pytest.mark.timeout(1_800)
def test_gcs_1_gib(tmp_path: Path, fake_gcs: Server) -> None:
    """The emulator copies 20 GiB for it."""
    storage = fake_gcs.storage()
    assert peak_of(storage, tmp_path, GIB) < MOST
    storage.delete_many(["large"])
