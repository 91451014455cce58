"""``Ingestion``: publications of a registry, and the jobs that retrieve them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from prefect_registry.asynchronous import twin
from prefect_registry.errors import InvalidState, NotFound, RegistryError, RevisionConflict
from prefect_registry.ingestion import due
from prefect_registry.ingestion.attempts import Attempts, TickRun
from prefect_registry.ingestion.cells import JobSummary, Seen, Shelf
from prefect_registry.ingestion.checking import is_unchanged
from prefect_registry.ingestion.defining import Publications
from prefect_registry.ingestion.enums import Result, RetrievalFrequency, Status
from prefect_registry.ingestion.http.scratch import sweep_scratch
from prefect_registry.ingestion.managers import Maker
from prefect_registry.ingestion.models import Collection, Job, Task
from prefect_registry.ingestion.periods import Period, filled, placeholders_in
from prefect_registry.ingestion.plans import in_order
from prefect_registry.ingestion.processing import Processor, TickReport
from prefect_registry.ingestion.pruning import Pruner
from prefect_registry.ingestion.removing import Removing
from prefect_registry.records.base import text_of

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

log = logging.getLogger("prefect_registry")
ORPHANED_FOR = timedelta(days=1)
"""How long ago a run was begun that no job refers to when a tick drops it."""
_UNPUBLISHED = 0.99
"""So much at most is done of a job that is not published."""


class Ingestion(Removing):
    """Scheduled ingestion on one registry.

    Args:
        registry: Where publications, jobs and what they publish are.
        managers: Task managers for task types, beside those that packages have registered.
        now: What time it is; the store's, unless given.
        progress: Called with a job and how much of it is done, from 0 to 1, while it is worked on; often, so it must
            return at once. What it raises is logged, and stops nothing.

    >>> from prefect_registry import Registry
    >>> ingestion = Ingestion(Registry("memory://docs-ingestion"))
    >>> flights = Collection(id="flights", retrieval_frequency="MONTHLY", plan=[{"type": "callable"}])
    >>> _ = ingestion.put(flights)
    >>> [(p.id, p.is_out_of_date()) for p in ingestion.publications()]
    [('flights', True)]
    """

    def __init__(
        self,
        registry: Registry,
        *,
        managers: Mapping[str, Maker] | None = None,
        now: Callable[[], datetime] | None = None,
        progress: Callable[[Job, float], None] | None = None,
    ) -> None:
        self.registry = registry
        self.managers: dict[str, Maker] = dict(managers or {})
        self.shelf = Shelf(registry.ledger, registry.catalog, self)
        self._attempts = Attempts(registry.ledger)
        self._given_now = now
        self._progress = progress

    # -- looking -------------------------------------------------------------------------------------------------

    def jobs(self, publication: str) -> list[Job]:
        """The jobs of a publication, newest first."""
        seen = self.shelf.look([publication]).get(publication)
        if seen is None:
            raise NotFound(f"There is no publication {publication!r:.200}", todo="Check the id")
        return self._jobs(seen.collection, seen.jobs)[::-1]

    def _jobs(self, collection: Collection, summaries: Iterable[JobSummary]) -> list[Job]:
        ids = [j.id for j in sorted(summaries, key=lambda j: j.number)]
        return [self.shelf.bind(job, collection) for job in self.shelf.jobs(ids)]

    def get_job(self, id: str) -> Job | None:
        """A job by its id, None when there is none (any more)."""
        found = self.registry.ledger.cells.latest("job", id)
        if found is None or found.deleted:
            return None
        return self.shelf.staged_job(found)

    def kinds(self, publication: str) -> list[str]:
        """The kinds of which the active job has published rows, sorted; exports are none. Raises ``InvalidState`` when
        nothing is published.
        """
        active = self.publication(publication).active_job
        job = self.get_job(active) if active is not None else None
        decision = self._attempts.decision(job.run) if job is not None else None
        if decision is None:
            raise InvalidState(f"Publication {publication} has no active job", todo="Publish a job first")
        return sorted(self._attempts.kinds(decision))

    def is_out_of_date(self, collection: Collection) -> bool:
        """See :meth:`Collection.is_out_of_date`."""
        seen = self.shelf.look([collection.id]).get(collection.id) or Seen(collection)
        return self._is_due(collection, seen, self._last_jobs([seen]))

    def _is_due(self, collection: Collection, seen: Seen, last_jobs: Mapping[str, Job]) -> bool:
        last = seen.last
        if last is None or self._may_be_due(seen):
            job = last_jobs.get(last.id) if last is not None else None
            return due.is_out_of_date(collection, job, bool(seen.incomplete), self.now())
        return False

    def _may_be_due(self, seen: Seen) -> bool:
        """Whether it takes a look into the last job: no frequency is shorter than a week."""
        collection, last = seen.collection, seen.last
        if collection.frozen or collection.retrieval_frequency in ("", RetrievalFrequency.NEVER) or last is None:
            return False
        return last.start is not None and self.now().date() >= _week_after(last.start)

    def _last_jobs(self, found: Iterable[Seen]) -> dict[str, Job]:
        """The last job of each publication that may be due, by its id."""
        ids = [seen.last.id for seen in found if seen.last is not None and self._may_be_due(seen)]
        return {job.id: job for job in self.shelf.jobs(ids)}

    # -- working -------------------------------------------------------------------------------------------------

    def create_job(self, id: str, period: str | None = None) -> Job | None:
        """Plan a job now, by hand. None, and a warning, when there is no need: the publication is due, so that the next
        tick makes one, or has a job that is not complete.

        Args:
            period: The part of the past that it is to retrieve: ``2013-01-31``, ``2013-01`` or ``2013``. It takes the
                place of ``{period}``, ``{date_from}`` and ``{date_to}`` in the options of the tasks, and the job has it
                as ``date_from`` and ``date_to``. Then it matters only that no job is at work.
        """
        wanted = Period.parse(period) if period is not None else None
        self.publication(id)
        seen = self.shelf.look([id]).get(id)
        if (
            seen is None
            or seen.incomplete
            or (wanted is None and self._is_due(seen.collection, seen, self._last_jobs([seen])))
        ):
            log.warning("Publication %s has an incomplete job, or is due: there is no new one", id)
            return None
        return self._create(seen, TickReport(), wanted)

    def _create(self, seen: Seen, report: TickReport, period: Period | None = None) -> Job | None:
        """The next job of a publication; None when somebody else has just made it.

        Its number is one more than the highest that was ever used, and the first to create it has it: two managers that
        both find the publication due make one job.
        """
        job = _draft(seen.collection, seen.highest + 1, self.now(), period)
        try:
            self.shelf.save_job(job, self.now())
        except RevisionConflict:
            log.info("Job %s was made by somebody else", job.id)
            return None
        report.created.append(job.id)
        return self.shelf.bind(job, seen.collection)

    def process(self, collection: Collection, *, dry_run: bool = False) -> TickReport:
        """Make a job if the publication is due, and advance each of its incomplete jobs by at most one task start."""
        report = TickReport(dry_run)
        seen = self.shelf.look([collection.id])
        self._work(seen, report)
        return report

    def tick(self, *, dry_run: bool = False) -> TickReport:
        """:meth:`process` for every publication; then delete the temporary data of jobs that have ended.

        May run at any time, anywhere, several at once: they share the work. What one publication's job raises stops no
        other.
        """
        report = TickReport(dry_run)
        seen = self.shelf.look()
        self._work(seen, report)
        if not dry_run:
            self._archive(seen, report)
            for run in self.shelf.orphans(self.registry.ledger.store.clock.now() - ORPHANED_FOR):
                self._attempts.drop_quietly(run, "no job refers to it")
            self._sweep(seen)
        return report

    def _work(self, found: Mapping[str, Seen], report: TickReport) -> None:
        tick = TickRun(self.registry.ledger)
        processor = Processor(self.shelf, self._attempts, tick, self.now, report)
        last = self._last_jobs(found.values())
        try:
            for seen in found.values():
                try:
                    self._process(seen, last, processor, report)
                except Exception as error:
                    log.warning("Publication %s cannot be worked on", seen.collection.id, exc_info=True)
                    report.errors[seen.collection.id] = text_of(error)
        finally:
            tick.close()

    def _process(self, seen: Seen, last: Mapping[str, Job], processor: Processor, report: TickReport) -> None:
        incomplete: list[tuple[str, int | None]] = [(j.id, j.gen) for j in seen.incomplete]
        is_due = self._is_due(seen.collection, seen, last)
        if (is_due or incomplete) and not report.dry_run and self._given_now is None:
            self.registry.ledger.store.know_time()  # a clock that jumped must not make jobs, or end time limits
            is_due = self._is_due(seen.collection, seen, last)
        if is_due:
            if report.dry_run:
                log.info("Would create a job of publication %s", seen.collection.id)
                report.created.append(f"{seen.collection.id}/{seen.highest + 1}")
            elif self.shelf.is_removed(seen.collection.id):
                log.info("Publication %s was removed", seen.collection.id)
            elif self._is_unchanged(seen, report):
                return
            else:
                made = self._create(seen, report)
                # One that somebody else has made, and that the index does not show, has its turn too.
                incomplete.append((f"{seen.collection.id}/{seen.highest + 1}", made.gen if made is not None else None))
        for id, gen in incomplete:
            if report.dry_run:
                self._tell(seen.collection, id)
                continue
            published = processor.advance(seen.collection, id, gen)
            if published is not None:
                self._prune(published, report)

    def _tell(self, collection: Collection, id: str) -> None:
        for job in self.shelf.jobs([id]):
            for task in job.tasks:
                if task.status != Status.COMPLETED:
                    log.info("Would go on with task %s, which is %s", task.id, task.status)

    def _is_unchanged(self, seen: Seen, report: TickReport) -> bool:
        """Whether no source has changed: then that is recorded, and no job is made."""
        collection = seen.collection
        if collection.active_job is None:
            return False
        draft = self.shelf.bind(_draft(collection, seen.highest + 1, self.now()), collection)
        previous = draft.tasks[0].scope.previous
        before = deepcopy(previous.context) if previous is not None else None
        if previous is None or not is_unchanged(draft, previous):
            return False
        if previous.context != before:
            try:
                self.shelf.save_job(previous, self.now())
            except RevisionConflict:
                log.info("What was learned of the sources of %s is learned again next time", collection.id)
        self.shelf.change_publication(collection.id, self.now(), last_checked=self.now())
        report.unchanged.append(collection.id)
        return True

    def tell_progress(self, job: Job, within: float = 0.0) -> None:
        """Tell who was given as ``progress`` how much of a job is done, and ``within`` its present task. All of it only
        when it is published.
        """
        if self._progress is None or not job.tasks:
            return
        ended = sum(task.status == Status.COMPLETED and task.result == Result.OK for task in job.tasks)
        done = 1.0 if job.successful else min((ended + within) / len(job.tasks), _UNPUBLISHED)
        try:
            self._progress(job, done)
        except Exception:  # a courtesy, which stops nobody's work
            log.warning("The progress of job %s could not be told", job.id, exc_info=True)

    # -- deleting ------------------------------------------------------------------------------------------------

    def delete_older_jobs(self, collection: Collection, job: Job, *, dry_run: bool = False) -> TickReport:
        """Delete old jobs of a publication: failed ones after 180 days, and successful ones that have no more than 10 %
        more than ``job``, except the newest of them and the active job.
        """
        report = TickReport(dry_run)
        self._delete_older(collection, job, report)
        return report

    def _delete_older(self, collection: Collection, job: Job, report: TickReport) -> None:
        seen = self.shelf.look([collection.id]).get(collection.id) or Seen(collection)
        others = self._jobs(seen.collection, seen.jobs)
        Pruner(self.shelf, self.now, report).delete_older_jobs(seen.collection, job, others, report.dry_run)

    def _prune(self, job: Job, report: TickReport) -> None:
        """After a success. What goes wrong is done by the next one."""
        try:
            self._delete_older(self.publication(job.collection), job, report)
        except RegistryError as error:
            log.warning("Old jobs of %s could not be deleted: %s", job.collection, error)
            report.errors[job.id] = text_of(error)

    def delete_jobs(self, *, dry_run: bool = False) -> TickReport:
        """:meth:`delete_older_jobs` for every publication that has an active job; the others are told."""
        report = TickReport(dry_run)
        for collection in self.publications():
            active = self.get_job(collection.active_job) if collection.active_job is not None else None
            if active is None:
                log.warning("Publication %s has no active job: none of its jobs is deleted", collection.id)
            else:
                self._delete_older(collection, active, report)
        return report

    def delete_job(self, id: str) -> None:
        """Delete one job, whatever its age. Raises ``InvalidState`` for the active one, ``NotFound``, and
        ``RecoverableError`` when a task cannot be wiped now: nothing is deleted then.
        """
        job = self.get_job(id)
        if job is None:
            raise NotFound(f"There is no job {id!r:.200}", todo="Check the id")
        collection = self.publication(job.collection)
        if collection.active_job == id:
            raise InvalidState(f"Job {id} is what readers of {collection.id} see", todo="Publish another job first")
        if job.status != Status.COMPLETED and job.run is not None:
            self._attempts.drop(job.run, "JobFailed", "the job was deleted")
        Pruner(self.shelf, self.now, TickReport()).delete(collection, job, "deleted by hand")

    def _archive(self, found: Mapping[str, Seen], report: TickReport) -> None:
        pruner = Pruner(self.shelf, self.now, report)
        for seen in found.values():
            waiting = [j for j in seen.jobs if not (j.incomplete or j.archived or j.keep_all_data)]
            for job in self._jobs(seen.collection, waiting):
                pruner.archive(seen.collection, job)

    def _sweep(self, found: Mapping[str, Seen]) -> None:
        """Remove what downloads of jobs that have ended, elsewhere or by somebody's hand, have left on this host."""
        needed = {j.id for seen in found.values() for j in seen.incomplete}
        needed |= {f"{seen.collection.id}/{seen.highest + 1}" for seen in found.values()}
        sweep_scratch(self.registry.registry_id, self.registry.url, lambda task: task.rpartition("/")[0] in needed)

    ajobs = twin(jobs)
    aget_job = twin(get_job)
    ais_out_of_date = twin(is_out_of_date)
    akinds = twin(kinds)
    atick = twin(tick)
    aprocess = twin(process)
    acreate_job = twin(create_job)
    adelete_older_jobs = twin(delete_older_jobs)
    adelete_jobs = twin(delete_jobs)
    adelete_job = twin(delete_job)


def _draft(collection: Collection, number: int, now: datetime, period: Period | None = None) -> Job:
    """A job that is planned, with a task for each entry of the publication's plan."""
    if not collection.plan:
        raise InvalidState(f"Publication {collection.id} has no plan", todo="Add tasks to its definition")
    id = f"{collection.id}/{number}"
    first = period.first if period is not None else collection.date_from
    last = period.last if period is not None else collection.date_to
    values = {name: str(day) for name, day in (("{date_from}", first), ("{date_to}", last)) if day is not None}
    if period is not None:
        values["{period}"] = period.text
    tasks = [
        Task(
            id=f"{id}/{order}",
            job=id,
            order=order,
            name=entry.label,
            created=now,
            options=filled(entry.options, values),
            **entry.model_dump(exclude={"name", "after", "options"}),
        )
        for order, entry in enumerate(in_order(collection.plan), start=1)
    ]
    missing = {name for task in tasks for name in placeholders_in(task.options)}
    if missing:
        raise InvalidState(
            f"Publication {collection.id} needs a period",
            why=f"The options of its tasks have {', '.join(sorted(missing))}",
            todo=f"Run it for one: prefect-registry publications run {collection.id} --for 2013-01",
            committed="no",
        )
    return Job(
        id=id, collection=collection.id, created=now, tasks=tasks, keep_all_data=collection.keep_all_data,
        date_from=first, date_to=last, ocid_prefix=collection.ocid_prefix,
        context={"period": period.text} if period is not None else {},
    )  # fmt: skip


def _week_after(start: str) -> date:
    return (datetime.fromisoformat(start) + timedelta(days=7)).date()


def process(collection: Collection, *, dry_run: bool = False) -> TickReport:
    """:meth:`Ingestion.process` of the registry that the publication was read from."""
    return collection.ingestion.process(collection, dry_run=dry_run)


def delete_older_jobs(collection: Collection, job: Job, *, dry_run: bool = False) -> TickReport:
    """:meth:`Ingestion.delete_older_jobs` of the registry that the publication was read from."""
    return collection.ingestion.delete_older_jobs(collection, job, dry_run=dry_run)


__all__ = ["Ingestion", "Publications", "delete_older_jobs", "process"]
