"""A store in this process's memory: for tests, for interleavings, and to try things out."""

from __future__ import annotations

import io
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

from typing_extensions import override

from prefect_registry.clock import Clock, SystemClock
from prefect_registry.ids import random_token
from prefect_registry.storage import failures
from prefect_registry.storage.base import (
    CopyOf,
    Download,
    ObjectInfo,
    Progress,
    Storage,
    Stored,
    Upload,
    check_document,
    check_key,
    check_prefix,
)
from prefect_registry.storage.transfer import digest_of, opened, pump, save_stream, verify


class _Objects(dict[str, tuple[bytes, datetime]]):
    """The objects of one store. A class of its own, because a plain dict cannot be referred to weakly."""

    __slots__ = ("__weakref__",)


_named: dict[str, _Objects] = {}
_anonymous: weakref.WeakValueDictionary[str, _Objects] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class MemoryStorage(Storage):
    """Objects in a dict that every ``MemoryStorage`` of the same name in this process shares.

    Creation is atomic because ``dict.setdefault`` is one step under the interpreter's lock. Other processes see
    nothing of it, and a fork gets a copy.

    Args:
        name: Which store; it lives until the process ends. Without one, a new store that lives as long as its users.
        clock: Where ``ObjectInfo.modified`` comes from.
    """

    def __init__(self, name: str | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.name = name or f"anonymous-{random_token()}"
        stores = _named if name and not name.startswith("anonymous-") else _anonymous
        with _lock:
            found = stores.get(self.name)
            if found is None:
                found = stores[self.name] = _Objects()
        self._objects = found

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.name, self._clock))

    @property
    @override
    def url(self) -> str:
        return f"memory://{self.name}"

    @override
    def create(self, key: str, data: bytes) -> None:
        entry = (bytes(check_document(data)), self._clock.now())
        if self._objects.setdefault(check_key(key), entry) is not entry:
            raise failures.already_exists(self.url, key)

    @override
    def put(self, key: str, data: bytes) -> None:
        self._objects[check_key(key)] = (bytes(data), self._clock.now())

    @override
    def get(self, key: str) -> bytes:
        entry = self._objects.get(check_key(key))
        if entry is None:
            raise failures.not_found(self.url, key)
        return entry[0]

    @override
    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        stored = []
        for file in files:
            if isinstance(file.source, CopyOf):
                stored.append(self._copy(file.source, file.key, progress))
                continue
            data = bytearray()
            with opened(file.source) as source:
                size, sha256 = pump(source, data.extend, progress)
            self.put(file.key, bytes(data))
            stored.append(Stored(file.key, size, sha256))
        return stored

    def _copy(self, source: CopyOf, key: str, progress: Progress | None) -> Stored:
        data = self.get(source.key)
        verify(self.url, source, len(data), digest_of(data))
        self.put(key, data)
        if progress:
            progress(len(data))
        return Stored(key, source.size, source.sha256)

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        for file in files:
            save_stream(self.url, file, self.open(file.key), progress)

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        objects = self._objects
        # Python orders strings by code points, which is the order of their UTF-8 bytes. A list is filled in one step; a
        # tuple is made when its iteration has begun, which may collect garbage, and so let other threads write.
        for key in sorted([k for k in list(objects) if k > start_after and k.startswith(prefix)]):
            entry = objects.get(key)
            if entry is not None:
                yield ObjectInfo(key, len(entry[0]), entry[1])

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._objects.pop(check_key(key), None)

    @override
    def info(self, key: str) -> ObjectInfo | None:
        entry = self._objects.get(check_key(key))
        return entry and ObjectInfo(key, len(entry[0]), entry[1])
