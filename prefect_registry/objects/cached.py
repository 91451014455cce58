"""Single files of a cache: how they are read, believed, dropped and added (``cache.py`` says what it is)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from prefect_registry.objects.entries import path_in, remove
from prefect_registry.objects.scratch import Scratch
from prefect_registry.objects.verifying import VerifyLevel
from prefect_registry.storage.base import Stored
from prefect_registry.storage.transfer import copy_file, digest_of, local_errors, write_all

log = logging.getLogger("prefect_registry")

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES}


class CachedFiles:
    """Files below ``folder`` under their sha256.

    Args:
        folder: Where they lie.
        source: The URL of the store that has them too, for the log.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder, self.source = folder, source
        self._told = False

    def read(self, item: Stored, verify: str = "integrity") -> bytes | None:
        """The content of a file, or None when it is not here. Never asks the store."""
        try:
            quickly = self._read_quickly(item, verify) if item.size <= _QUICK_BYTES else None
            if quickly is not None:
                return quickly
            file = self._entry(item)
            if file is not None:
                with file:
                    data = file.read(item.size) if item.size <= _ONE_READ_BYTES else file.readall()
                    if self._believed(item, file, _trusting(verify) or digest_of(data)):
                        return data
        except OSError as error:
            self._tell(error)
        return None

    def _read_quickly(self, item: Stored, verify: str) -> bytes | None:
        """The content of a small file that is here and right, with no more calls than that takes; else None."""
        try:
            descriptor = os.open(self._path(item), _READING)
            try:
                data = os.read(descriptor, item.size + 1)
                if len(data) == item.size and (_trusting(verify) or digest_of(data) == item.sha256):
                    self._used(item, descriptor)
                    return data
            finally:
                os.close(descriptor)
        except OSError:  # the long way tells
            pass
        return None

    def open(self, item: Stored, verify: str = "integrity") -> BinaryIO | None:
        """A file to read parts of, all of it checked before, or None when it is not here. Never asks the store."""
        with self.tried(), contextlib.ExitStack() as unless_good:
            file = self._entry(item)
            if file is not None:
                unless_good.enter_context(file)
                if self._believed(item, file, _trusting(verify) or _digest(file)):
                    unless_good.pop_all()
                    file.seek(0)
                    return io.BufferedReader(file)
        return None

    def copy(self, item: Stored, target: Path, verify: str = "integrity") -> bool:
        """Copy a file to ``target``, a new one. False when it is not here. Never asks the store.

        Raises:
            StorageError: ``target`` cannot be written.
        """
        with self.tried(), contextlib.ExitStack() as stack:
            file = self._entry(item)
            if file is None:
                return False
            sha256 = copied(stack.enter_context(file), target)
            if self._believed(item, file, _trusting(verify) or sha256):
                return True
            target.unlink()
        return False

    def _entry(self, item: Stored) -> io.FileIO | None:
        """The open file of an entry that has the right size."""
        path = self._path(item)
        try:
            file = io.FileIO(path)
        except FileNotFoundError:
            return None
        except OSError:
            if os.path.isdir(path):
                self._drop(path)
                return None
            raise
        if os.fstat(file.fileno()).st_size == item.size:
            return file
        self._drop(path, file)
        file.close()
        return None

    def _path(self, item: Stored) -> str:
        return path_in(self.folder, item.sha256)

    def _believed(self, item: Stored, file: io.FileIO, sha256: str) -> bool:
        """Whether an entry is what it should be: then it counts as used, else it goes."""
        if sha256 not in (_TRUSTED, item.sha256):
            self._drop(self._path(item), file)
            return False
        self._used(item, file.fileno())
        return True

    def _used(self, item: Stored, descriptor: int) -> None:
        try:
            os.utime(descriptor if _TOUCHES_OPEN_FILES else self._path(item))
        except OSError:  # somebody else's file, or a disk that is only read
            return

    def _drop(self, path: str, file: io.FileIO | None = None) -> None:
        """Remove an entry, if it is still the open file; without one, what is no file."""
        log.warning("The cached file %s is damaged; it is removed and fetched again from %s", path, self.source)
        with self.tried():
            if file is None or os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                remove(path)

    def hold(self, item: Stored, scratch: Scratch, verify: str = "integrity") -> bool:
        """Give a reader a link of a file in ``scratch``, or a copy. False when it is not here."""
        with self.tried():
            file = self.open(item, verify)
            if file is not None:
                with file:
                    scratch.files[item.key] = self._held_as(item, file, scratch)
                return True
        return False

    def _held_as(self, item: Stored, file: BinaryIO, scratch: Scratch) -> Path:
        path = scratch.new(item.key)
        try:
            os.link(self._path(item), path)
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                return path
            path.unlink()  # replaced since it was checked
        except OSError as error:
            if error.errno not in (errno.ENOENT, *_NO_LINKS):
                raise
        with open(path, "xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        return path

    def place(self, item: Stored, path: Path, scratch: Scratch) -> int:
        """Make a complete file an entry, at once and for all to see; the file itself stays where it is.

        Returns how many bytes that added. Raises ``OSError``.
        """
        entry = Path(self._path(item))
        entry.parent.mkdir(exist_ok=True)
        if os.name == "posix":  # elsewhere nobody could remove it
            path.chmod(0o444)  # a reader that writes into it would damage everybody's
        try:
            os.link(path, entry)
        except FileExistsError:
            return 0
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            copy = scratch.new()
            shutil.copyfile(path, copy)
            copy.replace(entry)
        return item.size

    @contextlib.contextmanager
    def tried(self) -> Iterator[None]:
        """A block about the cache's own files, which goes on behind it when they fail it."""
        try:
            yield
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        level = logging.DEBUG if self._told else logging.WARNING
        self._told = True
        log.log(level, "The cache in %s is not used: %s. Files come from %s", self.folder, error, self.source)


_READING = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_TRUSTED = "trusted"
_QUICK_BYTES = 1 << 20
_ONE_READ_BYTES = 1 << 30
"""The system gives so many bytes at once."""
_TOUCHES_OPEN_FILES = os.utime in os.supports_fd


def _trusting(verify: str) -> str:
    return _TRUSTED if verify == VerifyLevel.NONE else ""


def _digest(file: io.FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def copied(source: BinaryIO, target: Path) -> str:
    """Copy to a new file. Returns the sha256; what the target's disk refuses is a ``StorageError``."""
    with local_errors(target):
        out = open(target, "xb", buffering=0)  # noqa: SIM115 - closed below
    with out:
        write = write_all(out.write)

        def append(chunk: bytes) -> None:
            with local_errors(target):
                write(chunk)

        return copy_file(source, append, target)[1]
