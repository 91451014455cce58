"""A storage that fails on purpose: at the call, and in the way, that a test asks for.

A test first runs its work without faults, reads :attr:`FaultyStorage.calls`, and then runs it again once for each call
and each way to fail::

    for n in range(1, len(calls) + 1):
        work(FaultyStorage(MemoryStorage(), lost_answer(at=n)))
"""

from __future__ import annotations

import builtins
import fnmatch
import io
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal, TypeVar

from typing_extensions import override

from prefect_registry.clock import Clock, SystemClock
from prefect_registry.errors import StorageUnavailable
from prefect_registry.storage.base import Download, ObjectInfo, Progress, Storage, Stored, Upload
from prefect_registry.storage.wrapper import WrapperStorage

T = TypeVar("T")
Where = Literal["before", "after"]


class SimulatedCrash(BaseException):
    """The process has "died": no handler of ordinary errors sees this, and every later call raises it too."""


def _unavailable() -> Exception:
    return StorageUnavailable("The test lost this answer", why="A fault was planned", todo="Try again")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and at which calls. Use the functions below to make one.

    Args:
        where: Before the call reaches the store, or after it did its work there.
        action: What happens at that moment.
        method: Only calls of this method of :class:`Storage`; any when empty.
        key: Only calls whose key matches this glob pattern.
        at: The first call that is hit, counting from 1 those that match.
        times: How many matching calls in a row are hit.
    """

    where: Where
    action: Callable[[FaultyStorage], None]
    method: str = ""
    key: str = "*"
    at: int = 1
    times: int = 1
    keep: float | None = None


def error_before(error: Callable[[], Exception] = _unavailable, **select: object) -> Fault:
    """The call fails and never reaches the store (a refused connection, a 503)."""
    return _fault("before", lambda storage: _raise(error()), select)


def lost_answer(error: Callable[[], Exception] = _unavailable, **select: object) -> Fault:
    """The call does its work, and then its answer is lost."""
    return _fault("after", lambda storage: _raise(error()), select)


def delay(seconds: float, where: Where = "before", **select: object) -> Fault:
    """The call takes longer, by the storage's clock."""
    return _fault(where, lambda storage: storage.clock.sleep(seconds), select)


def truncation(keep: float = 0.5, **select: object) -> Fault:
    """A ``get``, an ``open`` or a listing gives only the first part, without an error."""
    return replace(_fault("after", lambda storage: None, select), keep=keep)


def crash(where: Where = "before", **select: object) -> Fault:
    """The process "dies": :class:`SimulatedCrash` now and at every later call."""
    return _fault(where, lambda storage: storage.die(), select)


def kill(where: Where = "before", **select: object) -> Fault:
    """The process dies for real, by SIGKILL."""
    return _fault(where, lambda storage: os.kill(os.getpid(), signal.SIGKILL), select)


def _fault(where: Where, action: Callable[[FaultyStorage], None], select: dict[str, object]) -> Fault:
    return Fault(where, action, **select)  # type: ignore[arg-type]  # the names and types of Fault's own fields


def _raise(error: Exception) -> None:
    raise error


class FaultyStorage(WrapperStorage):
    """Any storage with planned faults. Deterministic: one call at a time, several files or keys one by one.

    Args:
        inner: The storage to spoil.
        faults: The plan. :attr:`plan` is a list that may be changed at any time.
        clock: Waits for :func:`delay`.

    Attributes:
        calls: Every call as ``(method, key)``, in order.
        crashed: Whether a simulated crash happened.
    """

    def __init__(self, inner: Storage, *faults: Fault, clock: Clock | None = None) -> None:
        super().__init__(inner)
        self.plan = builtins.list(faults)
        self.clock = clock or SystemClock()
        self.calls: builtins.list[tuple[str, str]] = []
        self.crashed = False
        self._met: dict[int, int] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.inner,))

    def die(self) -> None:
        """Crash now: what is stored stays, and nothing more is."""
        self.crashed = True
        raise SimulatedCrash

    def _hit_by(self, method: str, key: str) -> builtins.list[Fault]:
        if self.crashed:
            raise SimulatedCrash
        hits = []
        with self._lock:
            self.calls.append((method, key))
            for fault in self.plan:
                if fault.method in ("", method) and fnmatch.fnmatchcase(key, fault.key):
                    met = self._met[id(fault)] = self._met.get(id(fault), 0) + 1
                    if fault.at <= met < fault.at + fault.times:
                        hits.append(fault)
        return hits

    def _act(self, faults: builtins.list[Fault], where: Where) -> None:
        for fault in faults:
            if fault.where == where:
                fault.action(self)

    def _run(self, method: str, key: str, call: Callable[[], T], shorten: Callable[[T, float], T] | None = None) -> T:
        faults = self._hit_by(method, key)
        self._act(faults, "before")
        result = call()
        self._act(faults, "after")
        for fault in faults:
            if shorten is not None and fault.keep is not None:
                result = shorten(result, fault.keep)
        return result

    @override
    def create(self, key: str, data: bytes) -> None:
        self._run("create", key, lambda: self.inner.create(key, data))

    @override
    def put(self, key: str, data: bytes) -> None:
        self._run("put", key, lambda: self.inner.put(key, data))

    @override
    def get(self, key: str) -> bytes:
        return self._run("get", key, lambda: self.inner.get(key), _first_part)

    @override
    def open(self, key: str) -> BinaryIO:
        return self._run("open", key, lambda: self.inner.open(key), _first_part_of_file)

    @override
    def info(self, key: str) -> ObjectInfo | None:
        return self._run("info", key, lambda: self.inner.info(key))

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> builtins.list[Stored]:
        stored: builtins.list[Stored] = []
        for file in files:
            stored += self._run("upload", file.key, lambda f=file: self.inner.upload([f], progress))  # type: ignore[misc]
        return stored

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        for file in files:
            self._run("download", file.key, lambda f=file: self.inner.download([f], progress))  # type: ignore[misc]

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        for key in builtins.list(keys):
            self._run("delete_many", key, lambda k=key: self.inner.delete_many([k]))  # type: ignore[misc]

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        faults = self._hit_by("list", prefix)
        self._act(faults, "before")
        found = builtins.list(self.inner.list(prefix, start_after))
        spoiled = [fault for fault in faults if fault.where == "after"]
        shown = int(len(found) * (spoiled[0].keep or 0.5)) if spoiled else len(found)
        yield from found[:shown]  # what is lost in a listing is its second half
        self._act(faults, "after")
        if spoiled and spoiled[0].keep is None:
            yield from found[shown:]

    @override
    def concurrently(self, calls: Sequence[Callable[[], T]]) -> builtins.list[T]:
        return Storage.concurrently(self, calls)

    @override
    def in_order(self, calls: Sequence[Callable[[], T]]) -> builtins.list[T]:
        return self.concurrently(calls)


def _first_part(data: bytes, keep: float) -> bytes:
    return data[: int(len(data) * keep)]


def _first_part_of_file(file: BinaryIO, keep: float) -> BinaryIO:
    with file:
        return io.BytesIO(_first_part(file.read(), keep))
