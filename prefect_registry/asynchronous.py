"""The one place where asynchronous methods come from: every ``a``-twin is its synchronous method in a thread.

An event loop is never blocked and never borrowed: Prefect runs several, and fsspec has its own
(``asyncio.to_thread`` carries the context variables along, so the surrounding run is seen; for what begins a run, the
program that called is one of them).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import operator
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect_registry.capture import remember_caller

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def twin(
    method: Callable[Concatenate[S, P], R], undo: Callable[[S, R, BaseException], object] | None = None
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """The asynchronous twin of a method: the same arguments, result and errors.

    ``undo(self, result, error)`` is for a method that begins something: when the call is cancelled, nobody gets it.
    """

    @functools.wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if undo is None:
            return await asyncio.to_thread(method, self, *args, **kwargs)
        return await _begun(functools.partial(method, self, *args, **kwargs), functools.partial(undo, self))

    name_twin(call, method)
    return call


def function_twin(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The asynchronous twin of a function, or of a static method."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(function, *args, **kwargs)

    name_twin(call, function)
    return call


def through(
    attribute: str, method: Callable[Concatenate[S, P], R]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """An asynchronous method of a class that has a synchronous one at hand: ``method`` of what ``attribute`` names.

    It has the same name: for clients whose interface another system has fixed, without the prefix ``a``.
    """

    @functools.wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, getattr(self, attribute), *args, **kwargs)

    call.__wrapped_sync__ = method  # type: ignore[attr-defined]
    return call


def iterator_twin(
    method: Callable[Concatenate[S, P], Iterator[R]],
) -> Callable[Concatenate[S, P], AsyncIterator[R]]:
    """The twin of a method that yields: fetched in a thread, a batch at a time."""
    call = _yielding(method, lambda self: self)
    name_twin(call, method)
    return call


def iterator_through(
    attribute: str, method: Callable[Concatenate[S, P], Iterator[R]]
) -> Callable[Concatenate[Any, P], AsyncIterator[R]]:
    """:func:`through` for a method that yields: for ``async for``."""
    call = _yielding(method, operator.attrgetter(attribute))
    call.__wrapped_sync__ = method  # type: ignore[attr-defined]
    return call


def _yielding(
    method: Callable[Concatenate[S, P], Iterator[R]], whose: Callable[[Any], Any]
) -> Callable[Concatenate[Any, P], AsyncIterator[R]]:
    @functools.wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        iterator = await asyncio.to_thread(method, whose(self), *args, **kwargs)
        while batch := await asyncio.to_thread(_take, iterator, 100):
            for item in batch:
                yield item

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
        call = functools.partial(method, self, *args, **kwargs)  # it may go to the store, as begin does
        manager = await _begun(call, lambda begun, error: begun.__exit__(type(error), error, error.__traceback__))
        async with entered(manager) as value:
            yield value

    name_twin(call, method)
    return call


@asynccontextmanager
async def entered(manager: AbstractContextManager[R]) -> AsyncIterator[R]:
    """Enter and leave a synchronous context manager in threads; ``bind``/``unbind`` run in the caller's context."""
    bind: Callable[[], Any] = getattr(manager, "bind", lambda: None)
    unbind: Callable[[], Any] = getattr(manager, "unbind", lambda: None)
    value = await _begun(manager.__enter__, lambda _, error: manager.__exit__(type(error), error, error.__traceback__))
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


def caller_context() -> contextvars.Context:
    """A copy of this context for a thread that begins a run: it knows the program around, which no thread's stack
    shows.
    """
    context = contextvars.copy_context()
    context.run(remember_caller)
    return context


async def _begun(begin: Callable[[], R], undo: Callable[[R, BaseException], object]) -> R:
    """``begin`` in a thread. When the caller is cancelled meanwhile, what began is undone: nobody else has it.

    That happens in a thread too, so that it is done even if the caller is cancelled again, or its event loop ends.
    """
    context, begun, loop = caller_context(), Future[R](), asyncio.get_running_loop()

    def work() -> None:
        try:
            begun.set_result(context.run(begin))
        except BaseException as error:
            begun.set_exception(error)

    try:
        await asyncio.shield(loop.run_in_executor(None, work))
    except asyncio.CancelledError as error:
        await asyncio.wait([loop.run_in_executor(None, _undo, context, begun, undo, error)])
        raise
    return begun.result()


def _undo(
    context: contextvars.Context, begun: Future[R], undo: Callable[[R, BaseException], object], error: BaseException
) -> None:
    if begun.exception() is not None:
        return  # nothing began
    try:
        context.run(undo, begun.result(), error)
    except Exception as second:
        error.add_note(f"What had begun could not be undone: {second}")


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


def name_twin(call: Any, method: Callable[..., Any]) -> None:
    """Give a twin its name, its docstring, and the method that it is the twin of."""
    call.__name__ = "a" + method.__name__
    call.__qualname__ = "".join(method.__qualname__.rpartition(".")[:2]) + call.__name__
    call.__doc__ = f"Asynchronous twin of :meth:`{method.__name__}`.\n\n{method.__doc__ or ''}"
    call.__wrapped_sync__ = method
