"""What is submitted in the body of a run: by its own flow, and by undecorated flows inside it, which work in its run.

When a flow is over, Prefect cancels what it has submitted and not waited for, and calls the flow run Completed,
whatever became of it. For the flow that is decorated the wrapper waits before that. Flows inside it have none, and
Prefect offers no place to be told of them: so entering and leaving Prefect's context of a flow run is wrapped here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner

from prefect_registry.runs.futures import Submitted, Unseen, watch


class Watched:
    """Everything that is submitted in one body.

    Args:
        runner: The task runner of the flow that the body belongs to. None in a task, whose flow has others beside it.
    """

    def __init__(self, runner: TaskRunner[Any] | None) -> None:
        self._own = watch(runner) if runner is not None else None
        self._mark = self._own.mark() if self._own is not None else 0
        self._unseen_below: list[Unseen] = []
        self._states_below: list[State[Any]] = []

    def settle(self) -> list[Unseen]:
        """Wait for what was not awaited. Of flows inside, which are over, only failures are left."""
        own = self._own.settle(self._mark) if self._own is not None else []
        return own + self._unseen_below

    async def asettle(self) -> list[Unseen]:
        """:meth:`settle` without blocking the event loop."""
        own = await self._own.asettle(self._mark) if self._own is not None else []
        return own + self._unseen_below

    def states(self) -> list[State[Any]]:
        """The final states, as far as somebody has looked; of flows inside those that are no success."""
        own = self._own.states(self._mark) if self._own is not None else []
        return own + self._states_below

    def add_flow_inside(self, submitted: Submitted, completed: bool) -> None:
        """Take over what a flow inside has submitted. The failure of one that failed is its caller's matter."""
        if completed:
            self._unseen_below += [unseen for unseen in submitted.settle(0) if not unseen.completed]
        self._states_below += [state for state in submitted.states(0) if not state.is_completed()]


watched: ContextVar[Watched | None] = ContextVar("prefect_registry_watched", default=None)
"""What the innermost run around this code watches in this process."""


def _entering(enter: Callable[[FlowRunContext], FlowRunContext]) -> Callable[[FlowRunContext], FlowRunContext]:
    @functools.wraps(enter)
    def wrapper(context: FlowRunContext) -> FlowRunContext:
        if watched.get() is not None and _runs_here(context):
            watch(context.task_runner)
        return enter(context)

    return wrapper


def _leaving(leave: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(leave)
    def wrapper(context: FlowRunContext, *error: Any) -> None:
        around = watched.get()
        try:
            if around is not None and _runs_here(context) and error[:1] in ((), (None,)):
                state = cast(Any, context.flow_run).state
                around.add_flow_inside(watch(context.task_runner), state is not None and state.is_completed())
        finally:
            leave(context, *error)

    return wrapper


def _runs_here(context: FlowRunContext) -> bool:
    """Whether the flow runs in this process: the context of a task in another one is a copy, without a task runner."""
    return not context.detached and context.flow_run is not None


_context: Any = FlowRunContext
_context.__enter__ = _entering(FlowRunContext.__enter__)
_context.__exit__ = _leaving(FlowRunContext.__exit__)
