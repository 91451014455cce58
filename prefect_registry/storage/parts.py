"""Whole files to and from an object store: in parts, several at once, hashed beside it, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from prefect_registry.errors import StorageUnavailable
from prefect_registry.storage import failures
from prefect_registry.storage.base import Download, Progress, Stored, Upload
from prefect_registry.storage.budget import buffered
from prefect_registry.storage.transfer import Digest, landing, opened, verify, writer

if TYPE_CHECKING:
    from prefect_registry.storage.remote import RemoteStorage

T = TypeVar("T")

MOST_PARTS = 9_000
"""Below the 10,000 parts that S3 allows."""
_PARTS_BEFORE_GROWING = 1_500
_TRIES = 3
_MIB = 1 << 20


def upload_in_parts(storage: RemoteStorage, name: str, file: Upload, progress: Progress | None) -> Stored:
    """Store one file: in one request when it is small, else in parts. sha256 is of the bytes that were sent."""
    size = _size_of(file.source)
    part_bytes = storage.part_bytes if size is None else _part_bytes(storage.part_bytes, size)
    taken = part_bytes if size is None else min(size + 1, part_bytes)
    digest = Digest()
    with opened(file.source) as source, _held(taken) as held:
        first = _read(source, taken)
        digest.update(first)
        if len(first) < part_bytes:
            storage.run(file.key, persistent(storage, storage.send), name, first, False)
            if progress:
                progress(len(first))
        else:
            held.pop_all()  # from here on each part gives back its own bytes
            _PartedUpload(storage, name, file.key, part_bytes, size, progress).send(first, source, digest)
    return Stored(file.key, digest.size, digest.hexdigest())


class _PartedUpload:
    """One upload in parts: reads ahead as far as the budget of buffered bytes goes."""

    def __init__(
        self,
        storage: RemoteStorage,
        name: str,
        key: str,
        part_bytes: int,
        size: int | None,
        progress: Progress | None,
    ) -> None:
        self.storage, self.name, self.key, self.progress = storage, name, key, progress
        self.part_bytes, self.size = part_bytes, size
        self.sent: deque[Future[Any]] = deque()
        self.parts: list[Any] = []
        self.unsent = 0  # bytes taken from the budget that no request will give back

    def send(self, first: bytes, source: BinaryIO, digest: Digest) -> None:
        """Send ``first`` and the rest of ``source``. On any error nothing appears in the store."""
        self.unsent = len(first)
        upload = None
        try:
            upload = self.storage.run(self.key, self.storage.begin, self.name)
            chunk, number, offset = first, 1, 0
            while chunk:
                known_last = self.size is not None and offset + len(chunk) >= self.size
                ahead = b"" if known_last or not self.storage.parts_in_order else self._next(source, number + 1)
                last = known_last or (self.storage.parts_in_order and not ahead)
                self._start(upload, number, offset, chunk, offset + len(chunk) if last else None)
                offset, number = offset + len(chunk), number + 1
                chunk = ahead if self.storage.parts_in_order else self._next(source, number)
                digest.update(chunk)
            self._settle(0)
            self.storage.run(self.key, self.storage.complete, upload, self.parts)
        except BaseException:
            buffered.release(self.unsent)
            self._give_up(upload)
            raise

    def _next(self, source: BinaryIO, number: int) -> bytes:
        """The next chunk, once there is room for it. Without a known size, parts grow so that they suffice."""
        count = self.part_bytes
        if self.size is None:
            count <<= number // _PARTS_BEFORE_GROWING
        buffered.acquire(count)
        try:
            chunk = _read(source, count)
        except BaseException:
            buffered.release(count)
            raise
        buffered.release(count - len(chunk))
        self.unsent += len(chunk)
        return chunk

    def _start(self, upload: Any, number: int, offset: int, chunk: bytes, total: int | None) -> None:
        storage = self.storage
        future = storage.start(persistent(storage, storage.part), upload, number, offset, chunk, total)
        count = len(chunk)

        def done(future: Future[Any]) -> None:
            buffered.release(count)
            if self.progress and not future.cancelled() and future.exception() is None:
                self.progress(count)

        self.unsent -= count
        future.add_done_callback(done)
        self.sent.append(future)
        self._settle(0 if storage.parts_in_order else None)

    def _settle(self, most: int | None) -> None:
        """Take in what is finished, and wait until at most ``most`` parts are on their way."""
        while self.sent and (self.sent[0].done() or (most is not None and len(self.sent) > most)):
            self.parts.append(self.storage.outcome(self.sent.popleft(), self.key))

    def _give_up(self, upload: Any) -> None:
        for future in self.sent:
            future.cancel()
        if upload is not None:
            with contextlib.suppress(Exception):
                self.storage.run(self.key, self.storage.abandon, upload)


def download_in_parts(storage: RemoteStorage, name: str, file: Download, progress: Progress | None) -> None:
    """Fetch one object into place: verified first, several ranges on the way at once."""
    size = file.size
    if size is None:
        info = storage.info(file.key)
        if info is None:
            raise failures.not_found(storage.url, file.key)
        size = info.size
    digest = Digest()
    with landing(file.target) as part:
        with writer(file.target, part) as append:
            for chunk in _chunks(storage, name, file.key, size):
                digest.update(chunk)
                append(chunk)
                if progress:
                    progress(len(chunk))
        verify(storage.url, file, digest.size, digest.hexdigest())


def _chunks(storage: RemoteStorage, name: str, key: str, size: int) -> Iterator[bytes]:
    """The bytes of an object in order, with as many ranges on the way as the budget of buffered bytes allows."""
    count = storage.part_bytes
    if size <= count:
        with _held(size):
            yield storage.run(key, persistent(storage, storage.fetch), name)
        return
    starts = deque(range(0, size, count))
    ahead: deque[Future[bytes]] = deque()
    try:
        while starts or ahead:
            # Only who holds nothing may wait for room: else two downloads could wait for each other.
            while starts and (buffered.try_acquire(count) or (not ahead and _wait_for_room(count))):
                start = starts.popleft()
                end = start + count if starts else None  # the last is open-ended, so that a longer object is noticed
                ahead.append(storage.start(persistent(storage, storage.fetch), name, start, end))
            future = ahead.popleft()
            try:
                yield storage.outcome(future, key)
            finally:
                buffered.release(count)
    finally:
        for future in ahead:
            future.cancel()
            buffered.release(count)


def _wait_for_room(count: int) -> bool:
    buffered.acquire(count)
    return True


def persistent(storage: RemoteStorage, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """``call``, tried a few times: one lost part must not cost the whole file. For idempotent requests only."""

    async def tried(*args: Any) -> T:
        for attempt in range(1, _TRIES):
            try:
                return await call(*args)
            except Exception as error:
                if not isinstance(storage.explain(error, ""), StorageUnavailable):
                    raise
            await asyncio.sleep(0.2 * 3**attempt)
        return await call(*args)

    return tried


@contextlib.contextmanager
def _held(count: int) -> Iterator[contextlib.ExitStack]:
    buffered.acquire(count)
    with contextlib.ExitStack() as stack:
        stack.callback(buffered.release, count)
        yield stack


def _size_of(source: Path | BinaryIO | bytes) -> int | None:
    """How many bytes there are to read, if that can be told."""
    if isinstance(source, bytes):
        return len(source)
    if isinstance(source, Path):
        return source.stat().st_size
    if not source.seekable():
        return None
    here = source.tell()
    end = source.seek(0, os.SEEK_END)
    source.seek(here)
    return max(0, end - here)


def _part_bytes(usual: int, size: int) -> int:
    """Parts of whole MiB, as few as the stores allow."""
    least = -(-size // MOST_PARTS)
    return max(usual, -(-least // _MIB) * _MIB)


def _read(source: BinaryIO, count: int) -> bytes:
    """Up to ``count`` bytes: fewer only at the end, whatever the source returns at a time."""
    first = source.read(count)
    if len(first) == count or not first:
        return first
    chunks, missing = [first], count - len(first)
    while missing and (chunk := source.read(missing)):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
