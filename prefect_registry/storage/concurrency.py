"""Many storage calls at once, and hashing beside input and output: the only threads that the storage layer starts.

Pools belong to a process: a fork never waits on threads that exist only in its parent.
"""

from __future__ import annotations

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

    def work() -> None:
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

    helpers = _start_helpers(work, min(width, len(calls)) - 1)
    try:
        work()
    finally:  # also after an interrupt, what has begun is waited for
        interrupts = _wait_for(helpers)
    if interrupts:
        raise interrupts[0]
    return _results([outcome for outcome in outcomes if outcome is not None])


def _start_helpers(work: Callable[[], None], count: int) -> list[Future[None]]:
    helpers = []
    for _ in range(count):
        try:
            helpers.append(_pool("io", LARGEST_POOL).submit(work))
        except RuntimeError:  # the interpreter is shutting down: the calling thread does it all
            break
    return helpers


def _wait_for(helpers: list[Future[None]]) -> list[BaseException]:
    ended = [helper.exception() for helper in helpers if not helper.cancel()]
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


def begun(call: Callable[[], T]) -> Callable[[], T]:
    """Start ``call`` in a thread; what is returned gives its result, and does it here if no thread has come to it.

    So one that waits inside the same pool never waits for a place in it.
    """
    try:
        started = _pool("io", LARGEST_POOL).submit(call)
    except RuntimeError:  # the interpreter is shutting down
        return call
    return lambda: call() if started.cancel() else started.result()


def beside(call: Callable[[], object]) -> Future[object]:
    """Start ``call`` in a thread for computing (hashing); it must never wait for another such call."""
    try:
        return _pool("hash", max(2, os.cpu_count() or 2)).submit(call)
    except RuntimeError:
        outcome: Future[object] = Future()
        outcome.set_result(call())
        return outcome
