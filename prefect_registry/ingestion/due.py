"""When a publication is due (reference system 5, OC-01 to OC-08)."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta

from prefect_registry.ingestion.enums import RetrievalFrequency
from prefect_registry.ingestion.models import Collection, Job

log = logging.getLogger("prefect_registry")


def last_of(jobs: list[Job]) -> Job | None:
    """The job that was scheduled last: one without a start counts as the newest."""
    return max(jobs, key=lambda job: (job.start is None, job.start or job.created, job.number), default=None)


def due_on(collection: Collection, last: Job) -> date | None:
    """The day (UTC) from which the publication is due, ``last`` being its last job; None for never by itself.

    Counted from the job's start, not its end. After a job that failed, a week, whatever the publication's own
    frequency. When the source was found unchanged since, counted from then.
    """
    frequency = collection.retrieval_frequency
    if not frequency or last.start is None:
        return None
    if last.is_unsuccessful():
        frequency = RetrievalFrequency.WEEKLY
    days = frequency.days
    if days is None:
        return None
    since = max(last.start, collection.last_checked or last.start)
    return (since.astimezone(UTC) + timedelta(days=days)).date()


def is_out_of_date(collection: Collection, last: Job | None, incomplete: bool, now: datetime) -> bool:
    """Whether a job has to be made, ``last`` being the publication's last one.

    Args:
        incomplete: Whether it has a job that is not COMPLETED.
    """
    if collection.frozen or collection.retrieval_frequency in ("", RetrievalFrequency.NEVER):
        return False
    if last is None:
        return not incomplete
    due = due_on(collection, last)
    if due is None or now.astimezone(UTC).date() < due:
        return False
    if incomplete:
        log.warning("Publication %s is due, and has an incomplete job: there is no new one", collection.id)
        return False
    return True
