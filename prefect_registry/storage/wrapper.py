"""A storage around another one: everything passes through, and a subclass changes what it is about.

All but ``prefetch`` and ``names``, which would pass by what a subclass makes of ``get`` and ``list``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, TypeVar

from typing_extensions import override

from prefect_registry.storage.base import Download, ObjectInfo, Progress, Storage, Stored, Upload

T = TypeVar("T")


class WrapperStorage(Storage):
    """Passes every call to ``inner``."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    @property
    @override
    def url(self) -> str:
        return self.inner.url

    @property
    @override
    def near(self) -> bool:
        return self.inner.near

    @override
    def unguarded(self) -> Storage:
        inner = self.inner.unguarded()
        if inner is self.inner:
            return self
        twin = copy.copy(self)
        twin.inner = inner
        return twin

    @override
    def create(self, key: str, data: bytes) -> None:
        self.inner.create(key, data)

    @override
    def put(self, key: str, data: bytes) -> None:
        self.inner.put(key, data)

    @override
    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    @override
    def open(self, key: str) -> BinaryIO:
        return self.inner.open(key)

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        return self.inner.upload(files, progress)

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        self.inner.download(files, progress)

    @override
    def concurrently(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        return self.inner.concurrently(calls)

    @override
    def in_order(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        return self.inner.in_order(calls)

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix, start_after)

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        self.inner.delete_many(keys)

    @override
    def info(self, key: str) -> ObjectInfo | None:
        return self.inner.info(key)

    @override
    def fs(self) -> tuple[object, str]:
        return self.inner.fs()

    @override
    def storage_options(self) -> dict[str, object]:
        return self.inner.storage_options()
