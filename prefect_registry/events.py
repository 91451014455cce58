"""Prefect events: notifications of decisions that were made, for automations and triggers. Never the truth itself.

Each has an id made of what it tells (UUID version 5), so that telling twice is telling once. ``emit_event`` queues to
a thread of Prefect's and returns at once; an event that cannot be delivered is lost, and the registry's own journal
still has what it told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any
from uuid import UUID, uuid5

from prefect.events import emit_event

from prefect_registry.datasets.reading import Dataset
from prefect_registry.names import key_of
from prefect_registry.records.runs import Failure
from prefect_registry.registry import Run

RUN_COMMITTED = "prefect-registry.run.committed"
RUN_ROLLED_BACK = "prefect-registry.run.rolled-back"
DATASET_COMMITTED = "prefect-registry.dataset.committed"
INCIDENT_RAISED = "prefect-registry.incident.raised"
MOST_SINGLE = 100
"""Up to so many datasets of a run have an event each; of more, each kind has one."""

_NAMESPACE = UUID("6f0f5b0e-7f0c-5d86-9a55-3f2f1f0e4c11")
log = logging.getLogger("prefect_registry.events")


def committed(run: Run, purpose: str, datasets: list[Dataset]) -> None:
    """A run was published: one event for it, and those of its datasets."""
    _emit(
        RUN_COMMITTED,
        run.id,
        _run_resource(run, purpose),
        {"run_id": run.id, "purpose": purpose, "datasets": len(datasets), "url": run.registry.url},
        run,
    )
    if len(datasets) <= MOST_SINGLE:
        for dataset in datasets:
            _emit(DATASET_COMMITTED, dataset.id, _kind_resource(dataset.kind), _told(run, dataset), run)
        return
    for kind, group in groupby(sorted(datasets, key=lambda d: d.kind), key=lambda d: d.kind):
        _emit(DATASET_COMMITTED, f"{run.id} {kind}", _kind_resource(kind), _told_together(run, kind, group), run)


def published_alone(run: Run, dataset: Dataset) -> None:
    """A dataset was published by itself, while the run that it belongs to goes on (DESIGN.md P13)."""
    _emit(DATASET_COMMITTED, dataset.id, _kind_resource(dataset.kind), _told(run, dataset), run)


def rolled_back(run: Run, purpose: str, why: Failure) -> None:
    """A run was rolled back: nothing of it is visible."""
    payload = {"run_id": run.id, "purpose": purpose, "error_class": why.cls, "message": why.message, "kind": why.kind}
    _emit(RUN_ROLLED_BACK, run.id, _run_resource(run, purpose), {**payload, "url": run.registry.url}, run)


def incident(run: Run, incident_id: str, event: str, error_class: str, message: str) -> None:
    """An incident was recorded."""
    resource = {"prefect.resource.id": f"prefect-registry.incident.{incident_id}", "prefect.resource.name": event}
    payload = {"incident_id": incident_id, "event": event, "error_class": error_class, "message": message}
    _emit(INCIDENT_RAISED, incident_id, resource, {**payload, "run_id": run.id, "url": run.registry.url}, run)


def _told(run: Run, dataset: Dataset) -> dict[str, Any]:
    return {
        "kind": dataset.kind,
        "dataset_id": dataset.id,
        "run_id": run.id,
        "rows": dataset.rows,
        "bytes": dataset.bytes,
        "mode": dataset.mode,
        "partition": dataset.partition,
        "url": dataset.root,
        "registry": run.registry.url,
    }


def _told_together(run: Run, kind: str, group: Iterable[Dataset]) -> dict[str, Any]:
    datasets = list(group)
    counts = [d.rows for d in datasets]
    return {
        "kind": kind,
        "dataset_id": None,
        "run_id": run.id,
        "datasets": len(datasets),
        "rows": None if any(c is None for c in counts) else sum(c or 0 for c in counts),
        "bytes": sum(d.bytes for d in datasets),
        "url": run.registry.url,
        "registry": run.registry.url,
    }


def _run_resource(run: Run, purpose: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect-registry.run.{run.id}", "prefect.resource.name": purpose or run.id}


def _kind_resource(kind: str) -> dict[str, str]:
    """Stable from run to run, so that a trigger can match ``prefect-registry.dataset.<kind>``."""
    return {"prefect.resource.id": f"prefect-registry.dataset.{key_of(kind)}", "prefect.resource.name": kind}


def _emit(event: str, what: str, resource: Mapping[str, str], payload: Mapping[str, Any], run: Run) -> None:
    """Best effort: what goes wrong is logged for the curious, and nobody else."""
    related = [
        {
            "prefect.resource.id": f"prefect-registry.run.{run.id}",
            "prefect.resource.role": "registry-run",
            "prefect.resource.name": run.id,
        }
    ]
    try:
        emit_event(
            event=event,
            resource=dict(resource),
            related=related if event != RUN_COMMITTED and event != RUN_ROLLED_BACK else None,
            payload=dict(payload),
            id=uuid5(_NAMESPACE, f"{event} {run.registry.registry_id} {what}"),
        )
    except Exception:  # an event is a courtesy: too large, no server, a worker that is stopping
        log.debug("The event %s of %s was not emitted", event, run.id, exc_info=True)
