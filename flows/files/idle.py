"""Looking before a run is begun, so that a tick that finds nothing to do leaves no trace in the registry."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from prefect import Flow

from flows.files.plan import Plan
from prefect_registry import Registry
from prefect_registry.errors import NoActiveRun
from prefect_registry.runs import current_run

P = ParamSpec("P")
R = TypeVar("R")
_plan: ContextVar[Plan | None] = ContextVar("ingest_plan", default=None)


def answered_by(answer: Callable[..., R | None]) -> Callable[[Flow[P, R]], Flow[P, R]]:
    """Above ``@registry_run``: the flow returns what ``answer`` does with its parameters, and no run is begun; or, when
    that is None, works as ever. Everything else of the flow is as it was, its hooks among it.
    """

    def decorated(flow: Flow[P, R]) -> Flow[P, R]:
        inner = flow.fn

        @functools.wraps(inner)
        def body(*args: P.args, **kwargs: P.kwargs) -> R:
            asked = inspect.signature(inner).bind(*args, **kwargs)
            asked.apply_defaults()
            found = answer(**asked.arguments)
            return inner(*args, **kwargs) if found is None else found

        answered = copy.copy(flow)
        answered.fn = body
        return answered

    return decorated


def has_run(registry: Registry) -> bool:
    """Whether a run surrounds this code, or an earlier attempt of this flow run has begun one (DESIGN.md P14)."""
    try:
        current_run(registry)
    except NoActiveRun:
        return False
    return True


def hand_over(plan: Plan | None) -> None:
    """Keep what was found for the run that is begun now."""
    _plan.set(plan)


def handed_over() -> Plan | None:
    """What was found before the run was begun."""
    return _plan.get()
