"""Keep a registry tidy: abort the runs that nobody will finish, and delete the bytes that decisions have made dead.

It may run at any time, anywhere, beside everything else: nothing is deleted by its age (DESIGN.md P7, P8).
"""

from __future__ import annotations

from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from prefect_registry.resolve import resolve_registry


@flow(name="maintenance")
def maintenance(
    registry: str = "", wait: bool = True, collect: bool = True, dry_run: bool = False
) -> dict[str, list[str] | int]:
    """Reap dead runs and collect dead bytes.

    Args:
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        wait: Watch runs that seem dead until it is certain, for up to half their lease. Without it, only runs are
            reaped whose process is known to be gone.
        collect: Delete the bytes of aborted runs.
        dry_run: Only tell what collecting would delete. (Reaping has no such thing: an aborted run stays aborted.)
    """
    log = get_run_logger()
    store = resolve_registry(registry or None)
    with get_client(sync_client=True) as client:
        reaped = store.reap(EndedFlowRuns(client), wait=wait)
    for run_id in reaped.reaped:
        failure = store.get_run(run_id).failure
        log.warning("Reaped run %s: %s", run_id, failure.message if failure is not None else "")
    for run_id in reaped.suspects:
        log.info("Run %s seems dead, and was not watched for long enough to be sure", run_id)
    log.info(
        "%s: %d run(s) reaped, %d to be watched, %d alive",
        store.url, len(reaped.reaped), len(reaped.suspects), len(reaped.alive),
    )  # fmt: skip
    told: dict[str, list[str] | int] = {"reaped": reaped.reaped, "suspects": reaped.suspects, "alive": reaped.alive}
    if collect:
        swept = store.collect(dry_run=dry_run)
        log.info(
            "%s %s byte(s) in %d object(s) of %d run(s)%s",
            "Would delete" if dry_run else "Deleted", f"{swept.bytes:,}", swept.objects, len(swept.runs),
            f"; {len(swept.waiting)} aborted run(s) may still be writing" if swept.waiting else "",
        )  # fmt: skip
        told |= {"collected": swept.runs, "objects": swept.objects, "bytes": swept.bytes, "waiting": swept.waiting}
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
