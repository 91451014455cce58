"""The second net: Prefect's hooks, which also run in a runner's process when the flow's own process is dead.

Prefect's engine calls a hook by position and a runner by keyword, so the parameter names are part of the interface.
"""

from __future__ import annotations

import os
from typing import Any

from prefect_registry.errors import RegistryError
from prefect_registry.records.runs import FailureKind, failure
from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry
from prefect_registry.runs import notices
from prefect_registry.runs.flowrun import Log, log_of
from prefect_registry.runs.lineage_events import wait_for_openlineage_events
from prefect_registry.runs.options import RunOptions, options_of
from prefect_registry.runs.parameters import redacted, secrets_in
from prefect_registry.runs.record import signals

_KINDS: dict[str, FailureKind] = {"CRASHED": "crashed", "CANCELLING": "cancelled", "CANCELLED": "cancelled"}


def roll_back_registry_run(flow: Any, flow_run: Any, state: Any) -> None:
    """Roll back what the ended attempt of a flow run left undecided; a committed run is never touched.

    Finds the run by the flow run's cell (DESIGN.md P14). It acts only on proof that the process which held the run is
    gone or is this very one: another process may be at work on the same flow run.
    """
    options = options_of(getattr(flow, "fn", None))
    if options is None:
        return
    try:
        _roll_back(options, flow, flow_run, state)
    finally:
        signals.release(str(flow_run.id))
        wait_for_openlineage_events(flow, flow_run, state)


def _roll_back(options: RunOptions, flow: Any, flow_run: Any, state: Any) -> None:
    logger = log_of(flow_run, flow)
    parameters = dict(flow_run.parameters or {})
    try:
        registry = resolve_registry(options.registry_for(parameters))
        message = redacted(state.message or "", secrets_in(parameters))
        for run_id in _runs_of(registry, str(flow_run.id)):
            _end(registry, run_id, state, message, flow_run, logger)
    except (RegistryError, KeyError) as error:
        logger.warning(
            "The registry of this flow run could not be reached to roll its run back; the reaper will do it when the "
            "lease is over. %s",
            error,
        )


def _runs_of(registry: Registry, flow_run_id: str) -> list[str]:
    """The runs of all attempts of the flow run, newest first."""
    return [str(a.value["run_id"]) for a in reversed(registry.ledger.runs.attempts(flow_run_id))]


def _end(registry: Registry, run_id: str, state: Any, message: str, flow_run: Any, logger: Log) -> None:
    decision = registry.ledger.store.decision(run_id)
    if decision is None and not _holder_is_gone(registry, run_id):
        logger.warning(
            "Run %s is held by another process, which may be alive: it is left to it, or to the reaper.", run_id
        )
        return
    if decision is None:
        why = failure(state.name or state.type.value, message, _KINDS.get(state.type.value, "error"))
        decision = registry.ledger.abort(run_id, why)
        if not decision.committed:
            visible = notices.visible_after_rollback(registry.ledger.runs.known(run_id).publish)
            logger.warning("Run %s was rolled back: %s. %s", run_id, visible, message)
            notices.rolled_back(registry.attach(run_id), why, str(flow_run.id))
    if decision.committed and registry.ledger.outcomes.effective(run_id) == "committed":
        logger.warning("Run %s had published before: committed: yes. It stays visible.", run_id)
        notices.late(registry.attach(run_id), decision, str(flow_run.id))


def _holder_is_gone(registry: Registry, run_id: str) -> bool:
    """Proof (P7): the holder is this process, or a dead one of this host.

    Prefect calls these hooks only after the body has ended, and in a runner only after it saw its child exit.
    """
    begin = registry.ledger.store.begin(run_id)
    if begin is None:
        return False
    here = registry.ledger.store.holder()
    if begin.holder == here or registry.ledger.store.is_gone(begin.holder):
        return True
    was_child = begin.prefect.get("parent_pid") == os.getpid() and begin.holder.host == here.host
    return was_child and not here.boot and not _exists(begin.holder.pid)


def _exists(pid: int) -> bool:
    """Where there is no ``/proc`` to tell more: whether a process has the number that a child of ours had."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
