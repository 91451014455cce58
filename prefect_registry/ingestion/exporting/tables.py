"""Exports of a table as a dataset: by a task of a job, or of what readers see, whenever that has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from prefect_registry.errors import NotFound
from prefect_registry.ingestion.enums import EXPORT_JOB_TAG, EXPORT_SOURCE_TAG, EXPORT_TAG

if TYPE_CHECKING:
    from prefect_registry.datasets.tables import Table
    from prefect_registry.ingestion.exporting.task import ExportOptions
    from prefect_registry.ingestion.exporting.writing import ExportedFile
    from prefect_registry.registry import Registry
    from prefect_registry.registry.handles import Run


def export_table(run: Run, given: ExportOptions, job: str | None = None) -> list[ExportedFile]:
    """Write the table of a kind, as ``run`` sees it, as one dataset staged in that run.

    Args:
        job: The id of the job whose export it is, when that is no task of the job.

    Raises:
        NotFound: There is no such table.
        InvalidInput: It cannot be exported like this.
    """
    from prefect_registry.ingestion.exporting.writing import export

    table = run.table(given.kind)
    if not len(table):
        raise NotFound(f"There is no table {given.kind!r:.200} to export", todo="Check the kind", committed="no")
    tags: Mapping[str, str] = {EXPORT_TAG: given.kind, EXPORT_SOURCE_TAG: _source(table, given)}
    with run.dataset(given.target, mode="replace", tags={**tags, **({EXPORT_JOB_TAG: job} if job else {})}) as target:
        return export(
            table.dataset(),
            target,
            formats=given.formats,
            date_field=given.date_field,
            year_range=given.year_range,
            escape_formulas=given.escape_formulas,
        )


def is_exported(registry: Registry, given: ExportOptions) -> bool:
    """Whether the export that readers see is one of what they see of the table, made with these options."""
    exports = registry.table(given.target).datasets()
    return len(exports) == 1 and exports[0].tags.get(EXPORT_SOURCE_TAG) == _source(registry.table(given.kind), given)


def _source(table: Table, given: ExportOptions) -> str:
    """What tells apart what is exported, and how."""
    found = {"datasets": [d.id for d in table.datasets()], "options": given.model_dump(mode="json")}
    return hashlib.sha256(orjson.dumps(found, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
