"""Our own code beside the storage calls it makes, and how many calls a close makes."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import Result, StorageTime
from prefect_registry import Registry
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.records.datasets import FileEntry
from prefect_registry.storage.base import Storage, Upload
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage


def own_share(storage: Storage, place: str) -> Iterator[Result]:
    """A run from begin to decision with 1 file of 1 KiB, and with 1,000 files of 4 KiB: (all - storage) / storage."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(1000):
            (Path(folder) / f"f{i:04d}.bin").write_bytes(b"x" * 4096)

        def one(dataset: DatasetWriter) -> None:
            with dataset.open("f0.bin") as file:
                file.write(b"x" * 1024)

        yield _share(storage, f"{place}: own code beside storage calls, 1 file of 1 KiB", one, 50)
        yield _share(
            storage,
            f"{place}: own code beside storage calls, 1,000 files of 4 KiB",
            lambda dataset: dataset.upload(folder),
            5,
        )


def _share(storage: Storage, name: str, write: Callable[[DatasetWriter], object], rounds: int) -> Result:
    timed = StorageTime(storage)
    registry = Registry(ResolvingStorage(timed))
    shares = []
    for _ in range(rounds + 1):
        timed.seconds = 0.0
        start = time.perf_counter()
        with registry.run("bench") as run, run.dataset("bench") as dataset:
            write(dataset)
        elapsed = time.perf_counter() - start
        shares.append((elapsed - timed.seconds) / timed.seconds)
    share = statistics.median(shares[1:])
    return Result(name, share * 100, "%", "at most 30 %", share <= 0.30)


def close_calls(storage: Storage) -> Iterator[Result]:
    """The number of calls that closing makes: for 1 and 10,000 files, and LIST pages per 1,000 datasets."""
    counting = CountingStorage(storage)
    registry = Registry(ResolvingStorage(counting))
    counts = {}
    for files in (1, 10_000):
        run = registry.attach(registry.insert_run("close"))
        with run.dataset("close") as dataset:
            _write_many(registry, dataset, files)
        with counting.measure() as measure:
            registry.close_run(run.id, True)
        counts[files] = (measure.total, measure.sequential)
    yield Result(
        f"calls of a close, 10,000 files (1 file: {counts[1][0]})", counts[10_000][0], "calls", "as many as for 1 file",
        counts[1] == counts[10_000],
    )  # fmt: skip
    thousands = 4
    run = registry.attach(registry.insert_run("close"))
    for _ in range(thousands * 1000):
        with run.dataset("many", mode="append") as dataset:
            dataset.set_rows(0)
    with counting.measure() as measure:
        registry.close_run(run.id, True)
    pages = (measure.sequential - counts[1][1]) / thousands
    yield Result(
        "further LIST pages of a close per 1,000 datasets", pages, "pages", "at most 1", pages <= 1,
        "one after the other; a dataset is two small objects, and pages beyond the first are listed in parallel",
    )  # fmt: skip


def _write_many(registry: Registry, dataset: DatasetWriter, count: int) -> None:
    """``count`` files of one byte, as if the writer had stored each."""
    prefix = registry.get_dataset(dataset.id).prefix
    uploads = [Upload(f"{prefix}f{i:05d}.bin", io.BytesIO(b"x")) for i in range(count)]
    for stored in registry.storage.upload(uploads):
        entry = FileEntry(path=stored.key.rpartition("/")[2], size=stored.size, sha256=stored.sha256)
        registry.parts.datasets.note_written(dataset.id, entry)
