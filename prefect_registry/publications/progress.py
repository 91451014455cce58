"""How far jobs are, in Prefect: a progress artifact for each job that a manager works on, which moves with it."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from prefect_registry.artifacts import slug
from prefect_registry.ingestion.enums import Status
from prefect_registry.ingestion.models import Job
from prefect_registry.runs.flowrun import flow_run_id

log = logging.getLogger("prefect_registry")
PAUSE_SECONDS = 2.0
"""Between two passes over what has changed: so often at most is an artifact written."""
LONGEST_WAIT_SECONDS = 10.0
"""For the last pass, when the work has ended."""


@dataclass(frozen=True)
class JobProgress:
    """How far a job is: ``percent`` is 100 when it is published, and not before; ``key`` is its publication's."""

    job: str
    key: str
    percent: float
    description: str


class ProgressArtifacts:
    """Call it with a job and how much of it is done (0 to 1), as ``Ingestion(progress=...)`` does: it returns at once.

    A thread tells Prefect the newest of each job, with a pause between any two passes, and once more when the block is
    left. A server that is slow, away or full stops nobody: what it was not told is lost, and the registry knows it.

    Args:
        send: What tells Prefect; for tests.
        pause: Waits between two passes until it is told that the work has ended; for tests.
    """

    def __init__(
        self,
        send: Callable[[JobProgress], None] | None = None,
        pause: Callable[[threading.Event], object] | None = None,
    ) -> None:
        self._send = send
        self._pause = pause or (lambda ended: ended.wait(PAUSE_SECONDS))
        self._newest: dict[str, JobProgress] = {}
        self._lock = threading.Lock()
        self._some, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, job: Job, done: float) -> None:
        """Take note of how far a job is."""
        with self._lock:
            self._newest[job.id] = _told(job, done)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=contextvars.copy_context().run, args=(self._work,), daemon=True, name="registry-progress"
                )
                self._thread.start()
        self._some.set()

    def __enter__(self) -> ProgressArtifacts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._some.set()
        if self._thread is not None:
            self._thread.join(LONGEST_WAIT_SECONDS)

    def _work(self) -> None:
        try:
            if self._send is not None:
                self._pass_on(self._send)
                return
            with get_client(sync_client=True) as client:
                self._pass_on(_Artifacts(client, flow_run_id()))
        except Exception:  # a courtesy: whatever Prefect's client has
            log.warning("The progress of jobs is not shown in Prefect", exc_info=True)

    def _pass_on(self, send: Callable[[JobProgress], None]) -> None:
        last = False
        while not last:
            self._some.wait()
            self._some.clear()
            last = self._ended.is_set()  # before the newest is taken: nothing comes after it
            with self._lock:
                newest, self._newest = self._newest, {}
            for each in newest.values():
                try:
                    send(each)
                except Exception as error:
                    log.warning("The progress of job %s is not shown in Prefect: %s", each.job, error)
            if not last:
                self._pause(self._ended)


class _Artifacts:
    """One artifact for each job, created when it is first told of."""

    def __init__(self, client: SyncPrefectClient, flow_run: str | None) -> None:
        self._client, self._flow_run = client, UUID(flow_run) if flow_run is not None else None
        self._made: dict[str, UUID] = {}

    def __call__(self, told: JobProgress) -> None:
        if told.job in self._made:
            update = ArtifactUpdate(data=told.percent, description=told.description)
            self._client.update_artifact(self._made[told.job], update)
            return
        create = ArtifactCreate(
            key=told.key,
            type="progress",
            description=told.description,
            data=told.percent,
            flow_run_id=self._flow_run,
        )
        self._made[told.job] = self._client.create_artifact(create).id


def _told(job: Job, done: float) -> JobProgress:
    key = f"publication-{slug(job.collection)}"
    if job.successful:
        return JobProgress(job.id, key, 100.0, f"Job {job.id} is published")
    ended = sum(task.status == Status.COMPLETED for task in job.tasks)
    percent = round(100 * done, 1)
    if job.status == Status.COMPLETED:
        return JobProgress(job.id, key, percent, f"Job {job.id} has failed: nothing of it is published")
    ordered = sorted(job.tasks, key=lambda task: task.order)
    at = next((task.name or task.type for task in ordered if task.status != Status.COMPLETED), "the end")
    return JobProgress(job.id, key, percent, f"Job {job.id} is at {at}: {ended} of {len(ordered)} tasks are done")
