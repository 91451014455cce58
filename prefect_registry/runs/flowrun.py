"""What Prefect knows of the run that surrounds this code: its context, its log, its ids."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError, TerminationSignal
from prefect.logging.loggers import flow_run_logger, get_run_logger

from prefect_registry.records.runs import Failure, FailureKind, failure
from prefect_registry.runs.options import RunOptions, options_of
from prefect_registry.runs.parameters import redacted, secrets_in

Log = logging.Logger | logging.LoggerAdapter[Any]


def flow_context() -> FlowRunContext | None:
    """The context of the flow run around this code, a copy of it in process pools and Dask; None outside."""
    context = FlowRunContext.get()
    return context if context is not None and context.flow_run is not None else None


def flow_run_id() -> str | None:
    """The id of the flow run around this code."""
    context = flow_context()
    return str(cast(Any, context).flow_run.id) if context is not None else None


def log() -> Log:
    """The log of the flow or task run, or the package's own outside of any."""
    try:
        return cast(Log, get_run_logger())
    except MissingContextError:
        return logging.getLogger("prefect_registry.runs")


def log_of(flow_run: Any, flow: Any) -> Log:
    """The log of a flow run that does not surround this code: what a hook in a runner's process writes to."""
    return cast(Log, flow_run_logger(flow_run, flow))


def flow_runs_out() -> list[FlowRunContext]:
    """The contexts of the flow runs around this code that run in this process, innermost first."""
    found: list[FlowRunContext] = []
    context = FlowRunContext.get()
    while context is not None and not context.detached:
        found.append(context)
        token = context._token
        before = token.old_value if token is not None else None
        context = before if isinstance(before, FlowRunContext) else None
    return found


def is_own_function(context: FlowRunContext | None, options: RunOptions) -> bool:
    """Whether the decorated function is the flow that runs, and no helper that it calls."""
    return context is not None and context.flow is not None and options_of(context.flow.fn) is options


def is_in_task(context: FlowRunContext) -> bool:
    """Whether this code runs in a task of that flow run, and not in the flow's own body."""
    task = TaskRunContext.get()
    return task is not None and task.task_run.flow_run_id == cast(Any, context.flow_run).id


def facts() -> dict[str, Any]:
    """What is recorded of Prefect with a run: ids to find it by, and the process that would see ours exit."""
    context, task = flow_context(), TaskRunContext.get()
    if context is None and task is None:
        return {}
    found: dict[str, Any] = {"parent_pid": os.getppid()}
    secrets: frozenset[str] = frozenset()
    if context is not None:
        flow_run = cast(Any, context.flow_run)
        secrets = secrets_in(context.parameters or {})  # flow_run_name="of {user}" may hold one
        found |= {
            "flow_run_id": str(flow_run.id),
            "flow_run_name": flow_run.name,
            "flow_name": context.flow.name if context.flow is not None else None,
            "flow_version": flow_run.flow_version,
            "run_count": flow_run.run_count,
            "deployment_id": str(flow_run.deployment_id) if flow_run.deployment_id else None,
            "deployment_version": flow_run.deployment_version,
            "deployment_name": _deployment_name(flow_run),
        }
    if task is not None:
        found |= {"task_run_id": str(task.task_run.id), "task_run_name": task.task_run.name}
    return {k: redacted(v, secrets) if isinstance(v, str) else v for k, v in found.items() if v is not None}


def _deployment_name(flow_run: Any) -> str | None:
    """As the runner that started this process tells it; a flow run does not know it."""
    if flow_run.deployment_id is None or flow_run.parent_task_run_id is not None:
        return None
    return os.environ.get("PREFECT__DEPLOYMENT_NAME")


# -- how a run ended ---------------------------------------------------------------------------------------------------


def failure_of(error: BaseException, message: str, context: FlowRunContext | None) -> Failure:
    """The failure of a run, in the word that Prefect will use for its flow run: failed, cancelled or crashed."""
    if isinstance(error, Exception):
        return failure(type(error).__name__, message, "error")
    if timed_out(error, context):
        seconds = cast(Any, context).flow.timeout_seconds
        return failure("FlowRunTimeoutError", f"Flow run exceeded timeout of {seconds} second(s)", "error")
    kind: FailureKind = "cancelled" if _asked_to_cancel() or type(error).__name__ in ("Pause", "Abort") else "crashed"
    return failure(type(error).__name__, message or _WORDS.get(type(error).__name__, ""), kind)


_WORDS = {
    "TerminationSignal": "The process was asked to end (SIGTERM)",
    "KeyboardInterrupt": "The process was interrupted (SIGINT)",
    "CancelledError": "The work was cancelled",
    "SystemExit": "The process was ending",
}


def timed_out(error: BaseException, context: FlowRunContext | None) -> bool:
    """Whether this cancellation is the flow's own timeout: inside the body Prefect shows it as a ``CancelledError``."""
    if context is None or context.flow is None or context.flow.timeout_seconds is None:
        return False
    started = datetime.fromisoformat(context.start_time.isoformat())
    passed = (datetime.now(tz=UTC) - started).total_seconds()
    return type(error).__name__ == "CancelledError" and passed >= context.flow.timeout_seconds


def _asked_to_cancel() -> bool:
    """Whether a runner asked this process to cancel the flow run, rather than that it is being killed."""
    try:
        from prefect._internal.control_listener import get_intent
    except ImportError:  # no public name tells it; without it a cancellation is recorded as a crash
        return False
    intent: Callable[[], str | None] = get_intent
    return intent() == "cancel"


__all__ = ["TerminationSignal", "facts", "failure_of", "flow_context", "flow_run_id", "log", "log_of", "timed_out"]
