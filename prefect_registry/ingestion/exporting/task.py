"""Tasks that export what a job has staged."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prefect_registry.ingestion.enums import DEFAULT_FORMATS, Format, Status
from prefect_registry.ingestion.managers import TaskManager, options_of
from prefect_registry.ingestion.models import Task

log = logging.getLogger("prefect_registry")


class ExportOptions(BaseModel):
    """Options of :class:`ExportTask`.

    Attributes:
        kind: Which table, as it is when the job is published.
        into: The kind of the dataset that holds the files; ``<kind>-export`` unless given.
        formats: Some of ``jsonl``, ``csv``, ``parquet`` and ``xlsx``; the first three unless given. A spreadsheet holds
            1,048,575 rows, and needs the extra ``xlsx`` where the task runs.
        date_field: A column, or the dotted path of a field, by whose year the rows are exported once more; those
            without a date as ``undated``.
        year_range: First and last year that get files of their own.
        escape_formulas: Whether texts in CSV that a spreadsheet takes for formulas get an apostrophe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[str, Field(min_length=1)]
    into: str = ""
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = DEFAULT_FORMATS
    date_field: str | None = None
    year_range: tuple[int, int] = (1900, 2100)
    escape_formulas: bool = False

    @model_validator(mode="after")
    def _elsewhere(self) -> ExportOptions:
        if self.target == self.kind:
            raise ValueError("into is the table itself, which its export would replace; name another kind")
        return self

    @property
    def target(self) -> str:
        """The kind of the dataset that holds the files."""
        return self.into or f"{self.kind}-export"


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
        from prefect_registry.ingestion.exporting.tables import export_table

        files = export_table(self.attempt, self.given)
        size = sum(file.size for file in files)
        log.info("%s: %d file(s) of %s, %s bytes", self.task.id, len(files), self.given.target, f"{size:,}")

    def get_status(self) -> tuple[Status, str | None]:
        """Done: :meth:`run` returns when the files are written."""
        return Status.COMPLETED, None

    def wipe(self) -> None:
        """Nothing: the files belong to the registry, which drops what is not published."""
