"""What the benchmarks have in common: results, pairs of runs that take turns, and the time spent in storage calls."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from prefect_registry.storage.base import Download, ObjectInfo, Progress, Storage, Stored, Upload
from prefect_registry.storage.wrapper import WrapperStorage

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One line of the report: what was measured, the value, its unit, and the target of the issue (None: no target)."""

    name: str
    value: float
    unit: str
    target: str
    ok: bool | None
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Seconds of our way and of the baseline, in pairs that ran one after the other."""

    pairs: Sequence[tuple[float, float]]

    @property
    def ours(self) -> float:
        """The median of our way."""
        return statistics.median(ours for ours, _ in self.pairs)

    @property
    def baseline(self) -> float:
        """The median of the baseline."""
        return statistics.median(baseline for _, baseline in self.pairs)

    @property
    def rate(self) -> float:
        """Our rate as a part of the baseline's: the median over the pairs."""
        return statistics.median(baseline / ours for ours, baseline in self.pairs)

    @property
    def added(self) -> float:
        """The seconds that our way takes longer: the median over the pairs."""
        return statistics.median(ours - baseline for ours, baseline in self.pairs)


def paired(
    ours: Callable[[], object],
    baseline: Callable[[], object],
    rounds: int = 7,
    before: Callable[[], object] = lambda: None,
) -> Pair:
    """Run both in turn, each first every other time, so that a noisy moment hits both; one round before, not counted.

    ``before`` makes room for each run and is not measured.
    """

    def timed(call: Callable[[], object]) -> float:
        before()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    timed(ours), timed(baseline)
    pairs = []
    for i in range(rounds):
        if i % 2:
            second = timed(baseline)
            pairs.append((timed(ours), second))
        else:
            pairs.append((timed(ours), timed(baseline)))
    return Pair(pairs)


class OtherWork:
    """How much of the machine's processors others used meanwhile, where /proc tells."""

    def __init__(self) -> None:
        self._start = self._read()

    def share(self) -> float | None:
        """From 0 to 1, since this was made. Work of this process's children counts as ours once they have ended."""
        if self._start is None or (now := self._read()) is None:
            return None
        whole, busy, own = (after - before for after, before in zip(now, self._start, strict=True))
        return max(0.0, busy - own) / whole if whole else 0.0

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        try:
            fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        except (OSError, ValueError):
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        nice, idle, waiting = fields[1], fields[3], fields[4]
        return sum(fields) / ticks, (sum(fields) - nice - idle - waiting) / ticks, sum(os.times()[:4])


class StorageTime(WrapperStorage):
    """A storage that adds up the wall-clock time during which at least one call on it is under way."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0
        self.seconds = 0.0

    def _enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._since = time.perf_counter()

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self.seconds += time.perf_counter() - self._since

    def _timed(self, call: Callable[[], T]) -> T:
        self._enter()
        try:
            return call()
        finally:
            self._leave()

    def create(self, key: str, data: bytes) -> None:
        self._timed(lambda: self.inner.create(key, data))

    def put(self, key: str, data: bytes) -> None:
        self._timed(lambda: self.inner.put(key, data))

    def get(self, key: str) -> bytes:
        return self._timed(lambda: self.inner.get(key))

    def prefetch(self, key: str) -> Callable[[], bytes] | None:
        answer = self.inner.prefetch(key)
        return answer and (lambda: self._timed(answer))  # until then it is beside another call, or beside our own code

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
