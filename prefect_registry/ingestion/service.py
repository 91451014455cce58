"""``Ingestion``: publications of a registry, and the jobs that retrieve them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from prefect_registry.asynchronous import twin
from prefect_registry.errors import InvalidInput, InvalidState, NotFound, RegistryError, RevisionConflict
from prefect_registry.ingestion import due
from prefect_registry.ingestion.attempts import Attempts, TickRun
from prefect_registry.ingestion.cells import JobSummary, Seen, Shelf
from prefect_registry.ingestion.enums import RetrievalFrequency, Status
from prefect_registry.ingestion.managers import Maker, get_task_manager
from prefect_registry.ingestion.models import STATE, Collection, Job, Task
from prefect_registry.ingestion.plans import in_order, plan_problems
from prefect_registry.ingestion.processing import Processor, TickReport
from prefect_registry.ingestion.pruning import Pruner
from prefect_registry.names import name_problems
from prefect_registry.records.base import text_of
from prefect_registry.records.cells import CellGeneration

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

log = logging.getLogger("prefect_registry")


@dataclass(frozen=True)
class Difference:
    """What applying a definition does to a publication, and to which of its fields. ``absent`` ones are not defined,
    and are left alone.
    """

    id: str
    action: Literal["create", "update", "unchanged", "absent"]
    fields: tuple[str, ...] = ()


class Publications:
    """Publications of one state of the registry, by id."""

    def __init__(self, found: Mapping[str, Seen]) -> None:
        self._found = found

    def __iter__(self) -> Iterator[Collection]:
        return (seen.collection for seen in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def visible(self) -> Publications:
        """Those that the public sees: public, with data or a reason for having none."""
        return Publications({id: seen for id, seen in self._found.items() if seen.collection.visible})


class Ingestion:
    """Scheduled ingestion on one registry.

    Args:
        registry: Where publications, jobs and what they publish are.
        managers: Task managers for task types, beside those that packages have registered.
        now: What time it is; the store's, unless given.

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
    ) -> None:
        self.registry = registry
        self.managers: dict[str, Maker] = dict(managers or {})
        self.shelf = Shelf(registry.ledger, registry.catalog, self)
        self._attempts = Attempts(registry.ledger)
        self._given_now = now

    def now(self) -> datetime:
        """What time it is, in UTC."""
        return (self._given_now or self.registry.ledger.store.clock.now)().astimezone(UTC)

    # -- looking -------------------------------------------------------------------------------------------------

    def publications(self) -> Publications:
        """All publications."""
        return Publications(self.shelf.look())

    def publication(self, id: str) -> Collection:
        """One of them. Raises ``NotFound``."""
        found = self.shelf.publication(id)
        if found is None:
            raise NotFound(f"There is no publication {id!r:.200}", todo="Check the id, or apply its definition")
        return found

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

    def history(self, publication: str) -> list[CellGeneration]:
        """Every state that a publication was in, oldest first."""
        return self.registry.ledger.cells.history("publication", publication)

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

    # -- defining ------------------------------------------------------------------------------------------------

    def put(self, collection: Collection) -> Collection:
        """Add a publication, or change the definition of one. What its jobs have written of it stays.

        Raises:
            InvalidInput: Lists every problem.
        """
        problems = [*name_problems(collection.id, "id"), *plan_problems(collection.plan).values()]
        if "/" in str(collection.id):
            problems.append(f"id {collection.id!r:.80} has a slash")
        if problems:
            raise InvalidInput.of(f"publication {collection.id!r:.80}", problems)
        kept = kept_of(collection)
        wanted = collection.model_dump(exclude=kept)
        for attempt in range(10):
            found = self.shelf.publication(collection.id)
            if found is not None and found.model_dump(exclude=kept) == wanted:
                return found
            merged = Collection.model_validate({**(found.model_dump(include=kept) if found else {}), **wanted})
            merged._gen, merged._ingestion = self._base_of(collection.id), self
            try:
                self.shelf.save_publication(merged, self.now())
            except RevisionConflict:
                if attempt == 9:
                    raise
                continue
            return merged
        raise AssertionError("unreachable")

    def compare(self, collections: Iterable[Collection]) -> list[Difference]:
        """What :meth:`put` would change of publications, by id; with it, those that are not among ``collections``."""
        now = {c.id: c for c in self.publications()}
        found = [_difference(c, now.get(c.id)) for c in collections]
        known = {d.id for d in found}
        found += [Difference(id, "absent") for id in now if id not in known]
        return sorted(found, key=lambda d: d.id)

    def _base_of(self, id: str) -> int | None:
        """The generation to write on: also that of a tombstone."""
        found = self.registry.ledger.cells.latest("publication", id)
        return found.gen if found is not None else None

    def pause(self, id: str, frozen: bool = True) -> Collection:
        """Leave a publication alone from now on, or no longer. Jobs that are at work go on."""
        found = self.shelf.change_publication(id, self.now(), frozen=frozen)
        return found if found is not None else self.publication(id)

    # -- working -------------------------------------------------------------------------------------------------

    def create_job(self, id: str) -> Job | None:
        """Plan a job now, by hand. None, and a warning, when there is no need: the publication is due, so that the next
        tick makes one, or has a job that is not complete.
        """
        self.publication(id)
        seen = self.shelf.look([id]).get(id)
        if seen is None or seen.incomplete or self._is_due(seen.collection, seen, self._last_jobs([seen])):
            log.warning("Publication %s has an incomplete job, or is due: there is no new one", id)
            return None
        return self._create(seen, TickReport())

    def _create(self, seen: Seen, report: TickReport) -> Job | None:
        """The next job of a publication; None when somebody else has just made it.

        Its number is one more than the highest that was ever used, and the first to create it has it: two managers that
        both find the publication due make one job.
        """
        job = _draft(seen.collection, seen.highest + 1, self.now())
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
        if is_due and not report.dry_run and self._given_now is None:
            self.registry.ledger.store.know_time()  # a clock that jumped must not make jobs
            is_due = self._is_due(seen.collection, seen, last)
        if is_due:
            if report.dry_run:
                log.info("Would create a job of publication %s", seen.collection.id)
                report.created.append(f"{seen.collection.id}/{seen.highest + 1}")
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
        """Whether the first task's manager says that the source is what it was: then that is recorded, and no job is
        made.
        """
        collection = seen.collection
        if collection.active_job is None:
            return False
        draft = self.shelf.bind(_draft(collection, seen.highest + 1, self.now()), collection)
        try:
            changed = get_task_manager(draft.tasks[0]).has_changed()
        except Exception as error:  # then the job will show what is wrong
            log.warning("It cannot be told whether the source of %s has changed: %s", collection.id, error)
            return False
        if changed is not False:
            return False
        self.shelf.change_publication(collection.id, self.now(), last_checked=self.now())
        report.unchanged.append(collection.id)
        return True

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

    aput = twin(put)
    apublications = twin(publications)
    ajobs = twin(jobs)
    atick = twin(tick)
    aprocess = twin(process)
    acreate_job = twin(create_job)
    adelete_older_jobs = twin(delete_older_jobs)


def _draft(collection: Collection, number: int, now: datetime) -> Job:
    """A job that is planned, with a task for each entry of the publication's plan."""
    if not collection.plan:
        raise InvalidState(f"Publication {collection.id} has no plan", todo="Add tasks to its definition")
    id = f"{collection.id}/{number}"
    tasks = [
        Task(
            id=f"{id}/{order}",
            job=id,
            order=order,
            name=entry.label,
            created=now,
            **entry.model_dump(exclude={"name", "after"}),
        )
        for order, entry in enumerate(in_order(collection.plan), start=1)
    ]
    return Job(
        id=id, collection=collection.id, created=now, tasks=tasks, keep_all_data=collection.keep_all_data,
        date_from=collection.date_from, date_to=collection.date_to, ocid_prefix=collection.ocid_prefix,
    )  # fmt: skip


def kept_of(definition: Collection) -> set[str]:
    """Fields of a publication that a definition leaves as they are: what jobs write; and whether it is frozen, and its
    policy, unless it says so.
    """
    return {*STATE, *({"frozen", "publication_policy"} - definition.model_fields_set)}


def _difference(wanted: Collection, now: Collection | None) -> Difference:
    if now is None:
        return Difference(wanted.id, "create")
    kept = kept_of(wanted)
    before, after = now.model_dump(exclude=kept), wanted.model_dump(exclude=kept)
    changed = tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))
    return Difference(wanted.id, "update" if changed else "unchanged", changed)


def _week_after(start: str) -> date:
    return (datetime.fromisoformat(start) + timedelta(days=7)).date()


def process(collection: Collection, *, dry_run: bool = False) -> TickReport:
    """:meth:`Ingestion.process` of the registry that the publication was read from."""
    return collection.ingestion.process(collection, dry_run=dry_run)


def delete_older_jobs(collection: Collection, job: Job, *, dry_run: bool = False) -> TickReport:
    """:meth:`Ingestion.delete_older_jobs` of the registry that the publication was read from."""
    return collection.ingestion.delete_older_jobs(collection, job, dry_run=dry_run)


__all__ = ["Ingestion", "Publications", "delete_older_jobs", "process"]
