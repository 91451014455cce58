"""Trying again, and finding out what became of a write whose answer was lost (DESIGN.md P10).

Every client library sends a request again by itself when the answer is lost, so "exists" may be our own success, and a
time-out may be anybody's. Reading the key back tells: documents carry a ``write_id``, so equal bytes are ours.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from typing_extensions import override

from prefect_registry.clock import Clock, SystemClock
from prefect_registry.errors import AlreadyExists, NotFound, OutcomeUnknown, StorageError, StorageUnavailable
from prefect_registry.storage import failures
from prefect_registry.storage.base import CopyOf, Download, ObjectInfo, Progress, Storage, Stored, Upload
from prefect_registry.storage.wrapper import WrapperStorage

T = TypeVar("T")


class ResolvingStorage(WrapperStorage):
    """Any storage, made patient and certain.

    Args:
        inner: The storage to call; it makes one attempt per call.
        clock: Waits between attempts.
        timeout: How many seconds :meth:`create` goes on before it gives up. A call under way is not cut off.
        attempts: How often everything else is tried.
        first_delay: The pause before the second attempt, in seconds. Each further one is twice as long,
            up to ``longest_delay``, and a random part between half and all of it is waited.
        jitter: Where those random parts come from: numbers from 0 up to 1.
    """

    def __init__(
        self,
        inner: Storage,
        clock: Clock | None = None,
        timeout: float = 30.0,
        *,
        attempts: int = 5,
        first_delay: float = 0.1,
        longest_delay: float = 5.0,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(inner)
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._attempts = attempts
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._jitter = jitter

    @override
    def create(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key`` if it is absent, and say for certain whether it was.

        Equal bytes already there count as our own success. A lost answer costs one more round trip.

        Raises:
            AlreadyExists: Other bytes are there; ``existing`` holds them.
            OutcomeUnknown: The store gave no certain answer in time. Nothing may be cleaned up.
            AccessDenied, StorageError: Refused at once; the bytes did not land.
        """
        deadline = self._clock.monotonic() + self._timeout
        unanswered: StorageError | None = None
        for delay in self._delays():
            try:
                self.inner.create(key, data)
            except AlreadyExists as error:
                said: Exception = error
            except StorageUnavailable as error:
                said = unanswered = error
            except StorageError as error:
                if unanswered is None or isinstance(error, OutcomeUnknown):
                    raise
                raise self._unknown(key, unanswered) from error  # refused now, but an earlier request may still land
            else:
                return
            try:
                existing = self._read_back(key, said)
            except StorageUnavailable as error:
                said = unanswered = error
            else:
                if existing == data:
                    return
                if existing is not None:
                    raise failures.already_exists(self.url, key, existing) from said
            if self._clock.monotonic() + delay > deadline:
                raise self._unknown(key, said) from said
            self._clock.sleep(delay)

    def _read_back(self, key: str, said: Exception) -> bytes | None:
        try:
            return self.inner.get(key)
        except NotFound:
            return None
        except StorageUnavailable:
            raise
        except StorageError as error:  # we may not read: so nobody can tell
            raise self._unknown(key, said) from error

    def _unknown(self, key: str, said: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"It is not known whether {key!r} was created in {self.url}",
            why=f"The store gave no certain answer within {self._timeout:g} seconds; the last one was: {said}",
            todo="Clean nothing up; look at what is stored there once the store answers again",
            committed="unknown",
            key=key,
        )

    @override
    def put(self, key: str, data: bytes) -> None:
        self._retried(lambda: self.inner.put(key, data))

    @override
    def get(self, key: str) -> bytes:
        return self._retried(lambda: self.inner.get(key))

    @override
    def prefetch(self, key: str) -> Callable[[], bytes] | None:
        answer = self.inner.prefetch(key)
        if answer is None:
            return None
        again: Callable[[], bytes] = functools.partial(self.inner.get, key)
        attempts = itertools.chain([answer], itertools.repeat(again))
        return lambda: self._retried(lambda: next(attempts)())

    @override
    def open(self, key: str) -> BinaryIO:
        return self._retried(lambda: self.inner.open(key))

    @override
    def info(self, key: str) -> ObjectInfo | None:
        return self._retried(lambda: self.inner.info(key))

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        exact = builtins.list(keys)
        self._retried(lambda: self.inner.delete_many(exact))

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> builtins.list[Stored]:
        """As in :class:`Storage`. What was not stored is sent again, if its source can be read again."""
        starts = {id(file): _position(file) for file in files}
        done: dict[str, Stored] = {}

        def send() -> None:
            todo = [file for file in files if file.key not in done]
            for file in todo:
                _rewind(file, starts[id(file)])
            try:
                stored = self.inner.upload(todo, progress)
            except StorageUnavailable as error:
                done.update((s["key"], Stored(**s)) for s in error.context.get("stored", ()))
                if any(starts[id(file)] is None for file in todo if file.key not in done):
                    raise _NotAgain from error
                raise
            done.update((s.key, s) for s in stored)

        try:
            self._retried(send)
        except _NotAgain as error:
            raise error.__cause__ from None  # type: ignore[misc]  # the StorageUnavailable above
        return [done[file.key] for file in files]

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        todo = builtins.list(files)

        def fetch() -> None:
            try:
                self.inner.download(todo, progress)
            except StorageUnavailable as error:
                fetched = set(error.context.get("fetched", ()))
                todo[:] = [file for file in todo if str(file.target) not in fetched]
                raise

        self._retried(fetch)

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """As in :class:`Storage`. After a failure it goes on behind the last key that it yielded."""
        last, failed = start_after, 0
        delays = self._delays()
        while True:
            try:
                for info in self.inner.list(prefix, last):
                    yield info
                    last, failed = info.key, 0
                return
            except StorageUnavailable:
                failed += 1
                if failed >= self._attempts:
                    raise
                self._clock.sleep(next(delays))

    @override
    def names(self, prefix: str) -> Iterator[str]:
        """As in :class:`Storage`. After a failure they are read again."""
        return iter(self._retried(lambda: builtins.list(self.inner.names(prefix))))

    def _retried(self, call: Callable[[], T]) -> T:
        for tried, delay in enumerate(self._delays(), 1):
            try:
                return call()
            except StorageUnavailable:
                if tried >= self._attempts:
                    raise
            self._clock.sleep(delay)
        raise AssertionError("the delays never end")

    def _delays(self) -> Iterator[float]:
        delay = self._first_delay
        while True:
            yield delay * (0.5 + 0.5 * (self._jitter or random.random)())
            delay = min(delay * 2, self._longest_delay)


class _NotAgain(Exception):
    """The source of an upload cannot be read a second time. Its cause is what went wrong."""


def _position(file: Upload) -> int | None:
    """Where an open source stands, 0 for what can always be read again, None for what cannot."""
    if isinstance(file.source, (bytes, Path, CopyOf)):
        return 0
    return file.source.tell() if file.source.seekable() else None


def _rewind(file: Upload, start: int | None) -> None:
    if start is not None and not isinstance(file.source, (bytes, Path, CopyOf)):
        file.source.seek(start)
