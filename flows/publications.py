"""The manager of scheduled publications: makes the jobs that are due, and goes on with those that are not complete.

Several may run at once, and each may be killed at any time: the registry keeps them apart.
"""

from __future__ import annotations

from typing import Any, cast

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from prefect_registry.ingestion import Ingestion
from prefect_registry.publications import ProgressArtifacts, freshness, tell
from prefect_registry.resolve import resolve_registry

MOST_ROWS = 500


@flow(name="publications")
def publications(registry: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Go on with every publication by one step of each of its jobs, and leave a table of all of them. Meanwhile each of
    these jobs has a progress artifact.

    Args:
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        dry_run: Only tell what would be done.
    """
    log = get_run_logger()
    with ProgressArtifacts() as progress:
        ingestion = Ingestion(resolve_registry(registry or None), progress=progress)
        report = ingestion.tick(dry_run=dry_run)
    for change in report.changes:
        what = f"task {change.task} of job {change.job}" if change.task is not None else f"job {change.job}"
        log.info("%s: %s -> %s%s", what, change.was, change.now, f": {change.note}" if change.note else "")
    for subject, error in report.errors.items():
        log.warning("%s: %s", subject, error)
    if not dry_run:
        tell(ingestion, report)
        _leave(ingestion)
    log.info(
        "%s: %d new job(s), %d unchanged, %d change(s), %d archived, %d deleted",
        ingestion.registry.url, len(report.created), len(report.unchanged), len(report.changes), len(report.archived),
        len(report.deleted),
    )  # fmt: skip
    return {"created": report.created, "unchanged": report.unchanged, "errors": report.errors}


@flow(name="prune-publications")
def prune(registry: str = "", dry_run: bool = True) -> list[str]:
    """Delete the old jobs that the rules let go, and return their ids; by default only tell which."""
    report = Ingestion(resolve_registry(registry or None)).delete_jobs(dry_run=dry_run)
    get_run_logger().info("%d job(s) deleted: %s", len(report.deleted), ", ".join(report.deleted))
    return report.deleted


def _leave(ingestion: Ingestion) -> None:
    """The table of publications."""
    rows = freshness(ingestion.publications(), ingestion.now())
    table = cast(Any, create_table_artifact)
    table(rows[:MOST_ROWS], key="publications", description=f"{len(rows):,} publication(s)", _sync=True)
