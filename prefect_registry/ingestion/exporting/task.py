"""Tasks that export what a job has staged."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_registry.ingestion.enums import EXPORT_TAG, Status
from prefect_registry.ingestion.managers import TaskManager, options_of
from prefect_registry.ingestion.models import Task

log = logging.getLogger("prefect_registry")


class ExportOptions(BaseModel):
    """Options of :class:`ExportTask`.

    Attributes:
        kind: Which table, as it is when the job is published.
        into: The kind of the dataset that holds the files; ``<kind>-export`` unless given.
        formats: Some of ``jsonl``, ``csv`` and ``parquet``, in this order.
        date_field: A column, or the dotted path of a field, by whose year the rows are exported once more; those
            without a date as ``undated``.
        year_range: First and last year that get files of their own.
        escape_formulas: Whether texts in CSV that a spreadsheet takes for formulas get an apostrophe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[str, Field(min_length=1)]
    into: str = ""
    formats: Annotated[tuple[Literal["jsonl", "csv", "parquet"], ...], Field(min_length=1)] = (
        "jsonl",
        "csv",
        "parquet",
    )
    date_field: str | None = None
    year_range: tuple[int, int] = (1900, 2100)
    escape_formulas: bool = False


class ExportTask(TaskManager):
    """Writes the table of a kind, as the tasks before it have staged it, into files: one dataset of the kind
    ``<kind>-export``, which is visible together with the rows, or never. :class:`ExportOptions` tells the options.
    """

    remote = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.given = options_of(task, ExportOptions)

    @property
    def final_output(self) -> bool:
        """The files are published with the job."""
        return True

    def run(self) -> None:
        """Write the files."""
        from prefect_registry.ingestion.exporting.writing import export

        given, attempt = self.given, self.attempt
        into = given.into or f"{given.kind}-export"
        with attempt.dataset(into, mode="replace", tags={EXPORT_TAG: given.kind}) as target:
            files = export(
                attempt.table(given.kind).dataset(),
                target,
                formats=given.formats,
                date_field=given.date_field,
                year_range=given.year_range,
                escape_formulas=given.escape_formulas,
            )
        log.info("%s: %d file(s) of %s, %s bytes", self.task.id, len(files), into, f"{sum(f.size for f in files):,}")

    def get_status(self) -> tuple[Status, str | None]:
        """Done: :meth:`run` returns when the files are written."""
        return Status.COMPLETED, None

    def wipe(self) -> None:
        """Nothing: the files belong to the registry, which drops what is not published."""
