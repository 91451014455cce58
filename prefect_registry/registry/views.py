"""Runs, events and incidents as readers see them: what they may change is a copy of the document that was read."""

from __future__ import annotations

import copy

from prefect_registry.catalog.results import EventInfo, IncidentInfo, RunInfo, RunState
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.events import Event as EventDocument
from prefect_registry.records.runs import Begin, Decision


def run_info(ledger: Ledger, begin: Begin, decision: Decision | None) -> RunInfo:
    """A begin and the decision there is of it, as one."""
    outcome = ledger.outcomes.effective(begin.run_id)
    states: dict[str | None, RunState] = {None: "RUNNING", "committed": "COMMITTED", "aborted": "ABORTED"}
    return RunInfo(
        id=begin.run_id,
        purpose=begin.purpose,
        state=states[outcome],
        model_id=begin.model_id,
        revision=begin.revision,
        config=copy.deepcopy(begin.config),
        started_at=begin.created_at,
        finished_at=decision.closed_at if decision is not None else None,
        success=None if outcome is None else outcome == "committed",
        notes=decision.notes if decision is not None else None,
        failure=decision.failure if decision is not None else None,
        parent=begin.parent,
        isolated=begin.isolated,
        publish=begin.publish,
        implicit=begin.implicit,
        lease_seconds=begin.lease_seconds,
        flow_run=begin.flow_run,
        staged=outcome is None and decision is not None,
        left_out=tuple(f"ds_{begin.run_id[4:]}_{s}" for s in decision.left_out.pending) if decision is not None else (),
        prefect=copy.deepcopy(begin.prefect),
    )


def event_info(document: EventDocument) -> EventInfo:
    """A stored event as readers see it."""
    return EventInfo(
        id=document.event_id,
        event_name=document.event_name,
        subject_id=document.subject_id,
        payload=copy.deepcopy(document.payload),
        created_at=document.created_at,
        run_id=document.run_id,
    )


def incident_info(document: EventDocument) -> IncidentInfo:
    """A stored incident as readers see it."""
    return IncidentInfo(
        id=document.event_id,
        event=document.event_name,
        subject_id=document.subject_id,
        error_class=document.error_class or "",
        message=document.message or "",
        created_at=document.created_at,
        run_id=document.run_id,
    )
