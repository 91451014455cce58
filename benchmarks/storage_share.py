"""Our own code beside the storage calls it makes, and how many calls a close makes."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Iterator

from benchmarks.measure import Result, StorageTime
from prefect_registry import Registry
from prefect_registry.storage.base import Storage, Upload
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage


def own_share(storage: Storage, place: str) -> Iterator[Result]:
    """A run with 1 file of 1 KiB, and with 1,000 files of 4 KiB: (all - storage) / storage."""
    for files, size, rounds in ((1, 1024, 30), (1000, 4096, 3)):
        timed = StorageTime(storage)
        registry = Registry(ResolvingStorage(timed))
        data = b"x" * size
        shares = []
        for _ in range(rounds):
            timed.seconds = 0.0
            start = time.perf_counter()
            with registry.run("bench") as run, run.dataset("bench") as dataset:
                if files == 1:
                    with dataset.open("f0.bin") as file:
                        file.write(data)
                else:
                    _write_many(dataset, files, data)
            elapsed = time.perf_counter() - start
            shares.append((elapsed - timed.seconds) / timed.seconds)
        share = statistics.median(shares)
        name = f"{place}: own code beside storage calls, {files:,} file(s) of {size:,} B"
        yield Result(name, share * 100, "%", "at most 30 %", share <= 0.30)


def _write_many(dataset, files: int, data: bytes) -> None:  # type: ignore[no-untyped-def]
    from prefect_registry.records.datasets import FileEntry

    storage = dataset._store.storage
    uploads = [Upload(f"{dataset._prefix}f{i:04d}.bin", io.BytesIO(data)) for i in range(files)]
    for stored, upload in zip(storage.upload(uploads), uploads, strict=True):
        path = upload.key.rpartition("/")[2]
        dataset._note(FileEntry(path=path, size=stored.size, sha256=stored.sha256))


def close_calls(storage: Storage) -> Iterator[Result]:
    """The number of calls that closing makes: for 1 and 10,000 files, and per 1,000 datasets."""
    counting = CountingStorage(storage)
    registry = Registry(ResolvingStorage(counting))
    counts = {}
    for files in (1, 10_000):
        run_id = registry.insert_run("close")
        run = registry.attach(run_id)
        with run.dataset("close") as dataset:
            _write_many(dataset, files, b"x")
        with counting.measure() as measure:
            registry.close_run(run_id, True)
        counts[files] = (measure.total, measure.sequential)
    same = counts[1] == counts[10_000]
    yield Result("memory: calls of a close, 1 file", counts[1][0], "calls", "the same for 10,000", same)
    yield Result("memory: calls of a close, 10,000 files", counts[10_000][0], "calls", "the same for 1", same)
    run_id = registry.insert_run("close")
    for _ in range(2_000):
        with registry.attach(run_id).dataset("many", mode="append"):
            pass
    with counting.measure() as measure:
        registry.close_run(run_id, True)
    pages = measure.sequential - counts[1][1]
    yield Result(
        "memory: further LIST pages of a close, 2,000 datasets", pages, "pages", "about 1 per 1,000 objects", None,
        "a dataset is two small objects, begun and staged",
    )  # fmt: skip
