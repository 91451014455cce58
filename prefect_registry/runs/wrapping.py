"""``registry_run``: one name, with or without parentheses, in three forms (DESIGN.md 8)."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from prefect import Flow, Task

from prefect_registry.errors import InvalidInput, InvalidState
from prefect_registry.records.runs import Publish
from prefect_registry.registry import Run
from prefect_registry.resolve import RegistryLike
from prefect_registry.runs.bodies import answer_of, run_async, run_sync, to_the_end
from prefect_registry.runs.hooks import roll_back_registry_run
from prefect_registry.runs.options import MARK, Check, OnUnawaitedFailure, RunOptions
from prefect_registry.runs.scope import Scope
from prefect_registry.runs.verdict import judge

P = ParamSpec("P")
R = TypeVar("R")
_HOOKS = ("on_failure_hooks", "on_crashed_hooks", "on_cancellation_hooks")


class RegistryRun:
    """What ``registry_run(...)`` gives: a decorator for flows and functions, and a context manager of both colours."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options.checked()
        self._scope: Scope | None = None

    @overload
    def __call__(self, target: Flow[P, R]) -> Flow[P, R]: ...

    @overload
    def __call__(self, target: Callable[P, R]) -> Callable[P, R]: ...

    def __call__(self, target: Any) -> Any:
        """Decorate a flow (above ``@flow``: a copy, with hooks) or a function (below ``@flow``)."""
        if isinstance(target, Flow):
            return _decorated_flow(target, self.options)
        if isinstance(target, Task):
            raise InvalidInput.of(
                "registry_run",
                [f"{target.name} is a task, and a run belongs to a flow"],
                todo="Decorate the flow; in the task, current_run() gives its run",
            )
        if not (inspect.isroutine(target) or isinstance(target, functools.partial)):
            raise InvalidInput.of("registry_run", [f"{target!r:.80} is neither a flow nor a function"])
        return _wrapped(target, self.options)

    def __enter__(self) -> Run:
        scope = self._new_scope()
        try:
            scope.open()
            scope.bind()
        except BaseException as error:
            self._left().fail(error)
            raise
        return scope.run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope = self._left()
        try:
            if error is None:
                self._end_of_block(scope)
        except BaseException as second:
            scope.fail(second)
            raise
        finally:
            scope.unbind()
        if error is not None:
            scope.fail(error)
        else:
            scope.commit(judge(None))

    def _end_of_block(self, scope: Scope) -> None:
        scope.refuse_unseen(scope.settle())
        if self.options.check is not None:
            scope.passed(self.options.check(scope.run))

    async def __aenter__(self) -> Run:
        scope = self._new_scope()
        try:
            await to_the_end(scope.open)
            scope.bind()
        except BaseException as error:
            await to_the_end(self._left().fail, error)
            raise
        return scope.run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope = self._left()
        try:
            if error is None:
                await asyncio.to_thread(scope.refuse_unseen, await scope.asettle())
                if self.options.check is not None:
                    scope.passed(await answer_of(self.options.check, scope.run))
        except BaseException as second:
            await to_the_end(scope.fail, second)
            raise
        finally:
            scope.unbind()
        if error is not None:
            await to_the_end(scope.fail, error)
        else:
            await to_the_end(scope.commit, judge(None))

    def _new_scope(self) -> Scope:
        if self._scope is not None:
            raise InvalidState(
                "This registry_run(...) is open already",
                todo="Call registry_run(...) once for each 'with' block",
                committed="no",
            )
        if (
            self.options.registry is not None
            and isinstance(self.options.registry, str)
            and "{" in self.options.registry
        ):
            raise InvalidInput.of("registry_run", ["registry is a template, which a 'with' block cannot fill in"])
        self._scope = Scope.of_block(self.options)
        return self._scope

    def _left(self) -> Scope:
        scope, self._scope = self._scope, None
        assert scope is not None
        return scope


@overload
def registry_run(registry: Flow[P, R], /) -> Flow[P, R]: ...


@overload
def registry_run(registry: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def registry_run(
    registry: RegistryLike | None = None,
    *,
    purpose: str | None = None,
    model_id: str | None = None,
    revision: str | None = None,
    config: Mapping[str, Any] | None = None,
    publish: Publish = "on_close",
    lease: float | None = None,
    isolated: bool = False,
    check: Check | None = None,
    on_unawaited_failure: OnUnawaitedFailure = "fail",
) -> RegistryRun: ...


def registry_run(
    registry: Any = None,
    *,
    purpose: str | None = None,
    model_id: str | None = None,
    revision: str | None = None,
    config: Mapping[str, Any] | None = None,
    publish: Publish = "on_close",
    lease: float | None = None,
    isolated: bool = False,
    check: Check | None = None,
    on_unawaited_failure: OnUnawaitedFailure = "fail",
) -> Any:
    """Make a flow a run: everything its tasks stage becomes visible when it completes, and nothing if it does not.

    Above ``@flow`` (recommended: hooks are added as a second net), below it, or ``with registry_run(...) as run``;
    with or without parentheses; for synchronous and asynchronous functions.

    Args:
        registry: Which registry: the name of a block, ``"type/name"``, a URL, a block or a ``Registry``. ``"{name}"``
            takes it from the flow's parameter of that name. Without one, that of the run around this flow, or else
            what :func:`resolve_registry` finds.
        purpose: What the run is for; ``"ingest {year}"`` may use parameters. The flow's name by default.
        model_id: The model that the run works with.
        revision: The version of the code. By default the deployment's version, or the git commit.
        config: What is recorded of the settings. By default the flow's parameters, without secrets and large values.
        publish: ``on_close``: all at once, by one decision. ``on_commit``: each dataset by itself, whatever becomes of
            the flow. ``never``: a rehearsal, which stages, shows what would change, and drops it.
        lease: Seconds of silence after which others may abort the run; 15 minutes by default.
        isolated: Do not wait for the run around this one: publish, or not, independently of it.
        check: Called with the run when everything is staged and nothing is published (``run.table(kind)`` shows what
            would be). It refuses by an exception, or by returning ``False``.
        on_unawaited_failure: What a task means that was submitted, failed, and was never looked at: ``fail`` or
            ``ignore``.

    Raises:
        InvalidInput: Lists everything that is wrong with the arguments, or the function is a generator.
    """
    bare = isinstance(registry, (Flow, Task, type, functools.partial)) or inspect.isroutine(registry)
    options = RunOptions(
        None if bare else registry,
        purpose,
        model_id,
        revision,
        config,
        publish,
        lease,
        isolated,
        check,
        on_unawaited_failure,
    )
    decorator = RegistryRun(options)
    return decorator(registry) if bare else decorator


# -- wrapping --------------------------------------------------------------------------------------------------------


def _decorated_flow(flow: Flow[P, R], options: RunOptions) -> Flow[P, R]:
    """A copy of the flow, of its own class, with its function wrapped and our hook in front of each kind of hooks."""
    wrapper = _wrapped(flow.fn, options)
    decorated = copy.copy(flow)
    decorated.fn = wrapper
    decorated.__wrapped__ = wrapper  # type: ignore[attr-defined]
    for name in _HOOKS:  # new lists: copies of a flow share theirs
        setattr(decorated, name, [roll_back_registry_run, *getattr(flow, name)])
    return decorated


def _wrapped(fn: Callable[..., Any], options: RunOptions) -> Callable[..., Any]:
    """``fn`` inside a run. The wrapper refers to nothing that cannot be pickled: Prefect pickles it with the flow."""
    options.checked(fn)
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await run_async(options, fn, args, kwargs)

    else:

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return run_sync(options, fn, args, kwargs)

    setattr(wrapper, MARK, options)
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        wrapper.__signature__ = _evaluated(inspect.signature(fn), fn)  # type: ignore[attr-defined]
    return wrapper


def _evaluated(signature: inspect.Signature, fn: Callable[..., Any]) -> inspect.Signature:
    """The signature with annotations that are text (``from __future__ import annotations``) as the types they name.

    Prefect looks those names up in the globals of the function that it calls, and the wrapper's are not the flow's.
    What is not defined yet stays text.
    """
    names = getattr(inspect.unwrap(fn), "__globals__", {})
    parameters = [p.replace(annotation=_evaluated_one(p.annotation, names)) for p in signature.parameters.values()]
    return signature.replace(
        parameters=parameters, return_annotation=_evaluated_one(signature.return_annotation, names)
    )


def _evaluated_one(annotation: Any, names: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # as inspect.signature(eval_str=True) does, one by one
    except Exception:  # the user's code: most often a name that is not defined yet, and then it stays text
        return annotation
