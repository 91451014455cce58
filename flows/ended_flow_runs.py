"""What Prefect says of the flow runs of a registry's runs, and telling it which of them are dead."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from prefect_registry.errors import FormatError, IntegrityError
from prefect_registry.registry import Registry

_FLOW_RUNS_AT_ONCE = 200
_CLOCKS_MAY_DIFFER_BY = timedelta(seconds=10)


class EndedFlowRuns:
    """Tells whether Prefect says that a run's flow run has ended without success. A suspicion, like age: the reaper
    still watches the run's heartbeat. What Prefect does not know, or cannot say now, is no suspicion.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def __call__(self, run_id: str, flow_run_id: str | None) -> bool:
        """Whether the flow run of ``run_id`` is over and was not completed."""
        if flow_run_id is None:
            return False
        try:
            state = self._client.read_flow_run(UUID(flow_run_id)).state
        except ObjectNotFound:
            return False
        except Exception as error:  # the server is away, or another one: the lease alone decides
            get_run_logger().debug("Prefect does not tell about flow run %s: %s", flow_run_id, error)
            return False
        return state is not None and state.is_final() and not state.is_completed()


def end_dead_flow_runs(client: SyncPrefectClient, store: Registry) -> list[str]:
    """End, in Prefect, the flow runs that it believes to be running although their process is gone. Returns their ids.

    A worker or pod that dies with its flow run leaves it Running, and in its deployment's concurrency limit: Prefect
    gives the slot back after five minutes, and never if the server is restarted meanwhile. Until then the schedule's
    runs are cancelled, or wait. A flow run that has ended gives it back at once.
    """
    ended: list[str] = []
    try:
        for flow_run in believed_running(client):
            try:
                message = why_dead(flow_run, store)
            except (FormatError, IntegrityError) as error:
                get_run_logger().error("Flow run %s (%s) is left alone: %s", flow_run.name, flow_run.id, error)
                continue
            if message is not None and _end(client, flow_run, message):
                get_run_logger().warning("Flow run %s (%s): %s", flow_run.name, flow_run.id, message)
                ended.append(str(flow_run.id))
    except Exception as error:  # of Prefect or of the store; reaping is done, and the next time tells it
        get_run_logger().warning("Prefect could not be told which flow runs are dead: %s", error)
    return ended


def believed_running(client: SyncPrefectClient) -> list[FlowRun]:
    """All of them, oldest first: read before any is ended, since those that end move the pages."""
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}),
            sort=FlowRunSort.START_TIME_ASC,
            limit=_FLOW_RUNS_AT_ONCE,
            offset=len(found),
        )
        found += page
        if len(page) < _FLOW_RUNS_AT_ONCE:
            return found


def why_dead(flow_run: FlowRun, store: Registry) -> str | None:
    """Why nothing more will come of a flow run; None when something may, or when it is none of this registry.

    Its newest attempt is decided, and by a reaper, or its process is known to be gone. An attempt that is about to
    begin in another process is not mistaken for it: Prefect's state is newer then than the attempt.
    """
    attempts = store.ledger.runs.attempts(str(flow_run.id))
    if not attempts or flow_run.state is None:
        return None
    run = store.get_run(str(attempts[-1].value["run_id"]))
    if run.state == "RUNNING" or flow_run.state.timestamp > run.started_at + _CLOCKS_MAY_DIFFER_BY:
        return None
    published = "has published, and stays visible" if run.state == "COMMITTED" else "was rolled back"
    if run.failure is not None and run.failure.kind == "reaped":
        return f"It was reaped: {run.failure.message}. Its run {run.id} {published}"
    begin = store.ledger.store.begin(run.id)
    if begin is not None and store.ledger.store.is_gone(begin.holder):
        return f"Its process is gone. Its run {run.id} {published}"
    return None


def _end(client: SyncPrefectClient, flow_run: FlowRun, message: str) -> bool:
    assert flow_run.state is not None
    was_cancelled = flow_run.state.type == StateType.CANCELLING
    state: State[None] = Cancelled(message=message) if was_cancelled else Crashed(message=message)
    answer = client.set_flow_run_state(flow_run.id, state)
    return answer.status == SetStateStatus.ACCEPT
