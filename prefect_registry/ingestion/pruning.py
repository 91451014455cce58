"""Deleting what nobody needs: temporary data of jobs that have ended, and old jobs (OC-20 to OC-26)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from prefect_registry.errors import RegistryError, RevisionConflict
from prefect_registry.ingestion.cells import Shelf
from prefect_registry.ingestion.errors import PASSING
from prefect_registry.ingestion.managers import get_task_manager, is_final
from prefect_registry.ingestion.models import Collection, Job, Task
from prefect_registry.ingestion.processing import TickReport
from prefect_registry.records.base import text_of

log = logging.getLogger("prefect_registry")

UNSUCCESSFUL_JOB_RETENTION_DAYS = 180
MORE_BY_PERCENT = 10
"""By how much an old job must have more than the new one to be kept, for somebody to look at."""


def jobs_to_delete(
    collection: Collection, job: Job, others: Iterable[Job], now: datetime
) -> tuple[list[Job], list[Job]]:
    """Which of ``others`` go, ``job`` being the new one; and which are kept because they have far more than it.

    Gone: failed jobs that began more than 180 days ago; of the successful ones, by start, all but the newest, unless
    they exceed the new one by more than 10 %. The publication's active job stays whatever it is, and so do jobs that
    have not ended.
    """
    ended = [j for j in others if j.id not in (job.id, collection.active_job) and j.end is not None]
    before = now - timedelta(days=UNSUCCESSFUL_JOB_RETENTION_DAYS)
    gone = [j for j in ended if j.is_unsuccessful() and j.start is not None and j.start < before]
    kept: list[Job] = []
    successful = sorted((j for j in ended if j.successful), key=lambda j: (j.start or now, j.number), reverse=True)
    new = job.metric(collection.prune_metric)
    for old in islice(successful, 1, None):
        few = old.metric(collection.prune_metric) * 100 <= new * (100 + MORE_BY_PERCENT)
        (gone if few else kept).append(old)
    return gone, kept


class Pruner:
    """Wipes tasks, archives and deletes jobs."""

    def __init__(self, shelf: Shelf, now: Callable[[], datetime], report: TickReport) -> None:
        self.shelf, self.now, self.report = shelf, now, report

    def delete_older_jobs(self, collection: Collection, job: Job, others: Sequence[Job], dry_run: bool) -> None:
        """Delete what :func:`jobs_to_delete` lets go. A job whose tasks cannot be wiped now stays until next time."""
        gone, kept = jobs_to_delete(collection, job, others, self.now())
        metric = collection.prune_metric
        for old in kept:
            log.warning(
                "Keeping old job %s with over %d%% more %s (%s >> %s)",
                old.id, MORE_BY_PERCENT, metric, old.metric(metric), job.metric(metric),
            )  # fmt: skip
        for old in sorted(gone, key=lambda j: j.number):
            if dry_run:
                log.info("Would delete job %s", old.id)
            else:
                self._delete(collection, old)

    def _delete(self, collection: Collection, old: Job) -> None:
        found = self.shelf.publication(collection.id)
        if found is None or found.active_job == old.id:
            return
        try:
            self.delete(found, old, "older than the rules keep")
        except PASSING as error:
            log.warning("Job %s stays for now: %s", old.id, error)
        except RevisionConflict:
            log.info("Job %s is being changed by somebody else", old.id)
        except Exception as error:  # of a task manager, as in archive
            log.warning("Job %s cannot be deleted", old.id, exc_info=True)
            self.report.errors[old.id] = text_of(error)

    def delete(self, collection: Collection, job: Job, reason: str, *, temporary_only: bool = False) -> None:
        """Wipe every task of a job, or only those that do not make final output, and put a tombstone in its place."""
        self.shelf.bind(job, collection)
        for task in job.tasks:
            self._wipe(task, temporary_only=temporary_only)
        self.shelf.delete_job(job, reason)
        self.report.deleted.append(job.id)

    def archive(self, collection: Collection, job: Job) -> bool:
        """Wipe the tasks of an ended job that do not make final output, and record that. False: something could not be
        wiped now, and is tried again next time.
        """
        self.shelf.bind(job, collection)
        try:
            for task in job.tasks:
                self._wipe(task, temporary_only=True)
            job.archived = True
            self.shelf.save_job(job, self.now())
        except PASSING as error:
            log.warning("Temporary data of job %s stay for now: %s", job.id, error)
            return False
        except RevisionConflict:
            return False
        except Exception as error:  # of a task manager: the next job has its turn all the same
            log.warning("Temporary data of job %s cannot be wiped", job.id, exc_info=True)
            self.report.errors[job.id] = text_of(error)
            return False
        self.report.archived.append(job.id)
        return True

    def _wipe(self, task: Task, *, temporary_only: bool = False) -> None:
        try:
            manager = get_task_manager(task)
        except RegistryError as error:
            log.warning("Task %s is not wiped: %s", task.id, error)
            return
        if not (temporary_only and is_final(task, manager)):
            manager.wipe()
