"""The one place where asynchronous methods come from: every ``a``-twin is its synchronous method in a thread.

An event loop is never blocked and never borrowed: Prefect runs several, and fsspec has its own
(``asyncio.to_thread`` carries the context variables along, so the surrounding run is seen).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def twin(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """The asynchronous twin of a method: the same arguments, result and errors."""

    @functools.wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self, *args, **kwargs)

    _name(call, method)
    return call


def iterator_twin(
    method: Callable[Concatenate[S, P], Iterator[R]],
) -> Callable[Concatenate[S, P], AsyncIterator[R]]:
    """The twin of a method that yields: fetched in a thread, a batch at a time."""

    @functools.wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        iterator = await asyncio.to_thread(method, self, *args, **kwargs)
        while batch := await asyncio.to_thread(_take, iterator, 100):
            for item in batch:
                yield item

    _name(call, method)
    return call


def context_twin(
    method: Callable[Concatenate[S, P], AbstractContextManager[R]],
) -> Callable[Concatenate[S, P], AbstractAsyncContextManager[R]]:
    """The twin of a method that gives a context manager: entered and left in threads.

    What the block's variables are is the business of the manager's ``bind`` (set in the caller's own context, because
    a thread's context is thrown away).
    """

    @functools.wraps(method)
    @asynccontextmanager
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        manager = await asyncio.to_thread(method, self, *args, **kwargs)  # it may go to the store, as begin does
        async with entered(manager) as value:
            yield value

    _name(call, method)
    return call


@asynccontextmanager
async def entered(manager: AbstractContextManager[R]) -> AsyncIterator[R]:
    """Enter and leave a synchronous context manager in threads; ``bind``/``unbind`` run in the caller's context."""
    bind: Callable[[], Any] = getattr(manager, "bind", lambda: None)
    unbind: Callable[[], Any] = getattr(manager, "unbind", lambda: None)
    value = await asyncio.to_thread(manager.__enter__)
    bind()
    try:
        yield value
    except BaseException as error:
        unbind()
        # Shielded: a cancellation must not leave the run undecided (DESIGN.md P6).
        if not await _leave(manager, type(error), error, error.__traceback__):
            raise
    else:
        unbind()
        await _leave(manager, None, None, None)


async def _leave(
    manager: AbstractContextManager[Any],
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
) -> bool:
    leaving = asyncio.ensure_future(asyncio.to_thread(manager.__exit__, kind, error, traceback))
    try:
        return bool(await asyncio.shield(leaving))
    except asyncio.CancelledError:
        await asyncio.wait([leaving])  # learn what was decided before giving way
        if leaving.exception() is not None:
            leaving.result()
        raise


def _take(iterator: Iterator[R], count: int) -> list[R]:
    batch = []
    for item in iterator:
        batch.append(item)
        if len(batch) == count:
            break
    return batch


def _name(call: Any, method: Callable[..., Any]) -> None:
    call.__name__ = "a" + method.__name__
    call.__qualname__ = method.__qualname__.rpartition(".")[0] + "." + call.__name__
    call.__doc__ = f"Asynchronous twin of :meth:`{method.__name__}`.\n\n{method.__doc__ or ''}"
    call.__wrapped_sync__ = method
