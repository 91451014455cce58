"""Whole files on their way in and out: streaming, hashed beside the input and output, verified before they count."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from prefect_registry.ids import random_token
from prefect_registry.storage import failures
from prefect_registry.storage.base import CopyOf, Download, Progress, Readable, Storage
from prefect_registry.storage.concurrency import Begun, beside

CHUNK_BYTES = 2 << 20
_FOLLOWING_BYTES = 1 << 20
_CLONE_BYTES = 8 << 20
_CANNOT_CLONE = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM, errno.EBADF}
_WRITE_BYTES = 64 << 10
"""How much is written to a new file at a time. For more the operating system looks for larger free areas of memory,
which takes up to ten times as long on virtual machines that give free memory back to their host."""


def digest_of(data: bytes) -> str:
    """sha256 of ``data`` as hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def opened(source: Readable) -> Iterator[BinaryIO]:
    """An open file over anything that is sent; closed afterwards only if it was opened here."""
    if isinstance(source, Path):
        with open(source, "rb", buffering=0) as file:
            yield file
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        yield source


class Digest:
    """sha256 computed in another thread while the caller reads or writes the next chunk. At most one chunk waits."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._running: Begun[None] | None = None
        self.size = 0

    def update(self, chunk: bytes) -> None:
        """Add ``chunk``; returns before it is hashed, unless it is small."""
        self.settle()
        self.size += len(chunk)
        if len(chunk) < 1 << 16:
            self._hash.update(chunk)
        else:
            self._running = beside(lambda: self._hash.update(chunk))

    def settle(self) -> None:
        """Wait for the chunk that is being hashed."""
        if self._running is not None:
            self._running.result()
            self._running = None

    def hexdigest(self) -> str:
        """The sha256 of everything added."""
        self.settle()
        return self._hash.hexdigest()


class FollowingDigest:
    """sha256 of a file that is still being written, computed in another thread up to where it is complete.

    Args:
        path: The file. It is read again, but from memory: the operating system has just been given it.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._complete = self._taken = 0
        self._busy = False
        self._running: Begun[None] | None = None

    def advance(self, end: int) -> None:
        """Everything before ``end`` is written. Returns at once."""
        with self._lock:
            self._complete = end
            if self._busy or end - self._taken < _FOLLOWING_BYTES:  # that little is hashed sooner at the end
                return
            self._busy = True
        self._running = beside(self._catch_up)

    def hexdigest(self) -> str:
        """The sha256 of the whole file, which is complete."""
        if self._running is not None:
            self._running.result()
        self._complete = os.fstat(self._file.fileno()).st_size
        self._catch_up()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Stop reading."""
        if self._running is not None and not self._running.cancel():
            self._running.error()
        self._file.close()

    def _catch_up(self) -> None:
        buffer = memoryview(bytearray(min(_FOLLOWING_BYTES, self._complete - self._taken)))
        while True:
            with self._lock:
                missing = self._complete - self._taken
                if missing <= 0:
                    self._busy = False
                    return
            count = self._file.readinto(buffer[:missing])
            if not count:  # the file is shorter than was said, which its size tells
                self._complete = self._taken
            self._hash.update(buffer[:count])
            self._taken += count


def pump(source: BinaryIO, write: Callable[[bytes], object], progress: Progress | None = None) -> tuple[int, str]:
    """Copy ``source`` to ``write``. Returns how many bytes passed and their sha256."""
    digest = Digest()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        write(chunk)
        if progress:
            progress(len(chunk))
    return digest.size, digest.hexdigest()


def stored_digest(storage: Storage, key: str) -> tuple[int, str]:
    """Size and sha256 of an object, read whole, a chunk at a time."""
    with storage.open(key) as file:
        return pump(file, lambda chunk: None)


def copy_file(
    source: BinaryIO,
    write: Callable[[bytes], object],
    path: str | Path,
    progress: Progress | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> tuple[int, str]:
    """Copy ``source`` to ``write``, which appends to the new file ``path``. Returns size and sha256.

    What is written is hashed behind it, so that neither waits for the other; ``meanwhile`` is called when all is
    written, while the rest is hashed.
    """
    first = source.read(_WRITE_BYTES)
    following = source.read(_WRITE_BYTES) if first else b""
    if following:
        return _hashed_behind(_moved(source, write, [first, following]), path, progress, meanwhile)
    write(first)
    if progress and first:
        progress(len(first))
    if meanwhile:
        meanwhile()
    return len(first), digest_of(first)


def clone_file(
    source: BinaryIO,
    target: int,
    path: str | Path,
    progress: Progress | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> tuple[int, str]:
    """As :func:`copy_file`, from one unbuffered file to the descriptor of another: the operating system copies.

    On btrfs, XFS and the like the two then share blocks until one of them is written.
    """
    write = write_all(functools.partial(os.write, target))

    def moved() -> Iterator[int]:
        if hasattr(os, "copy_file_range"):
            try:
                while count := os.copy_file_range(source.fileno(), target, _CLONE_BYTES):
                    yield count
            except OSError as error:
                if error.errno not in _CANNOT_CLONE:
                    raise
        yield from _moved(source, write)  # from where it stopped, which should be the end

    return _hashed_behind(moved(), path, progress, meanwhile)


def _moved(source: BinaryIO, write: Callable[[bytes], object], begun: Sequence[bytes] = ()) -> Iterator[int]:
    for chunk in begun:
        write(chunk)
        yield len(chunk)
    while chunk := source.read(_WRITE_BYTES):
        write(chunk)
        yield len(chunk)


def _hashed_behind(
    moved: Iterator[int], path: str | Path, progress: Progress | None, meanwhile: Callable[[], object] | None
) -> tuple[int, str]:
    """Size and sha256 of the new file ``path``, to which each step of ``moved`` appends that many bytes."""
    with contextlib.closing(FollowingDigest(path)) as digest:
        size = 0
        for count in moved:
            size += count
            digest.advance(size)
            if progress:
                progress(count)
        if meanwhile:
            meanwhile()
        return size, digest.hexdigest()


def verify(url: str, file: Download | CopyOf, size: int | None, sha256: str | None) -> None:
    """Raise ``IntegrityError`` unless what came is what ``file`` expects; None for what is not known of it."""
    if size is not None and file.size is not None and size != file.size:
        raise failures.corrupt(url, file.key, f"It has {size:,} bytes instead of {file.size:,}")
    if sha256 is not None and file.sha256 is not None and sha256 != file.sha256:
        raise failures.corrupt(url, file.key, f"Its sha256 is {sha256} instead of {file.sha256}")


@contextlib.contextmanager
def landing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that is moved onto it when the block succeeds, and removed when it fails."""
    part = target.with_name(f".{random_token()}.part")
    try:
        with local_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with local_errors(target):
            os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writer(target: Path, part: Path) -> Iterator[Callable[[bytes, int], None]]:
    """A function that writes bytes to ``part``, a new file, at an offset; errors are told of ``target``."""
    with contextlib.ExitStack() as stack:
        with local_errors(target):
            out = stack.enter_context(open(part, "xb", buffering=0))
        write = write_all(out.write)

        def write_at(chunk: bytes, offset: int) -> None:
            with local_errors(target):
                out.seek(offset)
                for start in range(0, len(chunk), _WRITE_BYTES):
                    write(chunk[start : start + _WRITE_BYTES])

        yield write_at


@contextlib.contextmanager
def local_errors(target: Path) -> Iterator[None]:
    """An operating system's error in the block is about ``target``, not about the store."""
    try:
        yield
    except OSError as error:
        raise failures.of_local_target(target, error) from error


def save_stream(url: str, file: Download, source: BinaryIO, progress: Progress | None = None) -> None:
    """Write ``source`` to ``file.target`` by way of a temporary file that is verified first."""
    with source, landing(file.target) as part:
        with local_errors(file.target):
            out = open(part, "xb", buffering=0)  # noqa: SIM115 - closed below
        with out:
            write = write_all(out.write)

            def append(chunk: bytes) -> None:
                with local_errors(file.target):
                    write(chunk)

            size, sha256 = copy_file(source, append, part, progress)
        verify(url, file, size, sha256)


def write_all(write: Callable[[bytes], int | None]) -> Callable[[bytes], None]:
    """``write`` of an unbuffered file, which may take less than it is given, repeated until all is taken."""

    def write_until_taken(chunk: bytes) -> None:
        taken = write(chunk)
        while taken is not None and taken < len(chunk):
            chunk = chunk[taken:]
            taken = write(chunk)

    return write_until_taken
