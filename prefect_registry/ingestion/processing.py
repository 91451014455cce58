"""Advancing the jobs of a publication, by at most one task start each (reference system 5, ``process``).

Several managers may do this at the same time, and each may die at any point. What keeps them apart: a job's state is
one cell, each step one generation that is created on top of the one it was computed from; and before a task is started,
a generation says who is about to do so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prefect_registry.errors import RegistryError, RevisionConflict, RunAborted, StorageError, UndecidedConflict
from prefect_registry.ingestion.attempts import Attempts, TickRun, asked, recorder, recover
from prefect_registry.ingestion.cells import Shelf
from prefect_registry.ingestion.enums import Level, Result, Status
from prefect_registry.ingestion.errors import PASSING
from prefect_registry.ingestion.judging import judge
from prefect_registry.ingestion.managers import TaskManager, get_task_manager
from prefect_registry.ingestion.models import Collection, Job, Task, TaskNote
from prefect_registry.records.base import text_of
from prefect_registry.records.runs import Decision

log = logging.getLogger("prefect_registry")
LONGEST_BACKOFF_SECONDS = 3_600.0


class Elsewhere(Exception):
    """Somebody else works on the job, or it cannot be gone on with now: it is left alone until the next time."""


@dataclass(frozen=True)
class Change:
    """A job or one of its tasks (``task`` is its order) is in another state: ``was`` and ``now``."""

    publication: str
    job: str
    task: int | None
    was: str
    now: str
    note: str = ""


@dataclass
class TickReport:
    """What a tick did: new jobs, changes of state, jobs that were archived or deleted, and what went wrong, by the id
    of the job or publication.
    """

    dry_run: bool = False
    created: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    archived: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


class Processor:
    """Advances jobs.

    Args:
        finish: Publishes a job all of whose tasks are complete.
    """

    def __init__(
        self, shelf: Shelf, attempts: Attempts, tick: TickRun, now: Callable[[], datetime], report: TickReport
    ) -> None:
        self.shelf, self.attempts, self.tick, self.now, self.report = shelf, attempts, tick, now, report

    def advance(self, collection: Collection, id: str, known: int | None) -> Job | None:
        """One step of a job. Returns it when it has just been published.

        Args:
            known: The generation of its cell that the index shows.
        """
        try:
            return self._advance(collection, id, known)
        except (Elsewhere, RevisionConflict) as error:
            log.info("Job %s is left alone: %s", id, error)
        except (RunAborted, UndecidedConflict, StorageError) as error:
            log.warning("Job %s cannot be gone on with now: %s", id, error)
            self.report.errors[id] = str(error)
        return None

    def _advance(self, collection: Collection, id: str, known: int | None) -> Job | None:
        job, staged = self.shelf.job(id, known)
        if job is None or job.status == Status.COMPLETED:
            return None
        self.shelf.bind(job, collection)
        if staged is not None:  # it was about to be published
            return self._publish(self.shelf.bind(self.shelf.staged_job(staged), collection), job)
        decided = self.attempts.decision(job.run)
        if decided is not None:
            self._decided_by_others(job, decided)
            return None
        self.attempts.keep(job)
        gen, before = job.gen, job.as_value()
        for task in sorted(job.tasks, key=lambda t: t.order):
            if task.status != Status.COMPLETED and not self._step(job, task):
                if job.gen == gen and job.as_value() != before:
                    self._save(job)
                return None
        return self._complete(collection, job)

    # -- one task ------------------------------------------------------------------------------------------------

    def _step(self, job: Job, task: Task) -> bool:
        """Go on with a task. True when it has ended well: then the next one has its turn in the same call."""
        try:
            manager = get_task_manager(task)
        except Exception as error:  # the task cannot be: that fails it
            self._fail(job, task, text_of(error))
            return False
        if task.claim is not None:
            self._resolve(job, task, manager)
        if task.not_before is not None and self.now() < task.not_before:
            return False
        if task.status == Status.PLANNED:
            self._start(job, task, manager)
            return False
        return self._look(job, task, manager)

    def _start(self, job: Job, task: Task, manager: TaskManager) -> None:
        """Claim the start of a task, start it, and record that."""
        first = job.status == Status.PLANNED
        new_run = None
        if job.run is None:
            new_run = job.run = self.attempts.begin_job(job)
        task.key = task.key or f"{job.id}/{task.order}/{self.shelf.ledger.store.ids.suffix()}"
        kept = task.attempt if self.attempts.decision(task.attempt) is None else None
        task.attempt = kept or self.attempts.begin(job, task, manager.remote)
        task.claim, task.notes = self.tick.claim(task.key, self.now()), []
        try:
            self.shelf.save_job(job, self.now())
        except RevisionConflict:
            self.attempts.drop_quietly(new_run or (task.attempt if kept is None else None), "somebody else was first")
            raise
        changed = recorder(job, task)
        manager.progress(0.0)
        try:
            asked(job, task, manager.run)
        except PASSING as error:
            self._drop_attempt(task, text_of(error))
            run = job.run
            if first:
                job.run = None
            self._passing(job, task, error)
            if first:  # the job is PLANNED again; its run has nothing in it any more
                self.attempts.drop_quietly(run, text_of(error))
            return
        except Exception as error:  # whatever a manager raises fails its task, and no other job
            log.warning("Task %s cannot be started", task.id, exc_info=True)
            self._fail(job, task, text_of(error))
            return
        if not manager.remote:
            self.attempts.commit(task.attempt, changed())
        task.claim = None
        self._initiate(job, task)
        self._save(job)

    def _initiate(self, job: Job, task: Task, at: datetime | None = None) -> None:
        if job.status == Status.PLANNED:
            job.initiate(at or self.now())
            self._tell(job, None, Status.PLANNED)
        task.initiate(at or self.now())
        self._tell(job, task, Status.PLANNED)

    def _resolve(self, job: Job, task: Task, manager: TaskManager) -> None:
        """Somebody was about to start the task and has not said how that went. Go on only when they are dead."""
        claim = task.claim
        assert claim is not None
        leases = self.shelf.ledger.leases
        if self.tick.is_own(claim) or not (
            self.attempts.decision(claim.run) is not None
            or leases.abort_if_over(claim.run, f"its lease was over, and it was about to start {task.id}")
        ):
            raise Elsewhere(f"{claim.run} is about to start {task.id}")
        if manager.remote:
            started = self._was_started(task, manager, claim.key)
        else:
            decision = self.attempts.drop(task.attempt, "Reaped", "the process that worked on it is gone")
            started = decision is not None and decision.committed
            if started and decision is not None:
                recover(job, task, decision)
        task.claim = None
        if started is False:
            task.start = None
            return
        self._initiate(job, task, claim.at)
        self._save(job)

    def _was_started(self, task: Task, manager: TaskManager, key: str) -> bool | None:
        try:
            return manager.was_started(key)
        except PASSING as error:
            raise Elsewhere(f"It cannot be told now whether {task.id} was started: {error}") from error
        except Exception:  # a manager's own code; to start a task twice is worse than to wait for one that is not
            log.warning("It cannot be told whether %s was started: it counts as started", task.id, exc_info=True)
            return None

    def _look(self, job: Job, task: Task, manager: TaskManager) -> bool:
        """Ask how a RUNNING task stands. True when it has ended well."""
        try:
            status, reason = asked(job, task, manager.get_status)
        except PASSING as error:
            self._passing(job, task, error)
            return False
        except Exception as error:  # as in _start
            log.warning("Task %s cannot be gone on with", task.id, exc_info=True)
            self._fail(job, task, text_of(error))
            return False
        if status != Status.COMPLETED:
            task.progress()
            limit = task.time_limit_seconds
            if limit and task.start is not None and self.now() - task.start > timedelta(seconds=limit):
                self._restart(job, task, manager)
            return False
        if reason:
            self._fail(job, task, reason)
            return False
        return self._succeeded(job, task)

    def _succeeded(self, job: Job, task: Task) -> bool:
        if task.attempt is not None:
            try:
                decision = self.attempts.commit(task.attempt)
            except RunAborted as error:
                if self.attempts.decision(job.run) is None:  # else the job is told so, next time
                    self._fail(job, task, text_of(error))
                return False
            rows = self.attempts.rows(decision)
            if rows:
                job.context["rows"] = int(job.context.get("rows", 0)) + rows
        task.complete(Result.OK, self.now())
        self._tell(job, task, Status.RUNNING)
        return True

    # -- what goes wrong -----------------------------------------------------------------------------------------

    def _passing(self, job: Job, task: Task, error: Exception) -> None:
        """A failure that is expected to pass: remember it, and try again later, unless there were too many."""
        failures = task.failures + 1
        task.claim = None
        if task.max_attempts and failures >= task.max_attempts:
            self._fail(job, task, f"Failed {failures} times in a row: {text_of(error)}")
            return
        log.warning("Task %s: %s", task.id, error)
        task.progress(Result.FAILED, text_of(error))
        wait = min(task.backoff_seconds * 2.0 ** min(failures - 1, 30), LONGEST_BACKOFF_SECONDS)
        task.failures, task.not_before = failures, self.now() + timedelta(seconds=wait)
        self._save(job)

    def _restart(self, job: Job, task: Task, manager: TaskManager) -> None:
        """Its time limit is over: undo it, and start it again under a new key."""
        restarts = task.restarts + 1
        hours = task.time_limit_seconds / 3600
        if task.max_attempts and restarts >= task.max_attempts:
            self._fail(job, task, f"Still running after {hours:g} hour(s), {restarts} times")
            return
        log.warning("Task %s has been running for more than %g hour(s): it is started again", task.id, hours)
        try:
            manager.wipe()
        except PASSING as error:
            self._passing(job, task, error)
            return
        except Exception as error:  # as in _start
            log.warning("Task %s cannot be undone", task.id, exc_info=True)
            self._fail(job, task, text_of(error))
            return
        self._drop_attempt(task, "its time limit was over")
        task.restarts, task.key, task.start, task.status = restarts, "", None, Status.PLANNED
        self._start(job, task, manager)
        if task.status == Status.RUNNING:
            task.notes.append(TaskNote(level=Level.WARNING, note=f"Started again after {hours:g} hour(s)"))
            self._save(job)

    def _drop_attempt(self, task: Task, why: str) -> None:
        self.attempts.drop(task.attempt, "TaskFailed", why)
        task.attempt = None

    def _decided_by_others(self, job: Job, decision: Decision) -> None:
        """Somebody has decided the job's run. Aborted, nothing of the job can be published any more."""
        if decision.committed:
            raise Elsewhere(f"{job.run} is committed")
        task = next((t for t in sorted(job.tasks, key=lambda t: t.order) if t.status != Status.COMPLETED), None)
        why = decision.failure.message if decision.failure is not None else decision.notes or ""
        ended = decision.failure is not None and decision.failure.cls == "JobFailed"
        if task is not None and (task.status == Status.RUNNING or task.claim is not None):
            self._undo(task)
        self._end(job, task or job.tasks[-1], why if ended else f"Run {job.run} was aborted: {why}")

    def _undo(self, task: Task) -> None:
        if task.claim is not None:
            task.start = task.start or task.claim.at
        try:
            get_task_manager(task).wipe()
        except Exception as error:
            log.warning("Task %s could not be undone: %s", task.id, error)

    def _fail(self, job: Job, task: Task, note: str) -> None:
        """The task and its job have failed: nothing of the job is ever visible."""
        decision = self.attempts.drop(job.run, "JobFailed", note)
        if decision is not None and decision.committed:
            raise Elsewhere(f"{job.run} is committed")
        self._end(job, task, note)

    def _end(self, job: Job, task: Task, note: str) -> None:
        now = self.now()
        was, job_was = task.status, job.status
        self.attempts.drop_quietly(task.attempt, note)  # dead with the job's run; this ends its heartbeats
        job.start = job.start or now  # the next one is due after it
        task.start = task.start or (task.claim.at if task.claim is not None else None)
        task.complete(Result.FAILED, now, note or "It failed and did not say why")
        job.complete(now)
        self._save(job)
        self._tell(job, task, was)
        self._tell(job, None, job_was, note)
        try:
            ledger = self.shelf.ledger
            ledger.events.incident("job.failed", job.id, "JobFailed", f"{task.name or task.type}: {note}", job.run)
        except RegistryError as error:
            log.warning("The incident of job %s could not be recorded: %s", job.id, error)

    # -- all tasks are complete ----------------------------------------------------------------------------------

    def _complete(self, collection: Collection, job: Job) -> Job | None:
        """Stage the end of the job in its run, and publish that, unless a quality gate is against it."""
        try:
            refused = judge(collection, job, self.now())
        except PASSING as error:
            log.warning("Whether job %s may be published cannot be told now: %s", job.id, error)
            self.report.errors[job.id] = text_of(error)
            return None
        if refused is not None:
            self._save(job)  # with every reason: one that dies when the run is aborted leaves only their sum
            self._fail(job, max(job.tasks, key=lambda t: t.order), refused)
            return None
        visible = job.model_copy()
        job.complete(self.now())
        self.shelf.save_job(job, self.now(), run=job.run)
        return self._publish(job, visible)

    def _publish(self, job: Job, before: Job) -> Job:
        """One decision: what the tasks staged, the job's end, and that it is the one that readers see."""
        assert job.run is not None
        found = self.shelf.publication(job.collection, job.run)
        if found is None:
            self._fail(before, before.tasks[-1], "The publication was deleted")
            raise Elsewhere("its publication was deleted")
        if found.active_job != job.id:
            first = min(job.tasks, key=lambda t: t.order, default=None)
            ended = (first.end if first is not None else None) or self.now()
            found.active_job, found.last_retrieved = job.id, ended.date()
            found.publication_policy = found.publication_policy or job.publication_policy
            self.shelf.save_publication(found, self.now(), run=job.run)
        else:
            self.shelf.touch_staged(found.id, job.run)
        self.attempts.commit(job.run)
        self._tell(job, None, Status.RUNNING)
        return job

    # -- help ----------------------------------------------------------------------------------------------------

    def _save(self, job: Job) -> None:
        self.shelf.save_job(job, self.now())

    def _tell(self, job: Job, task: Task | None, was: Status, note: str = "") -> None:
        subject = task if task is not None else job
        if subject.status != was:
            told = note or (task.note if task is not None else "")
            self.report.changes.append(
                Change(job.collection, job.id, task.order if task is not None else None, was, subject.status, told)
            )
            if subject.status == Status.COMPLETED:
                job.ingestion.tell_progress(job)
