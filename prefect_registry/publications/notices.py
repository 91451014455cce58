"""What Prefect shows of publications: an event for each change of state, and a table of all with their freshness."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from prefect.events import emit_event

from prefect_registry.ingestion import Ingestion
from prefect_registry.ingestion.models import Collection
from prefect_registry.ingestion.processing import Change, TickReport
from prefect_registry.names import key_of

JOB_CHANGED = "prefect-registry.job."
TASK_CHANGED = "prefect-registry.job-task."
"""Followed by the state in lower case: ``prefect-registry.job.completed``."""

_NAMESPACE = UUID("2b0f7b2e-9a83-5e0c-8a0e-3d0b9a0b1c55")
log = logging.getLogger("prefect_registry.events")


def tell(ingestion: Ingestion, report: TickReport) -> None:
    """Emit an event for every change that a tick has made. Best effort: the registry knows them all the same."""
    for change in report.changes:
        try:
            _emit(ingestion, change)
        except Exception:  # a courtesy: the change is recorded, and a tick goes on without Prefect
            log.debug("The event of %s was not emitted", change, exc_info=True)


def _emit(ingestion: Ingestion, change: Change) -> None:
    prefix = JOB_CHANGED if change.task is None else TASK_CHANGED
    what = f"{ingestion.registry.registry_id} {change.job} {change.task} {change.was} {change.now} {change.note}"
    failed = bool(change.note) and change.now == "COMPLETED"
    emit_event(
        event=prefix + ("failed" if failed else change.now.lower()),
        resource={
            "prefect.resource.id": f"prefect-registry.publication.{key_of(change.publication)}",
            "prefect.resource.name": change.publication,
        },
        payload={
            "publication": change.publication,
            "job": change.job,
            "task": change.task,
            "was": change.was,
            "now": change.now,
            "note": change.note,
            "registry": ingestion.registry.reference or ingestion.registry.url,
        },
        id=uuid5(_NAMESPACE, what),
    )


def freshness(publications: Iterable[Collection], now: datetime) -> list[dict[str, Any]]:
    """A row for each publication: what readers see, since when, and how often it is retrieved."""
    return [
        {
            "publication": p.id,
            "title": p.title,
            "active job": p.active_job or "",
            "retrieved": str(p.last_retrieved or ""),
            "days old": (now.date() - p.last_retrieved).days if p.last_retrieved is not None else "",
            "checked": p.last_checked.date().isoformat() if p.last_checked is not None else "",
            "frequency": p.retrieval_frequency or "by hand",
            "state": "paused" if p.frozen else "public" if p.visible else "hidden",
        }
        for p in publications
    ]
