"""Counting the calls that reach a store, in total and in sequence: how the budgets of DESIGN.md 4 are asserted."""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from typing_extensions import override

from prefect_registry.storage.base import Download, ObjectInfo, Progress, Storage, Stored, Upload
from prefect_registry.storage.wrapper import WrapperStorage

T = TypeVar("T")

PAGE = 1000
"""Keys per page of a listing, on every object store that we know of (S3, GCS; Azure has 5,000)."""


@dataclass(eq=False)  # each is a measure of its own
class Measure:
    """What was counted.

    Attributes:
        by_method: Calls per method of :class:`Storage`.
        keys: Each call as ``(method, key)``, in the order in which they began.
        sequential: Round trips one after the other: the longest chain. Calls handed to ``concurrently`` count as one
            step, however many threads really ran them, so the number is the same every time.
    """

    by_method: Counter[str] = field(default_factory=Counter)
    keys: builtins.list[tuple[str, str]] = field(default_factory=builtins.list)
    sequential: int = 0

    @property
    def total(self) -> int:
        """All calls together."""
        return sum(self.by_method.values())


class CountingStorage(WrapperStorage):
    """Any storage, with its calls counted.

    Depth is a context variable: every call adds one to it; each of several concurrent calls starts from the caller's
    depth, and the caller goes on from the deepest.

    Args:
        inner: The storage to count on.
        width: How many files an upload or download moves at a time: k of them count ⌈k/width⌉ steps.
    """

    def __init__(self, inner: Storage, width: int = 16) -> None:
        super().__init__(inner)
        self.width = width
        self.calls = Measure()
        self._measures: builtins.list[Measure] = [self.calls]
        self._depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.inner, self.width))

    @contextlib.contextmanager
    def measure(self) -> Iterator[Measure]:
        """Count what happens in the block: ``with counting.measure() as m: ...`` then ``m.total``, ``m.sequential``."""
        measure = Measure()
        outer = self._depth.get()
        self._depth.set(0)
        with self._lock:
            self._measures.append(measure)
        try:
            yield measure
        finally:
            with self._lock:
                self._measures.remove(measure)
            self._depth.set(outer + measure.sequential)

    def _count(self, method: str, key: str, steps: int = 1) -> None:
        depth = self._depth.get() + steps
        self._depth.set(depth)
        with self._lock:
            for measure in self._measures:
                measure.by_method[method] += 1
                measure.keys.append((method, key))
                measure.sequential = max(measure.sequential, depth)

    @override
    def create(self, key: str, data: bytes) -> None:
        self._count("create", key)
        self.inner.create(key, data)

    @override
    def put(self, key: str, data: bytes) -> None:
        self._count("put", key)
        self.inner.put(key, data)

    @override
    def get(self, key: str) -> bytes:
        self._count("get", key)
        return self.inner.get(key)

    @override
    def prefetch(self, key: str) -> Callable[[], bytes] | None:
        """As in :class:`Storage`. It counts as one call, in the same step as what happens until it is waited for."""
        answer = self.inner.prefetch(key)
        if answer is None:
            return None
        before = self._depth.get()
        self._count("get", key)
        depth = self._depth.get()
        self._depth.set(before)

        def waited() -> bytes:
            self._depth.set(max(self._depth.get(), depth))
            return answer()

        return waited

    @override
    def open(self, key: str) -> BinaryIO:
        self._count("open", key)
        return self.inner.open(key)

    @override
    def info(self, key: str) -> ObjectInfo | None:
        self._count("info", key)
        return self.inner.info(key)

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> builtins.list[Stored]:
        for i, file in enumerate(files):
            self._count("upload", file.key, 1 if i % self.width == 0 else 0)
        return self.inner.upload(files, progress)

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        for i, file in enumerate(files):
            self._count("download", file.key, 1 if i % self.width == 0 else 0)
        self.inner.download(files, progress)

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        exact = builtins.list(keys)
        for start in range(0, len(exact), PAGE):
            self._count("delete_many", exact[start])
        self.inner.delete_many(exact)

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """As in :class:`Storage`. Each page of 1,000 keys is a call."""
        self._count("list", prefix)
        for i, info in enumerate(self.inner.list(prefix, start_after)):
            if i and i % PAGE == 0:
                self._count("list", prefix)
            yield info

    @override
    def concurrently(self, calls: Sequence[Callable[[], T]]) -> builtins.list[T]:
        before = self._depth.get()
        deepest = [before]

        def counted(call: Callable[[], T]) -> Callable[[], T]:
            def run() -> T:
                self._depth.set(before)
                try:
                    return call()
                finally:
                    deepest.append(self._depth.get())

            return run

        try:
            return self.inner.concurrently([counted(call) for call in calls])
        finally:
            self._depth.set(max(deepest))

    @override
    def in_order(self, calls: Sequence[Callable[[], T]]) -> builtins.list[T]:
        return self.concurrently(calls)
