"""Payloads in a store: far away, by way of a cache or not, or on this disk."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from typing_extensions import override

from prefect_registry.errors import StorageError
from prefect_registry.objects.cache import ObjectCache, fetch_into, objects_folder
from prefect_registry.objects.files import FilesPayload, InlinePayload
from prefect_registry.objects.verifying import VerifyLevel, check, check_size, check_stored, download, whole
from prefect_registry.storage.base import Download, Storage, Stored
from prefect_registry.storage.seeking import SeekableReader

__all__ = ["FilesPayload", "InlinePayload", "LocalPayload", "RemotePayload", "payload_of"]

_IN_MEMORY_BYTES = 16 << 20
"""Files up to this size are read without a disk when that saves one, or when no disk has room."""


class LocalPayload(FilesPayload):
    """Files of a store on this disk, which are read where they lie."""

    def __init__(self, storage: Storage, files: Mapping[str, Stored], **options: Any) -> None:
        super().__init__(files, **options)
        self.storage = storage
        self._verified: set[str] = set()

    @override
    def read(self, path: str) -> bytes:
        item = self._file(path)
        with self.told():
            return whole(self.storage, item, self.verify)

    @override
    def open(self, path: str) -> BinaryIO:
        item = self._file(path)
        with self.told(), ExitStack() as unless_good:
            file = unless_good.enter_context(self.storage.open(item.key))
            if self.lazy:
                check_size(self.storage, item, file)
            elif self.verify is not VerifyLevel.NONE:
                check(self.storage, item, file)
            unless_good.pop_all()
            return file

    @override
    def local(self, path: str) -> Path:
        item = self._file(path)
        with self.told(), self.storage.open(item.key) as file:  # also finds links that lead elsewhere
            if self.verify is not VerifyLevel.NONE and path not in self._verified:
                check(self.storage, item, file)
                self._verified.add(path)
        return Path(self.storage.url, *item.key.split("/"))

    @override
    def _write_to(self, stage: Path) -> None:
        targets = [Download(item.key, stage / path, item.size, item.sha256) for path, item in self.files.items()]
        download(self.storage, targets, self.verify, self._progress)


class RemotePayload(FilesPayload):
    """Files of a store that is not on this disk: by way of a cache, or each time anew."""

    def __init__(
        self, storage: Storage, files: Mapping[str, Stored], *, cache: ObjectCache | None = None, **options: Any
    ) -> None:
        super().__init__(files, **options)
        self.storage, self.cache = storage, cache
        self._looked = self.verify is not VerifyLevel.FULL
        self._no_disk = False

    @override
    def close(self) -> None:
        held = self._scratch is not None
        super().close()
        if held and self.cache is not None:
            self.cache.shrink()

    @override
    def read(self, path: str) -> bytes:
        item = self._file(path)
        if not self._looked:
            with self.told():
                self._look()
        if self.cache is not None:
            data = self.cache.read(item, self.verify)
            if data is not None:
                return data
        with self.told():
            if self.cache is None and item.size <= _IN_MEMORY_BYTES and (self.lazy or len(self.files) == 1):
                return whole(self.storage, item, self.verify)
            held = self._held(item)
            return whole(self.storage, item, self.verify) if held is None else held.read_bytes()

    @override
    def open(self, path: str) -> BinaryIO:
        item = self._file(path)
        with self.told():
            self._look()
            file = self.cache.open(item, VerifyLevel.NONE if self.lazy else self.verify) if self.cache else None
            if file is not None:
                return file
            if self.lazy:
                return self._parts(item)
            held = self._held(item)
            return io.BytesIO(whole(self.storage, item, self.verify)) if held is None else open(held, "rb")

    @override
    def local(self, path: str) -> Path:
        item = self._file(path)
        with self.told():
            self._look()
            held = self._held(item, or_memory=False)
            assert held is not None
            return held

    @override
    def _write_to(self, stage: Path) -> None:
        self._look()
        missing = self._copied(stage)
        targets = [
            Download(self.files[path].key, stage / path, self.files[path].size, self.files[path].sha256)
            for path in missing
        ]
        if targets and download(self.storage, targets, self.verify, self._progress) and self.cache:
            self.cache.add([(self.files[path], stage / path) for path in missing])

    def _copied(self, stage: Path) -> list[str]:
        """Write what the cache has. Returns what it has not."""
        cache = self.cache
        if cache is None:
            return list(self.files)

        def copied(path: str) -> bool:
            item = self.files[path]
            done = cache.copy(item, stage / path, self.verify)
            if done and self._progress:
                self._progress(item.size)
            return done

        done = self.storage.concurrently([partial(copied, path) for path in self.files])
        return [path for path, here in zip(self.files, done, strict=True) if not here]

    def _look(self) -> None:
        if not self._looked:
            check_stored(self.storage, list(self.files.values()))
            self._looked = True

    def _held(self, item: Stored, or_memory: bool = True) -> Path | None:
        """A local file of this reader. All come with the first one, at once, unless the reader wants only some.

        None when no disk has room, and the file fits into memory instead.
        """
        or_memory = or_memory and item.size <= _IN_MEMORY_BYTES
        if self._no_disk and or_memory:
            return None
        level = VerifyLevel.NONE if self.verify is VerifyLevel.NONE else VerifyLevel.INTEGRITY
        with self._lock:
            scratch = self.mine(self.cache.folder if self.cache else objects_folder())
            if item.key not in scratch.files:
                wanted = [item] if self.lazy else [i for i in self.files.values() if i.key not in scratch.files]
                try:
                    if self.cache:
                        self.cache.fetch(wanted, level, self._progress, into=scratch)
                    else:
                        fetch_into(self.storage, wanted, scratch, level, self._progress)
                except StorageError as error:
                    if type(error) is not StorageError or not or_memory:
                        raise
                    self._no_disk = True
                    return None
            return scratch.files[item.key]

    def _parts(self, item: Stored) -> BinaryIO:
        file = self.storage.open(item.key)
        try:
            check_size(self.storage, item, file)
        except BaseException:
            file.close()
            raise
        return cast(BinaryIO, _Told(file, item.size, self))


def payload_of(
    storage: Storage, files: Mapping[str, Stored], *, cache: ObjectCache | None = None, **options: Any
) -> FilesPayload:
    """The payload for files in ``storage``: read in place when it is a folder of this machine, else by ``cache``.

    ``options`` are those of :class:`FilesPayload`.
    """
    if os.path.isabs(storage.url):
        return LocalPayload(storage, files, **options)
    return RemotePayload(storage, files, cache=cache, **options)


class _Told(SeekableReader):
    """A remote file read in parts, whose errors are told of the object."""

    def __init__(self, file: BinaryIO, size: int, payload: FilesPayload) -> None:
        super().__init__(size)
        self._file, self._payload = file, payload

    @override
    def _part(self, start: int, count: int) -> bytes:
        with self._payload.told():
            self._file.seek(start)
            return self._file.read(count)

    @override
    def close(self) -> None:
        self._file.close()
        super().close()
