"""Quality gates of a publication, before a job of it is published."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from prefect_registry.ingestion.enums import Level
from prefect_registry.ingestion.models import LONGEST_NOTE_CHARACTERS, MOST_NOTES, Collection, Job, TaskNote

if TYPE_CHECKING:
    from prefect_registry.ingestion.gates import GateFailure


def judge(collection: Collection, job: Job, now: datetime) -> str | None:
    """Why a job may not be published, None when it may. Every reason is a note of its last task.

    Each kind that has gates is looked at as it will be when the job is published, beside what readers see of it now. A
    kind of which the job has staged nothing fails, whatever its gates.

    Raises:
        RecoverableError, StorageUnavailable: It cannot be told now.
    """
    reasons = {kind: [str(failure) for failure in _failures(collection, job, kind, now)] for kind in collection.gates}
    reasons = {kind: found for kind, found in reasons.items() if found}
    if not reasons:
        return None
    last = max(job.tasks, key=lambda task: task.order)
    for kind, found in reasons.items():
        for reason in found:
            note = f"{kind}: {reason}"[:LONGEST_NOTE_CHARACTERS]
            if len(last.notes) < MOST_NOTES and all(known.note != note for known in last.notes):
                last.notes.append(TaskNote(level=Level.ERROR, note=note, data={"kind": kind}))
    told = "; ".join(f"{kind}: {'; '.join(found)}" for kind, found in reasons.items())
    return f"Not published, because of {sum(map(len, reasons.values()))} quality gate(s): {told}"


def _failures(collection: Collection, job: Job, kind: str, now: datetime) -> list[GateFailure]:
    from prefect_registry.ingestion.gates import GateFailure, evaluate

    assert job.run is not None, "a job without a run has no task that is complete"
    registry = collection.ingestion.registry
    staged, published = registry.table(kind, run_id=job.run), registry.table(kind)
    known = {dataset.id for dataset in published.datasets()}
    if all(dataset.id in known for dataset in staged.datasets()):
        return [GateFailure("any gate", f"rows of the kind {kind!r:.80}", "nothing that the job has staged")]
    return evaluate(collection.gates[kind], staged.dataset(), published.dataset() if len(published) else None, now)
