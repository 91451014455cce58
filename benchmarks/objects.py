"""Versioned objects: saves and loads against what disk and store do for the same bytes, and requests counted."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Result, paired
from prefect_registry import Registry
from prefect_registry.storage.base import Storage, Upload
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

FILES = 1_000
_ARRAY_BYTES = 64 << 20


def local(folder: str) -> Iterator[Result]:
    """On this disk: a small save against a bare durable write, and an array against writing and hashing its bytes."""
    registry, numbers = Registry(f"{folder}/registry", version_objects=True), itertools.count(1)
    small, bare = os.urandom(1024), Path(folder, "bare")
    bare.mkdir()
    pair = paired(
        lambda: registry.save("small", small, version=str(next(numbers))),
        lambda: durable_write(bare, next(numbers), small),
        rounds=30,
    )
    ratio = 1 / pair.rate
    yield Result("local: save of 1 KiB", ratio, "of a durable write", "at most 4", ratio <= 4, _ms(pair.ours))
    automatic = paired(
        lambda: registry.save("numbered", os.urandom(1024)),
        lambda: durable_write(bare, next(numbers), small),
        rounds=30,
    )
    ratio = 1 / automatic.rate
    yield Result("local: the same, numbered", ratio, "of a durable write", "at most 4", ratio <= 4, _ms(automatic.ours))
    loaded = paired(lambda: registry.load("small", "1"), (bare / "f2").read_bytes, rounds=30)
    yield Result("local: load of 1 KiB", loaded.ours * 1e3, "ms", "none", None)

    array = np.random.default_rng(1).random(_ARRAY_BYTES // 8)
    data, path = array.tobytes(), Path(folder, "array")
    pair = paired(
        lambda: registry.save("array", array, version=str(next(numbers))),
        lambda: _written_and_hashed(path, data),
        rounds=5,
    )
    ratio = 1 / pair.rate
    yield Result(
        "local: save of a 64 MiB array", ratio, "of writing and hashing its bytes", "at most 1.3", ratio <= 1.3
    )
    yield from _folder(registry, registry.storage, folder, "local")


def s3(storage: Storage) -> Iterator[Result]:
    """On S3: requests of each operation, and a folder against bare parallel uploads."""
    counting = CountingStorage(storage)
    registry = Registry(ResolvingStorage(counting), version_objects=True, use_cache=False)
    large = os.urandom(100_000)
    registry.save("warm", 1)  # the settings, and the clock of this process, are known

    def counted(name: str, call: Callable[[], object], total: int, sequential: int) -> Result:
        with counting.measure() as measure:
            call()
        fine = measure.total <= total and measure.sequential <= sequential
        target = f"at most {total} in {sequential}"
        return Result(f"s3: {name}", measure.total, f"requests in {measure.sequential}", target, fine)

    yield counted("save of a small object", lambda: registry.save("small", 1, version="1"), 2, 1)
    yield counted("the same, numbered", lambda: registry.save("small", 2), 3, 2)
    yield counted("save of one larger file", lambda: registry.save("large", large, version="1"), 5, 3)
    yield counted("the same content again", lambda: registry.save("large", large, version="1"), 2, 1)
    yield counted("load of a known version", lambda: registry.load("small", "1"), 1, 1)
    elsewhere = Registry(ResolvingStorage(counting), version_objects=True, use_cache=False)
    yield counted("the same, by a process that never met it", lambda: elsewhere.load("small", "1"), 2, 1)
    elsewhere = Registry(ResolvingStorage(counting), version_objects=True, use_cache=False)
    yield counted("load of the latest version, likewise", lambda: elsewhere.load("small"), 2, 2)
    registry.list_objects()
    yield counted("names, from the index", lambda: registry.catalog.cells("object", fresh=False), 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        yield from _folder(registry, storage, folder, "s3")


def _folder(registry: Registry, storage: Storage, folder: str, place: str) -> Iterator[Result]:
    source, numbers = Path(folder, "folder"), itertools.count(1)
    source.mkdir()
    for i in range(FILES):
        (source / f"{i:04d}").write_bytes(os.urandom(4096))

    def bare() -> None:
        number = next(numbers)
        storage.upload([Upload(f"bench/{number}/{path.name}", path) for path in sorted(source.iterdir())])

    pair = paired(lambda: registry.save("folder", source, version=str(next(numbers))), bare, rounds=3)
    note = "the same files by the same storage, at once"
    yield Result(f"{place}: save of a folder of 1,000 files", pair.rate, "of bare uploads", "at least 0.8",
                 pair.rate >= 0.8, note)  # fmt: skip


def durable_write(folder: Path, number: int, data: bytes) -> None:
    """What a small file costs that must be new and survive a power cut: temporary file, fsync, link, folder's fsync."""
    temporary = folder / f".{number}"
    with open(temporary, "xb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    os.link(temporary, folder / f"f{number}")
    temporary.unlink()
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _written_and_hashed(path: Path, data: bytes) -> None:
    digest = hashlib.sha256()
    with open(path, "wb", buffering=0) as file:
        for start in range(0, len(data), 1 << 20):
            chunk = memoryview(data)[start : start + (1 << 20)]
            digest.update(chunk)
            file.write(chunk)
        os.fsync(file.fileno())


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
