"""Deleting the bytes of aborted runs, against the filesystem's own bulk delete; and the memory that it takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

from benchmarks.measure import Result, paired
from prefect_registry import Registry
from prefect_registry.storage.base import Storage, Upload
from prefect_registry.storage.resolving import ResolvingStorage

OBJECTS = 2_000


def rate(storage: Storage, place: str) -> Iterator[Result]:
    """``collect`` of one aborted run of 2,000 small objects: listing, judging and deleting, against ``fs.rm``."""
    registry = Registry(ResolvingStorage(storage), heartbeats=False)
    fs: Any
    fs, root = storage.fs()
    keys: list[str] = []

    def make() -> None:
        registry.collect(dry_run=False)
        keys[:] = _dead(registry, storage, OBJECTS)

    pair = paired(
        lambda: registry.collect(dry_run=False),
        lambda: fs.rm([f"{root}/{key}" for key in keys]),
        rounds=5,
        before=make,
    )
    yield Result(
        f"{place}: rate of collecting {OBJECTS:,} objects", pair.rate, "of fs.rm", "at least 0.8", pair.rate >= 0.8,
        f"{OBJECTS / pair.ours:,.0f} objects a second",
    )  # fmt: skip


def memory(storage: Storage, place: str) -> Iterator[Result]:
    """Peak of what Python allocates for collecting ten times as many objects, as a multiple."""
    registry = Registry(ResolvingStorage(storage), heartbeats=False)
    peaks = []
    for count in (OBJECTS, 10 * OBJECTS):
        _dead(registry, storage, count)
        tracemalloc.start()
        registry.collect(dry_run=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = peaks[1] / peaks[0]
    yield Result(
        f"{place}: memory of collecting 10 times as many objects", grown, "times", "at most 2", grown <= 2,
        f"{peaks[1] / 2**20:.1f} MiB for {10 * OBJECTS:,} objects",
    )  # fmt: skip


def _dead(registry: Registry, storage: Storage, count: int) -> list[str]:
    """An aborted run that has left ``count`` objects behind; their keys."""
    run = registry.attach(registry.insert_run("dead"))
    dataset = run.dataset("dead")
    prefix = registry.get_dataset(dataset.id).prefix
    uploads = [Upload(f"{prefix}{i:06d}", b"x") for i in range(count)]
    storage.upload(uploads)
    registry.close_run(run.id, False)
    return [upload.key for upload in uploads]
