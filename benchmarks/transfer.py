"""256 MiB in one file, and 1,000 staged datasets, against what the filesystem itself reaches."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import Result, paired, seconds
from prefect_registry import Registry
from prefect_registry.storage.base import Download, Storage, Upload
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

SIZE = 256 << 20


def large_file(storage: Storage, place: str) -> Iterator[Result]:
    """Upload and download of 256 MiB, hashing and verification included, against put_file and get_file."""
    fs, root = storage.fs()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
        stored = storage.upload([Upload("bench/large", source)])[0]

        def synced_put() -> None:
            fs.put_file(str(source), f"{root}/bench/base")  # type: ignore[attr-defined]
            if place == "local":
                with open(f"{root}/bench/base", "rb") as file:
                    os.fsync(file.fileno())

        ours, base = paired(lambda: storage.upload([Upload("bench/large", source)]), synced_put)
        yield Result(f"{place}: upload of 256 MiB", base / ours, "of the filesystem's rate",
                     "at least 0.9", base / ours >= 0.9,
                     "local: both synced to disk" if place == "local" else "")  # fmt: skip
        wanted = Download("bench/large", target, size=stored.size, sha256=stored.sha256)
        ours, base = paired(
            lambda: storage.download([wanted]),
            lambda: fs.get_file(f"{root}/bench/large", f"{target}2"),  # type: ignore[attr-defined]
        )
        yield Result(f"{place}: verified download of 256 MiB", base / ours, "of the filesystem's rate", "at least 0.9",
                     base / ours >= 0.9)  # fmt: skip


def staged_datasets(storage: Storage, place: str, count: int = 1_000) -> Iterator[Result]:
    """1,000 datasets of one small file staged from 16 threads, against as many bare pipe_file calls."""
    fs, root = storage.fs()
    counting = CountingStorage(storage)
    registry = Registry(ResolvingStorage(counting))
    run = registry.attach(registry.insert_run("staged"))

    def stage(i: int) -> None:
        with run.dataset("staged", mode="append") as dataset, dataset.open("f.bin") as file:
            file.write(b"x" * 1024)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(stage, range(32)))
        with counting.measure() as measure:
            ours = seconds(lambda: list(pool.map(stage, range(count))))
        calls = counting.calls.total
        put = lambda i: fs.pipe_file(f"{root}/bench/pipe/{i}", b"x" * 1024)  # type: ignore[attr-defined]  # noqa: E731
        list(pool.map(put, range(32)))
        base = seconds(lambda: list(pool.map(put, range(calls))))
    run.registry.close_run(run.id, True)
    del measure
    yield Result(f"{place}: 1,000 datasets staged from 16 threads ({calls:,} calls)", base / ours, "of bare pipe_file",
                 "at least 0.8", base / ours >= 0.8)  # fmt: skip
