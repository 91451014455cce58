"""Files of versioned objects in the cache, against reading and hashing them, which nothing that verifies can spare."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Result, paired
from prefect_registry import Registry
from prefect_registry.objects.cache import ObjectCache
from prefect_registry.objects.stored import RemotePayload
from prefect_registry.storage.base import Storage, Upload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage

SIZES = {"64 MiB": (64 << 20, 1), "1 KiB": (1 << 10, 500)}
_BLOCK = 1 << 20


def hits() -> Iterator[Result]:
    """A new payload each time, as each load makes one: its bytes, and a file of its own on the disk."""
    for name, (size, calls) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            storage = MemoryStorage()
            (item,) = storage.upload([Upload("bench/f", os.urandom(size))])
            cache = ObjectCache(storage, "bench", folder=Path(folder) / "cache")
            plain = Path(folder) / "plain"
            plain.write_bytes(storage.get(item.key))
            cache.fetch([item]).release()
            storage.delete_many([item.key])  # from here on a miss would fail

            def payload(item=item, cache=cache) -> RemotePayload:  # type: ignore[no-untyped-def]
                return RemotePayload(cache.storage, {"f": item}, cache=cache, subject="bench")

            def read(payload: Callable[[], RemotePayload] = payload) -> None:
                with payload() as found:
                    found.read("f")

            def local(payload: Callable[[], RemotePayload] = payload) -> None:
                with payload() as found:
                    found.local("f")

            for what, ours, target in (("read", read, 2.0), ("as a local file", local, 2.0 if calls == 1 else None)):
                pair = paired(_repeated(ours, calls), _repeated(partial(_read_and_hash, plain), calls), 9)
                ratio = 1 / pair.rate
                yield Result(
                    f"cache: a hit of {name}, {what}", ratio, "times reading and hashing the file",
                    f"at most {target:g}" if target else "", ratio <= target if target else None,
                    f"{pair.ours / calls * 1e6:,.0f} microseconds",
                )  # fmt: skip


def loads(storage: Storage) -> Iterator[Result]:
    """The same by ``Registry.load`` with its defaults, of a store far away, which is asked for the record alone."""
    size, _ = SIZES["64 MiB"]
    with tempfile.TemporaryDirectory() as folder, _cache_folder(f"{folder}/cache"):
        plain, out = Path(folder, "plain"), Path(folder, "out")
        plain.write_bytes(os.urandom(size))
        registry = Registry(ResolvingStorage(storage), version_objects=True)
        registry.save("bytes", plain.read_bytes())
        registry.save("file", plain)
        storage.delete_many([found.key for found in storage.list("data/")])  # from here on a miss would fail

        def load_file() -> None:
            registry.load("file@1", output_dir=out)

        for what, load in (("bytes", lambda: registry.load("bytes@1")), ("a file, written elsewhere", load_file)):
            removed = partial(shutil.rmtree, out, ignore_errors=True)
            pair = paired(load, partial(_read_and_hash, plain), 5, removed)
            ratio = 1 / pair.rate
            yield Result(
                f"s3: load of 64 MiB from the cache, {what}", ratio, "times reading and hashing the file",
                "at most 2", ratio <= 2, f"{pair.ours * 1e3:.0f} ms and {pair.baseline * 1e3:.0f} ms",
            )  # fmt: skip


@contextlib.contextmanager
def _cache_folder(folder: str) -> Iterator[None]:
    """The user's cache folder is another one meanwhile."""
    before = os.environ.get("PREFECT_REGISTRY_CACHE")
    os.environ["PREFECT_REGISTRY_CACHE"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["PREFECT_REGISTRY_CACHE"]
        else:
            os.environ["PREFECT_REGISTRY_CACHE"] = before


def _read_and_hash(plain: Path) -> None:
    with open(plain, "rb", buffering=0) as file:
        hashlib.sha256(file.read()).hexdigest()


def _repeated(call: Callable[[], object], calls: int) -> Callable[[], object]:
    def repeated() -> None:
        for _ in range(calls):
            call()

    return repeated
