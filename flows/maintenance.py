"""Keep a registry tidy: abort the runs that nobody will finish, tell Prefect of their flow runs, release what the rules
of retention let go, and delete the bytes that decisions have made dead. On request, keep lists of the tables' files.

It may run at any time, anywhere, beside everything else: nothing is deleted but by a decision (DESIGN.md P7, P8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from httpx import HTTPStatusError, codes
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from prefect_registry.datasets.file_lists import write_file_list
from prefect_registry.errors import Conflict, FormatError, IntegrityError, RegistryError
from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry

Told = dict[str, list[str] | int]
"""What was done: ids, or how many."""

_FLOW_RUNS_AT_ONCE = 200
_CLOCKS_MAY_DIFFER_BY = timedelta(seconds=10)


@flow(name="maintenance")
def maintenance(
    registry: str = "",
    wait: bool = True,
    collect: bool = True,
    dry_run: bool = False,
    checkpoint: bool = True,
    release: bool = False,
    file_lists: Sequence[str] = (),
) -> Told:
    """Reap dead runs, end their flow runs in Prefect, release what the rules of retention let go, collect dead bytes,
    and leave an artifact that says what was done.

    Of several at the same time, in whichever deployments, one works; the others end at once. Where a record of the
    registry is damaged, everything else is done none the less, and the flow run fails at last if something was not.

    Args:
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        wait: Watch runs that seem dead until it is certain, for up to half their lease. Without it, only runs are
            reaped whose process is known to be gone.
        collect: Delete the bytes of aborted runs, and of what was released.
        dry_run: Only tell what would be released and deleted. (Reaping has no such thing: what is aborted stays so.)
        checkpoint: Write the catalog as Parquet tables, if anything is new. Not with ``dry_run``.
        release: Give up the datasets that no table shows and no rule of retention keeps. That cannot be taken back.
        file_lists: Kinds of which a list of the table's files is kept up to date in the store, below
            ``catalog/files/``, a URL a line; ``*`` for every kind. Not with ``dry_run``.
    """
    log = get_run_logger()
    store = resolve_registry(registry or None)
    told: Told = {}
    failed: list[RegistryError] = []

    def do(step: Callable[[], Told]) -> None:
        try:
            told.update(step())
        except (FormatError, IntegrityError) as error:
            log.error("Not done, because a record is damaged: %s", error)
            failed.append(error)

    with get_client(sync_client=True) as client, _alone(client, store) as alone:
        if not alone:
            log.info("Another maintenance of %s is at work: it does what there is to do", store.url)
            return told
        do(lambda: _reap(client, store, wait))
        if file_lists and not dry_run:
            do(lambda: _list_files(store, file_lists))  # before what older lists name is deleted
        if release:
            do(lambda: _release(store, dry_run))
        if collect:
            do(lambda: _collect(store, dry_run, told))
        if checkpoint and not dry_run:
            do(lambda: _checkpoint(store))
    leave = cast(Any, create_markdown_artifact)
    leave(
        _page(store.url, told, dry_run),
        key="registry-maintenance",
        description=f"What was done in {store.url}",
        _sync=True,
    )
    if failed:
        raise failed[0]
    return told


@contextmanager
def _alone(client: SyncPrefectClient, store: Registry) -> Iterator[bool]:
    """Whether this is the only maintenance of the registry, by a concurrency limit in Prefect that is made here.

    Nothing depends on it but time: only Prefect's word that another one is at work says no. A server that is slow, or
    away, or does not allow it, has not said so.
    """
    name = f"registry-maintenance-{store.registry_id}"
    with ExitStack() as held:
        try:
            client.upsert_global_concurrency_limit_by_name(name, 1)
            held.enter_context(concurrency(name, max_retries=0, raise_on_lease_renewal_failure=False))
        except Exception as error:
            if _is_taken(error):
                yield False
                return
            get_run_logger().debug("Prefect does not tell whether another maintenance is at work: %s", error)
        yield True


def _is_taken(error: Exception) -> bool:
    """Whether Prefect refused a slot because another one has it: HTTP 423, Locked."""
    cause = error.__cause__
    return isinstance(cause, HTTPStatusError) and cause.response.status_code == codes.LOCKED


def _reap(client: SyncPrefectClient, store: Registry, wait: bool) -> Told:
    log = get_run_logger()
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
    for what in reaped.damaged.values():
        log.error("Damaged, and left alone: %s", what)
    return {
        "reaped": reaped.reaped, "suspects": reaped.suspects, "alive": reaped.alive, "flow_runs_ended": ended,
        "damaged": list(reaped.damaged),
    }  # fmt: skip


def _list_files(store: Registry, kinds: Sequence[str]) -> Told:
    """Bring the lists of the kinds up to date; a kind of which nothing was ever published has none."""
    log = get_run_logger()
    known = store.kinds()
    written: list[str] = []
    for kind in known if "*" in kinds else dict.fromkeys(kinds):
        if kind not in known:
            log.warning("There is no list of files of %r: nothing of that kind was ever published", kind)
            continue
        found = write_file_list(store.storage, store.table(kind))
        if found.written:
            log.info("%s names the %d file(s) of %s", found.url, found.files, kind)
            written.append(found.url)
    return {"file_lists": written}


def _release(store: Registry, dry_run: bool) -> Told:
    """What the rules let go. When somebody reverts a run or changes a rule meanwhile, nothing is; another time."""
    log = get_run_logger()
    try:
        report = store.release(dry_run=dry_run)
    except Conflict as error:
        log.warning("Nothing was released, this time: %s", error)
        return {"released": [], "released_bytes": 0}
    kept = ", ".join(f"{name}: {count}" for name, count in report.kept.items())
    log.info(
        "%s %d dataset(s), %s byte(s); kept %s",
        "Would release" if dry_run else "Released", len(report.datasets), f"{report.bytes:,}", kept or "nothing else",
    )  # fmt: skip
    return {"released": [d.id for d in report.datasets], "released_bytes": report.bytes}


def _collect(store: Registry, dry_run: bool, before: Told) -> Told:
    log, swept = get_run_logger(), store.collect(dry_run=dry_run)
    log.info(
        "%s %s byte(s) in %d object(s) of %d run(s)%s",
        "Would delete" if dry_run else "Deleted", f"{swept.bytes:,}", swept.objects, len(swept.runs),
        f"; {len(swept.waiting)} aborted run(s) may still be writing" if swept.waiting else "",
    )  # fmt: skip
    for what in swept.damaged.values():
        log.error("Damaged, and not deleted: %s", what)
    damaged = cast(list[str], before.get("damaged", []))
    return {
        "collected": swept.runs, "objects": swept.objects, "bytes": swept.bytes, "waiting": swept.waiting,
        "damaged": list(dict.fromkeys([*damaged, *swept.damaged])),
    }  # fmt: skip


def _checkpoint(store: Registry) -> Told:
    written = store.checkpoint()
    if written.written:
        get_run_logger().info("Checkpoint %s: %s datasets", written.manifest, f"{written.rows['datasets']:,}")
    return {"checkpoint": written.generation if written.generation is not None else -1}


_LINES = {
    "reaped": "Runs rolled back because nobody will finish them",
    "suspects": "Runs that seem dead, to be watched",
    "alive": "Runs that are alive",
    "flow_runs_ended": "Flow runs ended in Prefect",
    "damaged": "Runs with a damaged record, left alone; fsck tells what to do",
    "file_lists": "Lists of files that were brought up to date",
    "released": "Datasets released by the rules of retention",
    "released_bytes": "Their bytes",
    "collected": "Runs whose dead bytes were deleted",
    "objects": "Objects deleted",
    "bytes": "Bytes deleted",
    "waiting": "Runs that may still write what is dead",
    "checkpoint": "Checkpoint of the catalog",
}
_MOST_IDS = 20


def _page(url: str, told: Told, dry_run: bool) -> str:
    """What was done, as Markdown: a line for each thing, and the first ids of each."""
    lines = [f"# Maintenance of `{url}`", ""]
    if dry_run:
        lines += ["Nothing was released or deleted (`dry_run`): this is what would be.", ""]
    lines += ["| | |", "|---|---:|"]
    for name, value in told.items():
        lines.append(f"| {_LINES.get(name, name)} | {len(value) if isinstance(value, list) else value:,} |")
    for name, value in told.items():
        if isinstance(value, list) and value and name != "alive":
            more = f"- and {len(value) - _MOST_IDS:,} more" if len(value) > _MOST_IDS else ""
            lines += ["", f"**{_LINES.get(name, name)}**", "", *(f"- `{item}`" for item in value[:_MOST_IDS]), more]
    return "\n".join(lines)


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
