"""Many storage calls at once, and hashing beside input and output: the only threads that the storage layer starts.

Pools belong to a process: a fork never waits on threads that exist only in its parent.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

LARGEST_POOL = 64
_pools: dict[tuple[int, str], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _forget_pools() -> None:
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), name)
    with _lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix=f"registry-{name}")
        return _pools[key]


def in_parallel(calls: Sequence[Callable[[], T]], width: int) -> list[T]:
    """Run ``calls``, at most ``width`` at a time, each in a copy of the caller's context. Results in order.

    All are finished on return; then the first error, in order, is raised. The calling thread works too and takes
    whatever no other thread has begun, so that nested calls can never wait for each other.
    """
    if len(calls) == 1:
        return [contextvars.copy_context().run(calls[0])]
    if width <= 1:
        return _results([_attempt(contextvars.copy_context(), call) for call in calls])
    outcomes: list[_Outcome[T] | None] = [None] * len(calls)
    todo = deque((i, contextvars.copy_context(), call) for i, call in enumerate(calls))
    helpers: list[Begun[None]] = []
    most = min(width, len(calls)) - 1

    def work() -> None:
        if todo and len(helpers) < most:  # each wakes the next one: that takes longer than a short call
            helpers.append(begun(work))
        while True:
            try:
                i, context, call = todo.popleft()
            except IndexError:
                return
            try:
                outcomes[i] = _attempt(context, call)
            except BaseException:  # an interrupt: what has not begun never begins
                todo.clear()
                raise

    try:
        work()
    finally:  # also after an interrupt, what has begun is waited for
        interrupts = _wait_for(helpers)
    if interrupts:
        raise interrupts[0]
    return _results([outcome for outcome in outcomes if outcome is not None])


def _wait_for(helpers: list[Begun[None]]) -> list[BaseException]:
    """What interrupted them. One that is waited for may yet have begun another, which then is waited for, too."""
    ended = [helper.error() for helper in helpers if not helper.cancel()]
    return [error for error in ended if error is not None]


class _Outcome(Generic[T]):
    """What a call returned or raised: a future, without what it takes to wait for one."""

    __slots__ = ("error", "value")

    value: T

    def __init__(self) -> None:
        self.error: Exception | None = None


def _attempt(context: contextvars.Context, call: Callable[[], T]) -> _Outcome[T]:
    outcome: _Outcome[T] = _Outcome()
    try:
        outcome.value = context.run(call)
    except Exception as error:
        outcome.error = error
    return outcome


def _results(outcomes: Sequence[_Outcome[T]]) -> list[T]:
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.value for outcome in outcomes]


class Begun(Generic[T]):
    """A call that a thread of a pool does, or whoever wants its result before one has come to it. It is done once.

    So one that waits inside the same pool never waits for a place in it, and where no thread can be started, because
    the limit of the container or the end of the interpreter is reached, the calling one does it all. A pool keeps even
    what it has refused for that reason in its queue, and may do it later.
    """

    def __init__(self, call: Callable[[], T], pool: str, threads: int) -> None:
        self._todo = [call]  # whoever takes it out does it
        self._ended: Future[T] = Future()
        with contextlib.suppress(RuntimeError):
            _pool(pool, threads).submit(self._work)

    def _work(self) -> None:
        try:
            call = self._todo.pop()
        except IndexError:
            return
        try:
            self._ended.set_result(call())
        except BaseException as error:
            self._ended.set_exception(error)
            del self  # no cycle by way of the traceback

    def cancel(self) -> bool:
        """Whether it had not begun; then it never does."""
        try:
            self._todo.pop()
        except IndexError:
            return False
        return True

    def result(self) -> T:
        """What the call returned; what it raised is raised here."""
        self._work()
        try:
            return self._ended.result()
        finally:
            del self

    def error(self) -> BaseException | None:
        """What a call that was not cancelled raised, when it has ended."""
        return self._ended.exception()


def begun(call: Callable[[], T]) -> Begun[T]:
    """Start ``call`` in a thread for input and output."""
    return Begun(call, "io", LARGEST_POOL)


def beside(call: Callable[[], T]) -> Begun[T]:
    """Start ``call`` in a thread for computing (hashing); it must never wait for another such call."""
    return Begun(call, "hash", max(2, os.cpu_count() or 2))
