"""Files of any size pass through bounded memory."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.storage import Download, Storage, Upload
from prefect_registry.storage.local import LocalStorage
from prefect_registry.testing.servers import Server

MOST = 256 << 20
GIB = 1 << 30


def _peak_of_a_round_trip(answers: Any, storage: Storage, folder: str, size: int) -> None:
    source, target = Path(folder) / "source", Path(folder) / "target"
    with open(source, "wb") as file:
        file.truncate(size)
    (stored,) = storage.upload([Upload("large", source)])
    storage.download([Download("large", target, stored.size, stored.sha256)])
    assert stored.size == target.stat().st_size == size
    answers.put(_peak())


def _peak() -> int:
    """The most that was resident since this program began. (``ru_maxrss`` would tell of the parent, too.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def peak_of_a_round_trip(storage: Storage, folder: Path, size: int) -> int:
    """The largest resident size of a process that uploads and downloads one file."""
    context: Any = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_peak_of_a_round_trip, args=(answers, storage, str(folder), size))
    process.start()
    try:
        return int(answers.get(timeout=600))
    finally:
        process.join(60)
        process.kill()


def test_local(tmp_path: Path) -> None:
    """Half a GiB to a folder and back takes less than 256 MiB of memory."""
    assert peak_of_a_round_trip(LocalStorage(tmp_path / "store"), tmp_path, GIB // 2) < MOST


@pytest.mark.server
def test_s3(tmp_path: Path, seaweedfs: Server) -> None:
    """1 GiB to S3 and back takes less than 256 MiB of memory, the interpreter and the client included."""
    storage = seaweedfs.storage()
    assert peak_of_a_round_trip(storage, tmp_path, GIB) < MOST
    storage.delete_many(["large"])


@pytest.mark.server
def test_gcs(tmp_path: Path, fake_gcs: Server) -> None:
    """The same for Google Cloud Storage, with a smaller file, as the emulator copies all with each part."""
    storage = fake_gcs.storage()
    assert peak_of_a_round_trip(storage, tmp_path, 320 << 20) < MOST
    storage.delete_many(["large"])


@pytest.mark.deep
@pytest.mark.server
def test_s3_8_gib(tmp_path: Path, seaweedfs: Server) -> None:
    """8 GiB to S3 and back takes no more than 1 GiB does."""
    storage = seaweedfs.storage()
    assert peak_of_a_round_trip(storage, tmp_path, 8 * GIB) < MOST
    storage.delete_many(["large"])
