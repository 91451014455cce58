"""Keep a registry tidy: abort the runs that nobody will finish, tell Prefect of their flow runs, release what the rules
of retention let go, and delete the bytes that decisions have made dead. On request, keep lists of the tables' files.

It may run at any time, anywhere, beside everything else: nothing is deleted but by a decision (DESIGN.md P7, P8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from httpx import HTTPStatusError, codes
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.concurrency.sync import concurrency

from flows.ended_flow_runs import EndedFlowRuns, end_dead_flow_runs
from prefect_registry.datasets.file_lists import write_file_list
from prefect_registry.errors import Conflict, FormatError, IntegrityError, RegistryError
from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry

Told = dict[str, list[str] | int]
"""What was done: ids, or how many."""


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
        release: Give up the datasets that no table shows, and what is deleted, overwritten or old of objects, unless a
            rule of retention keeps it. That cannot be taken back.
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
        return {"released": [], "released_objects": [], "released_bytes": 0}
    counts = [*report.kept.items(), *((f"objects {name}", count) for name, count in report.kept_objects.items())]
    kept = ", ".join(f"{name}: {count}" for name, count in counts)
    log.info(
        "%s %d dataset(s), %d version(s) of objects, %s byte(s); kept %s",
        "Would release" if dry_run else "Released", len(report.datasets), len(report.objects), f"{report.bytes:,}",
        kept or "nothing else",
    )  # fmt: skip
    objects = [o.id if o.generation is None else f"{o.id}, generation {o.generation}" for o in report.objects]
    return {
        "released": [d.id for d in report.datasets], "released_objects": objects, "released_bytes": report.bytes
    }  # fmt: skip


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
    "released_objects": "Versions of objects released by the rules of retention",
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
