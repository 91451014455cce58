"""Removing publications: nobody works on one any more, and what it has published stays with the registry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from prefect_registry.asynchronous import twin
from prefect_registry.errors import NotFound, RevisionConflict
from prefect_registry.ingestion.attempts import Attempts
from prefect_registry.ingestion.cells import Shelf
from prefect_registry.ingestion.defining import Defining
from prefect_registry.ingestion.models import Collection, Job, bound
from prefect_registry.ingestion.processing import TickReport
from prefect_registry.ingestion.pruning import Pruner
from prefect_registry.records.base import text_of

if TYPE_CHECKING:
    from prefect_registry.ingestion.service import Ingestion

log = logging.getLogger("prefect_registry")
_REASON = "the publication was removed"


class Removing(Defining):
    """Publications of :class:`Ingestion` that are no longer wanted."""

    shelf: Shelf
    _attempts: Attempts

    def remove(self, id: str, *, dry_run: bool = True) -> TickReport:
        """Remove a publication and its jobs. May be called again, to finish what was interrupted.

        A job that is not complete ends: its tasks are wiped, and nothing of it is ever visible; so are the tasks of
        jobs that failed. Of the others only what is not final is wiped. What was published stays in its tables, under
        the rules of retention. The publication's history stays, and :meth:`past_jobs`; a publication of the same name
        goes on with their numbers.

        Args:
            dry_run: Only tell which jobs go: ``deleted`` of the report.

        Returns:
            ``errors`` has the jobs whose tasks cannot be wiped now: call it again.

        Raises:
            NotFound: There is no such publication, and nothing is left of one.
            UndecidedConflict, RevisionConflict: A job is just being published, or somebody changes it: try again.
        """
        report = TickReport(dry_run)
        now, last = self.shelf.publication(id), self._last_state(id)
        jobs = self.shelf.left_jobs(id)
        removed = now is None and self.shelf.is_removed(id)
        if last is None or (removed and not jobs):
            raise NotFound(f"There is no publication {id!r:.200}", todo="Check the id", committed="no")
        if dry_run:
            report.deleted = [job.id for job in jobs]
            return report
        if now is not None:  # first, so that nobody makes or publishes another job
            self.shelf.delete_publication(now, _REASON)
            jobs = self.shelf.left_jobs(id)
        for job in jobs:
            try:
                self._remove_job(last, job, report)
            except Exception as error:  # also of a task manager: the others have their turn all the same
                log.warning("Job %s stays for now: %s", job.id, error)
                report.errors[job.id] = text_of(error)
        return report

    def _remove_job(self, collection: Collection, shown: Job, report: TickReport) -> None:
        job, _ = self.shelf.job(shown.id, shown.gen)
        if job is None:
            return
        if job.end is None and job.run is not None:
            decision = self._attempts.drop(job.run, "JobFailed", _REASON)
            if decision is not None and decision.committed:
                raise RevisionConflict(f"Job {job.id} has just been published", todo="Remove it again")
        pruner = Pruner(self.shelf, self.now, report)
        pruner.delete(collection, job, _REASON, temporary_only=job.successful)

    def past_jobs(self, publication: str) -> list[Job]:
        """Every job that a publication of this name ever had, newest first; one that was deleted as it was before."""
        return self.shelf.past_jobs(publication)[::-1]

    def _last_state(self, id: str) -> Collection | None:
        """A publication as it is, or was before it was removed."""
        found = next((g for g in reversed(self.history(id)) if not g.deleted), None)
        return bound(found.value, found.gen, cast("Ingestion", self)) if found is not None else None

    aremove = twin(remove)
    apast_jobs = twin(past_jobs)
