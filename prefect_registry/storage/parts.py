"""Whole files to and from an object store: in parts, several at once, hashed beside it, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from prefect_registry.errors import StorageUnavailable
from prefect_registry.storage import failures
from prefect_registry.storage.base import Download, Progress, Readable, Stored
from prefect_registry.storage.budget import buffered
from prefect_registry.storage.transfer import Digest, FollowingDigest, digest_of, landing, opened, verify, writer

if TYPE_CHECKING:
    from prefect_registry.storage.remote import RemoteStorage

T = TypeVar("T")

MOST_PARTS = 9_000
"""Below the 10,000 parts that S3 allows."""
_PARTS_BEFORE_GROWING = 1_500
_TRIES = 3
RETRY_SECONDS = 0.2
"""A third of the pause before the second try of a part; each further one is three times as long."""
_RANGE_BYTES = 16 << 20
_RANGES_AT_ONCE = 4
_MIB = 1 << 20


def upload_in_parts(storage: RemoteStorage, name: str, key: str, source: Readable, progress: Progress | None) -> Stored:
    """Store one file: in one request when it is small, else in parts. sha256 is of the bytes that were sent."""
    size = _size_of(source)
    part_bytes = storage.part_bytes if size is None else _part_bytes(storage.part_bytes, size)
    taken = part_bytes if size is None else min(size + 1, part_bytes)
    digest = Digest()
    with opened(source) as file, _held(taken * storage.copies) as held:
        read = [_read(file, taken)]
        digest.update(read[0])
        if len(read[0]) < part_bytes:
            storage.run(key, persistent(storage, storage.send), name, read[0], False)
            if progress:
                progress(digest.size)
        else:
            held.pop_all()  # from here on each part gives back its own bytes
            _PartedUpload(storage, name, key, part_bytes, size, progress).send(read.pop(), file, digest)
    return Stored(key, digest.size, digest.hexdigest())


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
        self.peeked = b""
        self.unsent = 0  # bytes taken from the budget that no request will give back

    def send(self, chunk: bytes, source: BinaryIO, digest: Digest) -> None:
        """Send ``chunk``, to which the caller keeps no reference, and the rest of ``source``.

        On any error nothing appears in the store.
        """
        self.unsent = len(chunk)
        upload = None
        try:
            upload = self.storage.run(self.key, self.storage.begin, self.name)
            number, offset = 1, 0
            while chunk:
                last = self._is_last(source, offset + len(chunk))
                self._start(upload, number, offset, chunk, offset + len(chunk) if last else None)
                offset, number = offset + len(chunk), number + 1
                chunk = self._next(source, number)
                digest.update(chunk)
            self._settle(0)
            self.storage.run(self.key, self.storage.complete, upload, self.parts)
        except BaseException:
            buffered.release(self.unsent * self.storage.copies)
            self._give_up(upload)
            raise

    def _is_last(self, source: BinaryIO, end: int) -> bool:
        """Whether nothing follows. Only stores that take parts in order need to know, with the last one."""
        if not self.storage.parts_in_order:
            return False
        if self.size is None:
            self.peeked = source.read(1)
            return not self.peeked
        return end >= self.size

    def _next(self, source: BinaryIO, number: int) -> bytes:
        """The next chunk, once there is room for it. Without a known size, parts grow so that they suffice."""
        count = self.part_bytes
        if self.size is None:
            count <<= number // _PARTS_BEFORE_GROWING
        copies = self.storage.copies
        buffered.acquire(count * copies)
        try:
            chunk = _read(source, count, self.peeked)
            self.peeked = b""
        except BaseException:
            buffered.release(count * copies)
            raise
        buffered.release((count - len(chunk)) * copies)
        self.unsent += len(chunk)
        return chunk

    def _start(self, upload: Any, number: int, offset: int, chunk: bytes, total: int | None) -> None:
        storage = self.storage
        if storage.parts_in_order:
            self._settle(0)
        future = storage.start(persistent(storage, storage.part), upload, number, offset, chunk, total)
        count = len(chunk)

        def done(future: Future[Any]) -> None:
            buffered.release(count * storage.copies)
            if self.progress and not future.cancelled() and future.exception() is None:
                self.progress(count)

        self.unsent -= count
        future.add_done_callback(done)
        self.sent.append(future)
        self._settle(None)

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
    """Fetch one object into place, several ranges on the way at once, verified before it counts."""
    size = file.size
    if size is None:
        info = storage.info(file.key)
        if info is None:
            raise failures.not_found(storage.url, file.key)
        size = info.size
    with landing(file.target) as part, writer(file.target, part) as write_at:
        if size <= _RANGE_BYTES:
            data = storage.run(file.key, persistent(storage, storage.fetch), name)
            write_at(data, 0)
            verify(storage.url, file, len(data), digest_of(data))
            if progress:
                progress(len(data))
            return
        with contextlib.closing(FollowingDigest(part)) as digest:
            for end in _fetch_ranges(storage, name, file.key, size, write_at):
                digest.advance(end)
                if progress:
                    progress(_RANGE_BYTES if end < size else size - (end - 1) // _RANGE_BYTES * _RANGE_BYTES)
            verify(storage.url, file, part.stat().st_size, digest.hexdigest())


def _fetch_ranges(
    storage: RemoteStorage, name: str, key: str, size: int, write_at: Callable[[bytes, int], None]
) -> Iterator[int]:
    """Fetch an object in ranges; yields up to where it is complete."""
    starts = deque(range(0, size, _RANGE_BYTES))
    ahead: deque[tuple[int, Future[None]]] = deque()
    try:
        while starts or ahead:
            while starts and len(ahead) < _RANGES_AT_ONCE:
                start = starts.popleft()
                end = start + _RANGE_BYTES if starts else None  # the last is open, so that a longer object is noticed
                ahead.append((end or size, storage.start(_range_into, storage, name, key, start, end, size, write_at)))
            end, future = ahead.popleft()
            storage.outcome(future, key)
            yield end
    finally:
        for _, future in ahead:
            future.cancel()
        wait([future for _, future in ahead])


async def _range_into(
    client: Any,
    storage: RemoteStorage,
    name: str,
    key: str,
    start: int,
    end: int | None,
    size: int,
    write_at: Callable[[bytes, int], None],
) -> None:
    """Write one range as it comes; after a failure go on from where it stopped.

    Behind the last byte of the object nothing can be asked for: that byte is fetched again, and whatever follows it.
    """
    at = start

    def take(chunk: bytes) -> None:
        nonlocal at
        write_at(chunk, at)
        at += len(chunk)

    async def fetch(client: Any) -> None:
        nonlocal at
        if end is None:
            at = min(at, size - 1)
        if end is None or at < end:
            await storage.stream(client, name, at, end, take)
        if end is not None and at < end:
            raise failures.corrupt(storage.url, key, "It is shorter than was recorded")

    await persistent(storage, fetch)(client)


def persistent(storage: RemoteStorage, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """``call``, tried a few times: one lost part must not cost the whole file. For idempotent requests only."""

    async def tried(*args: Any) -> T:
        for attempt in range(1, _TRIES):
            try:
                return await call(*args)
            except Exception as error:
                if not isinstance(storage.explained(error, ""), StorageUnavailable):
                    raise
            await asyncio.sleep(RETRY_SECONDS * 3**attempt)
        return await call(*args)

    return tried


@contextlib.contextmanager
def _held(count: int) -> Iterator[contextlib.ExitStack]:
    buffered.acquire(count)
    with contextlib.ExitStack() as stack:
        stack.callback(buffered.release, count)
        yield stack


def _size_of(source: Readable) -> int | None:
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


def _read(source: BinaryIO, count: int, before: bytes = b"") -> bytes:
    """Up to ``count`` bytes, ``before`` included: fewer only at the end, whatever the source returns at a time."""
    first = before or source.read(count)
    if len(first) == count or not first:
        return first
    chunks, missing = [first], count - len(first)
    while missing and (chunk := source.read(missing)):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
