"""Keep a registry tidy: abort the runs that nobody will finish, tell Prefect of their flow runs, and delete the bytes
that decisions have made dead.

It may run at any time, anywhere, beside everything else: nothing is deleted by its age (DESIGN.md P7, P8).
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry

_FLOW_RUNS_AT_ONCE = 200
_CLOCKS_MAY_DIFFER_BY = timedelta(seconds=10)


@flow(name="maintenance")
def maintenance(
    registry: str = "", wait: bool = True, collect: bool = True, dry_run: bool = False, checkpoint: bool = True
) -> dict[str, list[str] | int]:
    """Reap dead runs, end their flow runs in Prefect, and collect dead bytes.

    Args:
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        wait: Watch runs that seem dead until it is certain, for up to half their lease. Without it, only runs are
            reaped whose process is known to be gone.
        collect: Delete the bytes of aborted runs.
        dry_run: Only tell what collecting would delete. (Reaping has no such thing: an aborted run stays aborted.)
        checkpoint: Write the catalog as Parquet tables, if anything is new. Not with ``dry_run``.
    """
    log = get_run_logger()
    store = resolve_registry(registry or None)
    with get_client(sync_client=True) as client:
        reaped = store.reap(EndedFlowRuns(client), wait=wait)
        for run_id in reaped.reaped:
            failure = store.get_run(run_id).failure
            log.warning("Reaped run %s: %s", run_id, failure.message if failure is not None else "")
        ended = end_dead_flow_runs(client, store)
    for run_id in reaped.suspects:
        log.info("Run %s seems dead, and was not watched for long enough to be sure", run_id)
    log.info(
        "%s: %d run(s) reaped, %d to be watched, %d alive",
        store.url, len(reaped.reaped), len(reaped.suspects), len(reaped.alive),
    )  # fmt: skip
    told: dict[str, list[str] | int] = {
        "reaped": reaped.reaped, "suspects": reaped.suspects, "alive": reaped.alive, "flow_runs_ended": ended,
    }  # fmt: skip
    if collect:
        swept = store.collect(dry_run=dry_run)
        log.info(
            "%s %s byte(s) in %d object(s) of %d run(s)%s",
            "Would delete" if dry_run else "Deleted", f"{swept.bytes:,}", swept.objects, len(swept.runs),
            f"; {len(swept.waiting)} aborted run(s) may still be writing" if swept.waiting else "",
        )  # fmt: skip
        told |= {"collected": swept.runs, "objects": swept.objects, "bytes": swept.bytes, "waiting": swept.waiting}
    if checkpoint and not dry_run:
        written = store.checkpoint()
        if written.written:
            log.info("Checkpoint %s: %s datasets", written.manifest, f"{written.rows['datasets']:,}")
        told["checkpoint"] = written.generation if written.generation is not None else -1
    return told


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
        believed = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}),
            sort=FlowRunSort.START_TIME_ASC,
            limit=_FLOW_RUNS_AT_ONCE,
        )
        for flow_run in believed:
            message = why_dead(flow_run, store)
            if message is not None and _end(client, flow_run, message):
                get_run_logger().warning("Flow run %s (%s): %s", flow_run.name, flow_run.id, message)
                ended.append(str(flow_run.id))
    except Exception as error:  # of Prefect or of the store; reaping is done, and the next time tells it
        get_run_logger().warning("Prefect could not be told which flow runs are dead: %s", error)
    return ended


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
