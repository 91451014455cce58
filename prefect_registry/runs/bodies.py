"""Calling a function in a run of its own, in both colours."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio

from prefect_registry.asynchronous import caller_context
from prefect_registry.registry import Run
from prefect_registry.runs.options import Check, RunOptions
from prefect_registry.runs.scope import Scope
from prefect_registry.runs.verdict import judge, settled

T = TypeVar("T")


def run_sync(options: RunOptions, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Call ``fn`` in a run of its own."""
    scope = Scope.of_call(options, fn, args, kwargs)
    try:
        scope.open()
        if scope.published is not None:
            return cast("T", scope.published.result)
        scope.bind()
        returned = settled(fn(*args, **kwargs))
        unseen = scope.settle()
        verdict = judge(returned)
        if verdict.completed:
            scope.refuse_unseen(unseen)
            if options.check is not None:
                scope.passed(options.check(scope.run))
    except BaseException as error:
        scope.let_signals_through()
        scope.fail(error)
        raise
    finally:
        scope.unbind()
    if verdict.completed:
        scope.commit(verdict, scope.look_at_flow_run)
    else:
        scope.reject(verdict)
    return cast("T", returned)


async def run_async(options: RunOptions, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Await ``fn`` in a run of its own. What decides the run is carried to its end, whatever cancels this task."""
    scope = Scope.of_call(options, fn, args, kwargs)
    try:
        await to_the_end(scope.open)
        if scope.published is not None:
            return scope.published.result
        scope.bind()
        returned = settled(await fn(*args, **kwargs))
        unseen = await scope.asettle()
        verdict = await asyncio.to_thread(judge, returned)
        if verdict.completed:
            await asyncio.to_thread(scope.refuse_unseen, unseen)
            if options.check is not None:
                scope.passed(await answer_of(options.check, scope.run))
            await scope.alook_at_flow_run()
    except BaseException as error:
        scope.let_signals_through()
        await to_the_end(scope.fail, error)
        raise
    finally:
        scope.unbind()
    if verdict.completed:
        must_be_recorded, cancelled = await _to_the_end(scope.commit, verdict)
        if cancelled is not None and not must_be_recorded:
            raise cancelled
    else:
        await to_the_end(scope.reject, verdict)
    return returned


async def answer_of(check: Check, run: Run) -> object:
    """What ``check`` says of the run; a synchronous one is asked in a thread."""
    if inspect.iscoroutinefunction(check):
        return await check(run)
    return await asyncio.to_thread(check, run)


async def to_the_end(call: Callable[..., T], *args: Any) -> T:
    """Run ``call`` in a thread and wait for it even when this task is cancelled; the cancellation follows.

    A run must not be left undecided, nor its decision unheard. Cancellation by anyio (Prefect's timeouts) is shut
    out; asyncio's own is remembered.
    """
    result, cancelled = await _to_the_end(call, *args)
    if cancelled is not None:
        raise cancelled
    return result


async def _to_the_end(call: Callable[..., T], *args: Any) -> tuple[T, asyncio.CancelledError | None]:
    """What ``call`` returned, and the cancellation that came meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        work = asyncio.get_running_loop().run_in_executor(None, caller_context().run, call, *args)
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
    return work.result(), cancelled
