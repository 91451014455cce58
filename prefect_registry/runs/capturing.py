"""What a run records of where Prefect runs it, and of the code of its flow; nobody is asked over the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from prefect.context import FlowRunContext

from prefect_registry.capture import Capturing
from prefect_registry.records.base import printable
from prefect_registry.runs.flowrun import flow_context, flow_runs_out

_LONGEST_NAME = 300


def capturing(fn: Callable[..., Any] | None = None) -> Capturing:
    """Begin to capture ``fn``, or else the flow around this code, or else the program around it.

    Call it first of all: git is asked while the registry is looked up and opened.
    """
    context = flow_context()
    flow = context.flow if context is not None else None
    found = fn if fn is not None else flow.fn if flow is not None else None
    return Capturing.of(found) if found is not None else Capturing.of_caller()


def worker() -> dict[str, str]:
    """Work pool, work queue, worker and task runner of the flow run around this code, as far as Prefect tells them.

    A subflow runs where the flow run around it does.
    """
    context = flow_context()
    if context is None:
        return {}
    around = [context, *(c for c in flow_runs_out() if c is not context)]
    found = {
        "work_pool": _first(around, "work_pool_name"),
        "work_queue": _first(around, "work_queue_name"),
        "name": os.environ.get("PREFECT__WORKER_NAME"),  # set by workers for the processes that they start
        "task_runner": type(context.task_runner).__name__ if context.task_runner is not None else None,
    }
    return {key: printable(value, _LONGEST_NAME) for key, value in found.items() if value}


def _first(around: list[FlowRunContext], name: str) -> str | None:
    values = (getattr(cast(Any, context).flow_run, name, None) for context in around)
    return next((str(value) for value in values if value), None)
