"""Files of versioned objects in the cache, against reading and hashing them, which nothing that verifies can spare."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import Result, paired
from prefect_registry.objects.cache import ObjectCache
from prefect_registry.objects.stored import RemotePayload
from prefect_registry.storage.base import Upload
from prefect_registry.storage.memory import MemoryStorage

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

            def read_and_hash(plain: Path = plain) -> None:
                with open(plain, "rb", buffering=0) as file:
                    hashlib.sha256(file.read()).hexdigest()

            for what, ours, target in (("read", read, 2.0), ("as a local file", local, 2.0 if calls == 1 else None)):
                pair = paired(_repeated(ours, calls), _repeated(read_and_hash, calls), 9)
                ratio = 1 / pair.rate
                yield Result(
                    f"cache: a hit of {name}, {what}", ratio, "times reading and hashing the file",
                    f"at most {target:g}" if target else "", ratio <= target if target else None,
                    f"{pair.ours / calls * 1e6:,.0f} microseconds",
                )  # fmt: skip


def _repeated(call: Callable[[], object], calls: int) -> Callable[[], object]:
    def repeated() -> None:
        for _ in range(calls):
            call()

    return repeated
