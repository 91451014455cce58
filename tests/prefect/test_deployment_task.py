"""A task that is a run of a deployment: one for each key, followed by its state, cancelled on wipe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Running
from prefect_support import Server

from prefect_registry.ingestion import Collection, Ingestion, Job, PlannedTask, Status
from prefect_registry.registry import Registry

START = datetime(2026, 1, 1, tzinfo=UTC)


@flow(name="retrieve")
def retrieve(parent: str, pages: int) -> None:
    """Never runs: there is no worker."""


class Place:
    """A publication whose only task is a deployment of the server."""

    def __init__(self, store: Registry, deployment: str) -> None:
        self.at = START
        self.ingestion = Ingestion(store, now=lambda: self.at)
        options = {"deployment": deployment, "parameters": {"pages": 3}, "run_parameter": "parent"}
        plan = [PlannedTask(type="deployment", options=options)]
        self.ingestion.put(Collection(id="p", retrieval_frequency="WEEKLY", plan=plan))

    def process(self) -> Job:
        self.ingestion.process(self.ingestion.publication("p"))
        self.at += timedelta(minutes=5)
        return self.job

    @property
    def job(self) -> Job:
        return self.ingestion.jobs("p")[0]

    @property
    def flow_run(self) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(self.job.context["flow_runs"]["1"]))

    def ends(self, state: Any) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.flow_run.id, state, force=True)


@pytest.fixture
def place(store: Registry, server: Server) -> Place:
    name = f"d-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(retrieve), name)
    return Place(store, f"retrieve/{name}")


def test_states(place: Place) -> None:
    """Scheduled is waiting, running is running, completed is done: the job is published."""
    job = place.process()
    assert (job.status, job.tasks[0].status) == (Status.RUNNING, Status.RUNNING)
    assert place.flow_run.parameters == {"parent": job.tasks[0].attempt, "pages": 3}
    assert place.flow_run.idempotency_key == job.tasks[0].key
    assert str(place.flow_run.id) in job.flow_run
    assert place.process().status == Status.RUNNING
    place.ends(Running())
    assert place.process().status == Status.RUNNING
    place.ends(Completed())
    assert place.process().successful
    assert place.ingestion.publication("p").active_job == "p/1"


@pytest.mark.parametrize("state", [Crashed(message="exit 137"), Cancelled()])
def test_flow_runs_that_end_otherwise_fail_the_task(place: Place, state: Any) -> None:
    """The note tells the state and its message."""
    place.process()
    place.ends(state)
    job = place.process()
    assert (job.status, job.successful) == (Status.COMPLETED, False)
    assert f"ended in state {state.name}" in job.tasks[0].note


def test_a_key_makes_one_flow_run(place: Place) -> None:
    """A start that is repeated, because nobody knew whether it took place, finds the flow run that is there."""
    job = place.process()
    manager = manager_of(job)
    first = place.flow_run.id
    manager.run()
    assert place.flow_run.id == first
    assert manager.was_started(job.tasks[0].key) is True
    assert manager.was_started("another") is False


def test_wipe_cancels(place: Place) -> None:
    """A flow run that waits is cancelled at once, one that runs is asked to end, one that has ended is let be."""
    job = place.process()
    manager_of(job).wipe()
    assert place.flow_run.state_name == "Cancelled"
    manager_of(job).wipe()
    place.ends(Running())
    manager_of(job).wipe()
    assert place.flow_run.state_name == "Cancelling"
    manager_of(job).wipe()


def test_a_server_that_is_away_is_waited_for(place: Place) -> None:
    """Neither the task nor the job fails; when it answers again, they go on."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        job = place.process()
    assert (job.status, job.tasks[0].failures) == (Status.PLANNED, 1)
    assert "cannot be reached" in job.tasks[0].note
    assert place.process().status == Status.RUNNING


def test_a_deployment_that_there_is_not(store: Registry, server: Server) -> None:
    """It fails the job, which says so."""
    place = Place(store, "retrieve/none")
    job = place.process()
    assert job.status == Status.COMPLETED
    assert "There is no deployment retrieve/none" in job.tasks[0].note


def manager_of(job: Job) -> Any:
    from prefect_registry.ingestion import get_task_manager

    return get_task_manager(job.tasks[0])
