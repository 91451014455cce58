"""The registry runs of a job: the one that publishes it, and one for each attempt of a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import orjson

from prefect_registry.errors import RegistryError
from prefect_registry.ingestion.enums import EXPORT_TAG, Level
from prefect_registry.ingestion.errors import UnexpectedError
from prefect_registry.ingestion.models import Claim, Job, Task, TaskNote
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.records.base import LARGEST_VALUE_BYTES, text_of
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.runs import Decision, failure

log = logging.getLogger("prefect_registry")
T = TypeVar("T")

LEASE_SECONDS = 7 * 86_400.0
"""Of a job's run: how long no tick may come by before anyone may abort it."""
PURPOSE = "publication "
"""What the purposes of jobs' runs begin with."""
_RECORDED = frozenset(Job.model_fields) - {
    "id", "collection", "start", "end", "status", "context", "archived", "keep_all_data", "created", "modified",
    "tasks", "run", "flow_run",
}  # fmt: skip
"""Fields of a job that task managers write, beside its context."""


class TickRun:
    """The registry run of one tick: it is what a claim names, so that others can tell whether its process is dead.

    Begun when first needed; its heartbeat comes from a thread of this process. It publishes nothing.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._id: str | None = None

    def claim(self, key: str, now: datetime) -> Claim:
        """A claim on a start under ``key``."""
        if self._id is None:
            self._id = self._ledger.begin(RunSpec("publications tick")).begin.run_id
        return Claim(run=self._id, key=key, at=now)

    def is_own(self, claim: Claim) -> bool:
        """Whether this tick made the claim."""
        return claim.run == self._id

    def close(self) -> None:
        """Nothing is claimed any more. When the store does not answer, others wait until the lease is over."""
        run, self._id = self._id, None
        if run is None:
            return
        try:
            self._ledger.commit(run, notes="A tick publishes nothing itself")
        except RegistryError as error:
            log.warning("The tick's run %s could not be closed: %s", run, error)


class Attempts:
    """Begins, decides and reads those runs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def begin_job(self, job: Job) -> str:
        """A run for a job, which outlives every process that works on it."""
        spec = RunSpec(
            (PURPOSE + job.collection)[:2_000], config={"job": job.id}, lease_seconds=LEASE_SECONDS, detached=True
        )
        return self._ledger.begin(spec).begin.run_id

    def begin(self, job: Job, task: Task, remote: bool) -> str:
        """A run for one attempt, nested in the job's. That of a remote task belongs to no process either."""
        spec = RunSpec(
            f"{job.id} {task.name or task.type}"[:2_000],
            config={"job": job.id, "task": task.order, "key": task.key},
            parent=job.run,
            lease_seconds=LEASE_SECONDS if remote else None,
            detached=remote,
        )
        return self._ledger.begin(spec).begin.run_id

    def keep(self, job: Job) -> None:
        """Signs of life for the job's run, and for the attempt of the task that is running remotely."""
        for run in (job.run, *(t.attempt for t in job.tasks if t.attempt is not None and t.end is None)):
            begin = self._ledger.store.begin(run) if run is not None else None
            if begin is not None and begin.lease_seconds == LEASE_SECONDS:
                self._ledger.beats.sign(begin)

    def drop(self, run: str | None, error: str, message: str) -> Decision | None:
        """Abort a run; what it staged is never visible. Returns the decision that is there now."""
        if run is None:
            return None
        return self._ledger.abort(run, failure(error, message), message[:2_000])

    def drop_quietly(self, run: str | None, message: str) -> None:
        """The same, for a run that nothing refers to: if that fails, the run around it drops it, or its lease ends."""
        try:
            self.drop(run, "NotNeeded", message)
        except RegistryError as error:
            log.debug("Run %s could not be aborted: %s", run, error)

    def decision(self, run: str | None) -> Decision | None:
        """How a run was decided, None while it is not."""
        return self._ledger.store.decision(run) if run is not None else None

    def commit(self, run: str, told: Any = None) -> Decision:
        """Keep what an attempt staged, and with it what its manager recorded. Again is a no-op; ``RunAborted``."""
        return self._ledger.commit(run, result=told).decision

    def rows(self, decision: Decision) -> int:
        """The rows of the datasets that a committed run and those nested in it have staged, exports aside."""
        return sum(dataset.rows or 0 for dataset in self._staged(decision))

    def kinds(self, decision: Decision) -> set[str]:
        """The kinds of these datasets."""
        return {dataset.kind for dataset in self._staged(decision)}

    def _staged(self, decision: Decision) -> Iterator[DatasetGeneration]:
        store = self._ledger.store
        members = store.members(decision)
        keys = [paths.dataset_key(decision.run_id, suffix, gen) for suffix, gen in members.datasets.items()]
        for dataset in store.read_many(keys, DatasetGeneration) if keys else []:
            if dataset is not None and dataset.step == "staged" and EXPORT_TAG not in dataset.tags:
                yield dataset
        for child in members.runs:
            nested = store.decision(child)
            if nested is not None and nested.committed:
                yield from self._staged(nested)


# -- what a manager recorded, kept with its attempt ----------------------------------------------------------------


def recorder(job: Job, task: Task) -> Callable[[], dict[str, Any]]:
    """Call the result when a manager is done: what it has changed in the job, as JSON."""
    before, context = job.model_dump(mode="json", include=set(_RECORDED)), dict(job.context)

    def changed() -> dict[str, Any]:
        after = job.model_dump(mode="json", include=set(_RECORDED))
        return {
            "job": {name: value for name, value in after.items() if value != before[name]},
            "context": {k: v for k, v in job.context.items() if k not in context or context[k] != v},
            "notes": [note.as_value() for note in task.notes],
        }

    return changed


def asked(job: Job, task: Task, call: Callable[[], T]) -> T:
    """What a manager answers. Raises ``UnexpectedError`` when it has recorded what no job can hold: that is dropped, or
    else no step of the job could be stored any more.
    """
    before = job.as_value()
    try:
        told = call()
    except Exception:  # is raised again, when what cannot be stored is forgotten
        if _problem_of(job) is not None:
            _forget(job, task, before)
        raise
    problem = _problem_of(job)
    if problem is not None:
        _forget(job, task, before)
        raise UnexpectedError(
            f"What task {task.id} recorded cannot be stored",
            why=problem,
            todo="Keep it as a dataset, and only what tells of it with the job",
        )
    return told


def _problem_of(job: Job) -> str | None:
    try:
        size = len(orjson.dumps(job.as_value()))
    except (TypeError, ValueError) as error:
        return text_of(error)[:500]
    most = LARGEST_VALUE_BYTES
    return f"The job has {size:,} bytes with it; at most {most:,} fit" if size > most else None


def _forget(job: Job, task: Task, before: dict[str, Any]) -> None:
    kept = Job.model_validate(before)
    for name in (*_RECORDED, "context"):
        setattr(job, name, getattr(kept, name))
    task.notes = []


def recover(job: Job, task: Task, decision: Decision) -> None:
    """Take over what the manager of a committed attempt had recorded before its process died."""
    told = decision.result
    if not isinstance(told, dict) or "context" not in told:
        task.notes.append(TaskNote(level=Level.WARNING, note="What the task recorded was lost with its process"))
        return
    for name, value in told.get("job", {}).items():
        if name in _RECORDED:
            setattr(job, name, value)
    fresh = Job.model_validate(job.model_dump(mode="json", include={"id", "collection", *_RECORDED}))
    for name in _RECORDED:
        setattr(job, name, getattr(fresh, name))
    job.context.update(told["context"])
    task.notes = [TaskNote.model_validate(note) for note in told.get("notes", [])]
