"""The manager of scheduled publications: makes the jobs that are due, and goes on with those that are not complete.
Beside it, on schedules of their own: exports of what is published, and pruning of old jobs.

Several may run at once, and each may be killed at any time: the registry keeps them apart.
"""

from __future__ import annotations

from typing import Any, cast

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from prefect_registry.errors import InvalidInput
from prefect_registry.ingestion import ExportOptions, Ingestion
from prefect_registry.ingestion.enums import Format
from prefect_registry.ingestion.exporting.tables import export_table, is_exported
from prefect_registry.publications import ProgressArtifacts, freshness, tell
from prefect_registry.resolve import resolve_registry
from prefect_registry.runs import registry_run

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
    """Delete the old jobs that the rules let go, and return their ids.

    Args:
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        dry_run: Only tell which, in the log.
    """
    report = Ingestion(resolve_registry(registry or None)).delete_jobs(dry_run=dry_run)
    get_run_logger().info("%d job(s) deleted: %s", len(report.deleted), ", ".join(report.deleted))
    return report.deleted


@flow(name="export")
def export(
    publication: str = "",
    kind: str = "",
    formats: list[Format] = ["jsonl", "csv", "parquet"],  # noqa: B006 - Prefect shows it as a form
    date_field: str = "",
    escape_formulas: bool = False,
    again: bool = False,
    registry: str = "",
) -> dict[str, list[str]]:
    """Write what readers see of a publication, or of any table, into files that people download: one dataset for each
    table, of the kind <table>-export. All of it becomes visible together, when it is complete.

    Returns the paths of the files by table; nothing when all of them were exported like this already.

    Args:
        publication: Id of a publication: every table that its active job has published rows of.
        kind: One table: of the publication, or any when no publication is named.
        formats: Of the files. Text is packed with gzip; xlsx holds 1,048,575 rows, and needs the extra xlsx.
        date_field: A column, or the dotted path of a field, by whose year the rows are written once more; those without
            a date apart. Empty for whole tables only.
        escape_formulas: Whether texts in CSV that a spreadsheet takes for formulas get an apostrophe.
        again: Also what was exported like this and has not changed since.
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
    """
    log = get_run_logger()
    store = resolve_registry(registry or None)
    found = Ingestion(store)
    kinds = found.kinds(publication) if publication else [kind] if kind else []
    if not kinds or (kind and kind not in kinds):
        known = f"the active job of {publication} has published {kinds}" if publication else "name one of both"
        raise InvalidInput.of("the publication or kind", [known])
    wanted = [
        ExportOptions(kind=k, formats=tuple(formats), date_field=date_field or None, escape_formulas=escape_formulas)
        for k in ([kind] if kind else kinds)
    ]
    todo = wanted if again else [each for each in wanted if not is_exported(store, each)]
    told: dict[str, list[str]] = {}
    if not todo:
        log.info("Nothing has changed since the last export of %s", ", ".join(each.kind for each in wanted))
        return told
    job = found.publication(publication).active_job if publication else None
    with registry_run(store, purpose=f"export {publication or kind}"[:2_000]) as run:
        for each in todo:
            files = export_table(run, each, job)
            told[each.kind] = [file.path for file in files]
            log.info("%s: %d file(s), %s bytes", each.target, len(files), f"{sum(f.size for f in files):,}")
    return told


def _leave(ingestion: Ingestion) -> None:
    """The table of publications."""
    rows = freshness(ingestion.publications(), ingestion.now())
    table = cast(Any, create_table_artifact)
    table(rows[:MOST_ROWS], key="publications", description=f"{len(rows):,} publication(s)", _sync=True)
