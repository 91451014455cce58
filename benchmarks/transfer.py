"""256 MiB in one file, and 1,000 staged datasets, against what the filesystem itself reaches."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measure import Pair, Result, paired
from prefect_registry import Registry
from prefect_registry.storage.base import Download, Storage, Upload
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

SIZE = 256 << 20
_BLOCK = 1 << 20


def large_file(storage: Storage, place: str) -> Iterator[Result]:
    """Upload and download of 256 MiB, sha256 and its verification included, against put_file and get_file.

    All write to a new name, as every file of a dataset is. Locally an upload is durable, so the baseline is a copy
    that is synced too; a download is not, and neither is its baseline.
    """
    fs: Any
    fs, root = storage.fs()
    synced = place == "local"
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(os.urandom(_BLOCK) * (SIZE // _BLOCK))
        (stored,) = storage.upload([Upload("bench/stored", source)])

        def put_file() -> None:
            fs.put_file(str(source), f"{root}/bench/new")
            if synced:
                _sync(f"{root}/bench/new")

        hashing = paired(lambda: _hash(source), lambda: None).ours
        pair = paired(
            lambda: storage.upload([Upload("bench/new", source)]),
            put_file,
            before=lambda: storage.delete_many(["bench/new"]),
        )
        yield _rate(f"{place}: upload of 256 MiB", pair, "put_file and fsync" if synced else "put_file", hashing)
        storage.delete_many(["bench/new"])

        wanted = Download("bench/stored", target, size=stored.size, sha256=stored.sha256)
        pair = paired(
            lambda: storage.download([wanted]),
            lambda: fs.get_file(f"{root}/bench/stored", str(target)),
            before=lambda: target.unlink(missing_ok=True),
        )
        yield _rate(f"{place}: verified download of 256 MiB", pair, "get_file", hashing)
        storage.delete_many(["bench/stored"])


def staged_datasets(storage: Storage, place: str, count: int = 1_000, rounds: int = 5) -> Iterator[Result]:
    """Datasets of one small file staged from 16 threads, against as many bare pipe_file calls, in ``rounds`` turns."""
    fs: Any
    fs, root = storage.fs()
    counting = CountingStorage(storage)
    registry = Registry(ResolvingStorage(counting))
    run = registry.attach(registry.insert_run("staged"))
    data, numbers = b"x" * 1024, itertools.count()

    def stage(_: int) -> None:
        with run.dataset("staged", mode="append") as dataset, dataset.open("f.bin") as file:
            file.write(data)

    def put(_: int) -> None:
        fs.pipe_file(f"{root}/bench/pipe/{next(numbers)}", data)

    with ThreadPoolExecutor(16) as pool:
        with counting.measure() as measure:
            stage(0)
        calls = measure.total
        batch = count // rounds
        pair = paired(
            lambda: list(pool.map(stage, range(batch))), lambda: list(pool.map(put, range(batch * calls))), rounds
        )
    registry.close_run(run.id, True)
    yield Result(f"{place}: {count:,} datasets staged from 16 threads", pair.rate, "of bare pipe_file", "at least 0.8",
                 pair.rate >= 0.8, f"a dataset makes {calls} calls, against as many pipe_file")  # fmt: skip


def _rate(name: str, pair: Pair, baseline: str, hashing: float) -> Result:
    """``hashing`` is what sha256 of the bytes takes by itself: nothing that verifies can be faster."""
    note = f"of {baseline}"
    if hashing > 0.9 * pair.baseline:
        note += f"; sha256 alone, beside nothing, reaches {pair.baseline / hashing:.2f}"
    return Result(name, pair.rate, "of the filesystem's rate", "at least 0.9", pair.rate >= 0.9, note)


def _sync(path: str) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _hash(path: Path) -> None:
    """What no way of verifying can do without: sha256 of the file, from memory."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
