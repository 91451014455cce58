"""What the tests of the cache and of payloads share: stores with files, and what lies in a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from prefect_registry.objects.cache import ObjectCache
from prefect_registry.storage.base import Storage, Stored, Upload

ID = "reg_01jtest"
ROOT = "data/2026-01-01/00/run_x/y/"


def store(storage: Storage, files: Mapping[str, bytes]) -> dict[str, Stored]:
    """Put files into a store, as an object version's."""
    done = storage.upload([Upload(ROOT + path, data) for path, data in files.items()])
    return dict(zip(files, done, strict=True))


def content(number: int, size: int = 1_000) -> bytes:
    """Bytes that no other number has."""
    return hashlib.sha256(str(number).encode()).digest() * (size // 32) + b"x" * (size % 32)


def entry(cache: ObjectCache, item: Stored) -> Path:
    """Where a file lies in the cache."""
    return cache.folder / item.sha256[:2] / item.sha256


def cached(cache: ObjectCache) -> set[str]:
    """What is there, each file being what its name says."""
    found = set()
    for path in cache.folder.glob("??/*"):
        if path.name != ".lock":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            found.add(path.name)
    return found


def scratch_files(cache: ObjectCache) -> list[str]:
    """What readers hold in the workspaces of all processes."""
    found = os.walk(cache.folder / ".tmp")  # unlike a glob it bears that folders vanish meanwhile
    return [name for _, _, names in found for name in names if name != "lock"]


def load(cache: ObjectCache, items: Mapping[str, Stored], verify: str = "integrity") -> dict[str, bytes]:
    """The content of each file, by way of the cache."""
    scratch = cache.fetch(list(items.values()), verify)
    try:
        return {path: scratch.files[item.key].read_bytes() for path, item in items.items()}
    finally:
        scratch.release()
