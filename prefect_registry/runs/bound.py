"""Runs that the ``insert_run`` task opened in a flow without the decorator: they end with their flow run (DESIGN.md 8).

The hooks are added to the flow object that is running, once, as a new list; they look runs up by flow run id, since
one flow object may serve several flow runs. Processes that Prefect ends without calling a hook are covered at exit,
and by the reaper.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from prefect.context import FlowRunContext

from prefect_registry.errors import RegistryError
from prefect_registry.records.runs import Decision, Failure, FailureKind, failure
from prefect_registry.registry import Registry, Run
from prefect_registry.runs.flowrun import Log, flow_context, log, log_of
from prefect_registry.runs.lineage_events import wait_for_openlineage_events

Hook = Callable[[Any, Any, Any], None]


@dataclass(frozen=True)
class Bound:
    """A run that belongs to an attempt of a flow run."""

    registry: Registry
    run_id: str
    attempt: int
    pid: int


_lock = threading.Lock()
_bound: dict[str, list[Bound]] = {}


def bind(registry: Registry, run_id: str) -> None:
    """Let the run end with the flow run around this code, and roll back what earlier attempts left open."""
    context = flow_context()
    if context is None or context.flow is None:
        return
    if context.detached:
        log().warning(
            "insert_run ran in another process than its flow, and run %s is that process's: if the flow fails, it is "
            "rolled back only when its lease is over; if that process ends before another one has written into it, "
            "anybody may roll it back. Call insert_run directly in the flow, or decorate the flow with @registry_run.",
            run_id,
        )
        return
    flow_run = cast(Any, context.flow_run)
    new = Bound(registry, run_id, flow_run.run_count, os.getpid())
    with _lock:
        runs = _bound.setdefault(str(flow_run.id), [])
        earlier = [b for b in runs if b.attempt < new.attempt]
        runs[:] = [*(b for b in runs if b.attempt >= new.attempt), new]
    for old in earlier:
        _roll_back(old, failure("Retried", "a newer attempt of the flow run has begun", "cancelled"), log())
    _add_hooks(context.flow)


def unbind(run_id: str) -> None:
    """The run is decided."""
    with _lock:
        for runs in _bound.values():
            runs[:] = [b for b in runs if b.run_id != run_id]


def only_open_run() -> Run | None:
    """The run that the tasks of this flow run mean when they name none: the one that is open, if it is one."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    with _lock:
        runs = list(_bound.get(str(context.flow_run.id), []))
    return runs[0].registry.attach(runs[0].run_id) if len(runs) == 1 else None


def roll_back_open_runs(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook for failure, crash, cancellation and completion: roll back what the flow run left open."""
    kinds: dict[str, FailureKind] = {"CRASHED": "crashed", "CANCELLED": "cancelled", "CANCELLING": "cancelled"}
    kind = kinds.get(state.type.value, "error")
    logger = log_of(flow_run, flow)
    for run in _taken(str(flow_run.id)):
        if state.is_completed():
            logger.warning("Run %s was never closed, and its flow run is over: it is rolled back.", run.run_id)
            why = failure("NeverClosed", "the flow completed without closing the run", "error")
        else:
            why = failure(state.name or "Failed", state.message or "", kind)
        _roll_back(run, why, logger, str(flow_run.id))
    wait_for_openlineage_events(flow, flow_run, state)


def _taken(flow_run_id: str) -> list[Bound]:
    with _lock:
        return _bound.pop(flow_run_id, [])


def _roll_back(run: Bound, why: Failure, logger: Log, flow_run_id: str | None = None) -> None:
    """With events for Prefect if the flow run ends in good order: at the exit of a process nobody sends them."""
    from prefect_registry.runs import notices  # which needs to know of the runs here

    try:
        decision: Decision = run.registry.ledger.abort(run.run_id, why)
        if not decision.committed and decision.failure == why:
            logger.warning("Rolled back run %s in %s: %s", run.run_id, run.registry.url, why.message or why.cls)
            notices.rolled_back(run.registry.attach(run.run_id), why, flow_run_id)
    except RegistryError as error:
        logger.error("Run %s could not be rolled back, and will be when its lease is over: %s", run.run_id, error)


def _add_hooks(flow: Any) -> None:
    """Add the hook to the running flow object: new lists, since ``with_options`` copies share theirs."""
    with _lock:
        for name in ("on_failure_hooks", "on_crashed_hooks", "on_cancellation_hooks", "on_completion_hooks"):
            hooks: list[Hook] = getattr(flow, name)
            if roll_back_open_runs not in hooks:
                setattr(flow, name, [roll_back_open_runs, *hooks])


def _roll_back_at_exit() -> None:
    """A runner that cancels a flow run ends its process in an orderly way, and its hooks run elsewhere."""
    with _lock:
        left = [run for runs in _bound.values() for run in runs if run.pid == os.getpid()]
        _bound.clear()
    for run in left:
        _roll_back(run, failure("ProcessEnded", "the process ended before the run was closed", "crashed"), log())


atexit.register(_roll_back_at_exit)
