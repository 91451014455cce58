"""Time spent in storage calls against time spent in all, and the best of several paired runs."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from prefect_registry.storage.base import Download, ObjectInfo, Progress, Storage, Stored, Upload
from prefect_registry.storage.wrapper import WrapperStorage

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One line of the report: what was measured, the value, its unit, and the budget of the issue (None: no budget)."""

    name: str
    value: float
    unit: str
    budget: str
    ok: bool | None
    note: str = ""


class StorageTime(WrapperStorage):
    """A storage that adds up the wall-clock time during which at least one call on it is under way."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0
        self.seconds = 0.0
        self.calls = 0

    def _timed(self, call: Callable[[], T]) -> T:
        with self._lock:
            self.calls += 1
            self._inside += 1
            if self._inside == 1:
                self._since = time.perf_counter()
        try:
            return call()
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self.seconds += time.perf_counter() - self._since

    def create(self, key: str, data: bytes) -> None:
        self._timed(lambda: self.inner.create(key, data))

    def put(self, key: str, data: bytes) -> None:
        self._timed(lambda: self.inner.put(key, data))

    def get(self, key: str) -> bytes:
        return self._timed(lambda: self.inner.get(key))

    def open(self, key: str) -> BinaryIO:
        return self._timed(lambda: self.inner.open(key))

    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        return self._timed(lambda: self.inner.upload(files, progress))

    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        self._timed(lambda: self.inner.download(files, progress))

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        return iter(self._timed(lambda: [*self.inner.list(prefix, start_after)]))

    def delete_many(self, keys: Iterable[str]) -> None:
        self._timed(lambda: self.inner.delete_many(keys))

    def info(self, key: str) -> ObjectInfo | None:
        return self._timed(lambda: self.inner.info(key))


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(ours: Callable[[], object], baseline: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """Median seconds of both, run in turn so that a noisy moment hits both; one round before, not counted."""
    ours(), baseline()
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
