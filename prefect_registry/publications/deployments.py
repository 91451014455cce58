"""Tasks that are runs of a Prefect deployment: started without waiting, followed by their state, cancelled on wipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling
from prefect.utilities.urls import url_for

from prefect_registry.ingestion.enums import Status
from prefect_registry.ingestion.errors import ConfigurationError, RecoverableError, UnexpectedError
from prefect_registry.ingestion.managers import TaskManager, skip_if_not_started
from prefect_registry.ingestion.models import Task

_NOT_BEGUN = (StateType.SCHEDULED, StateType.PENDING)


class DeploymentTask(TaskManager):
    """Runs a deployment, once for each key: Prefect makes no second flow run for the same one.

    Options: ``deployment`` (``"flow/deployment"``), ``parameters`` (JSON), ``tags``; ``run_parameter`` names the
    parameter of the flow that gets the id of the run in which it stages its output:
    ``registry.run(..., parent=<that id>)`` is published with the job, and dropped if the job fails. ``job_parameter``
    names the one that gets the job's id.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.deployment = str(task.options.get("deployment", ""))
        if self.deployment.count("/") != 1:
            raise ConfigurationError(
                f"Task {task.id} names no deployment: {self.deployment!r:.200}", todo="Give deployment: flow/deployment"
            )

    @property
    def final_output(self) -> bool:
        """What it stages is published with the job."""
        return True

    def run(self) -> None:
        """Ask for a flow run under the task's key."""
        parameters: dict[str, Any] = dict(self.options.get("parameters", {}))
        for option, value in (("run_parameter", self.task.attempt), ("job_parameter", self.job.id)):
            if self.options.get(option):
                parameters[str(self.options[option])] = value
        with self._client() as client:
            try:
                deployment = client.read_deployment_by_name(self.deployment)
            except ObjectNotFound as error:
                raise ConfigurationError(
                    f"There is no deployment {self.deployment}", todo="Deploy it, or correct the plan"
                ) from error
            made = client.create_flow_run_from_deployment(
                deployment.id,
                parameters=parameters,
                idempotency_key=self.task.key,
                tags=["publication", *map(str, self.options.get("tags", []))],
                name=f"{self.job.id} {self.task.name or self.task.type}",
            )
        self._remember(made)

    def was_started(self, key: str) -> bool | None:
        """Whether Prefect has a flow run with that key."""
        with self._client() as client:
            return self._found(client, key) is not None

    def get_status(self) -> tuple[Status, str | None]:
        """By the state of the flow run. One that crashed or was cancelled has failed."""
        with self._client() as client:
            flow_run = self._found(client, self.task.key)
        if flow_run is None:
            raise UnexpectedError(f"Prefect has no flow run for {self.task.id} any more", why="Somebody deleted it")
        self._remember(flow_run)
        state = flow_run.state
        if state is None or state.type in _NOT_BEGUN:
            return Status.WAITING, None
        if not state.is_final():
            return Status.RUNNING, None
        if state.is_completed():
            return Status.COMPLETED, None
        message = f": {state.message}" if state.message else ""
        return Status.COMPLETED, f"Flow run {flow_run.name} ended in state {state.name}{message}"

    @skip_if_not_started
    def wipe(self) -> None:
        """Cancel the flow run if it has not ended. What it staged goes with its run."""
        with self._client() as client:
            flow_run = self._found(client, self.task.key)
            if flow_run is None or flow_run.state is None or flow_run.state.is_final():
                return
            waiting = flow_run.state.type in _NOT_BEGUN
            state: Any = Cancelled() if waiting else Cancelling()
            if flow_run.state.type != StateType.CANCELLING:
                client.set_flow_run_state(flow_run.id, state)

    def _found(self, client: SyncPrefectClient, key: str) -> FlowRun | None:
        wanted = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
        return next(iter(client.read_flow_runs(flow_run_filter=wanted, limit=1)), None)

    def _remember(self, flow_run: FlowRun) -> None:
        told = self.job.context.setdefault("flow_runs", {})
        if told.get(str(self.task.order)) != str(flow_run.id):
            told[str(self.task.order)] = str(flow_run.id)
            self.job.flow_run = url_for("flow-run", obj_id=flow_run.id) or str(flow_run.id)

    @contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        """Prefect's API. When it cannot be reached, or has an error of its own, the task is gone on with later."""
        try:
            with get_client(sync_client=True) as client:
                yield client
        except ObjectNotFound as error:
            raise UnexpectedError(f"Prefect does not know what {self.task.id} needs", why=str(error)) from error
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (408, 429) or error.response.status_code >= 500:
                raise RecoverableError(f"Prefect cannot answer for {self.task.id}", why=str(error)) from error
            raise UnexpectedError(f"Prefect refuses a request for {self.task.id}", why=str(error)) from error
        except (httpx.HTTPError, OSError) as error:
            raise RecoverableError(f"Prefect cannot be reached for {self.task.id}", why=str(error)) from error
        except RuntimeError as error:  # what Prefect makes of a server that is not there
            if "reach API" not in str(error):
                raise
            raise RecoverableError(f"Prefect cannot be reached for {self.task.id}", why=str(error)) from error
