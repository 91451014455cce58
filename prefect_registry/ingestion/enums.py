"""The words of scheduled ingestion: states, frequencies, regions (reference system 5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args


class Status(StrEnum):
    """Where a job or task is. ``WAITING`` (started, and work has not begun) is only told, never saved."""

    WAITING = "WAITING"
    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"


class Result(StrEnum):
    """How a task ended. ``FAILED`` while it is still PLANNED or RUNNING is a failure that is expected to pass."""

    OK = "OK"
    FAILED = "FAILED"


class TaskStatus(StrEnum):
    """How far an export is."""

    WAITING = "WAITING"
    """Nothing has begun, or what was begun was rolled back."""
    RUNNING = "RUNNING"
    """It is being written, or is complete in a run that is not decided yet; its lease is alive."""
    COMPLETED = "COMPLETED"
    """It is visible."""
    STALE = "STALE"
    """It was begun, and its writer has been silent for longer than its lease."""


class Level(StrEnum):
    """How bad the thing is that a note tells."""

    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"
    UNKNOWN = "UNKNOWN"


class RetrievalFrequency(StrEnum):
    """How often a publication is retrieved, counted in days from the start of its last job; empty: by hand."""

    WEEKLY = "WEEKLY"
    BIWEEKLY = "BIWEEKLY"
    MONTHLY = "MONTHLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUALLY = "ANNUALLY"
    NEVER = "NEVER"

    @property
    def days(self) -> int | None:
        """Its length; None for ``NEVER``."""
        return _DAYS.get(self.value)


_DAYS = {"WEEKLY": 7, "BIWEEKLY": 14, "MONTHLY": 30, "HALF_YEARLY": 180, "ANNUALLY": 365}


class UpdateFrequency(StrEnum):
    """How often the publisher says that the data change."""

    UNKNOWN = "UNKNOWN"
    REAL_TIME = "REAL_TIME"
    HOURLY = "HOURLY"
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUALLY = "ANNUALLY"


class Region(StrEnum):
    """Where the publisher is: Africa and Middle East, Asia, Eastern Europe & Central Asia, Europe, Latin America &
    Caribbean, North America, Oceania.
    """

    MEA = "MEA"
    AS = "AS"
    EECA = "EECA"
    EU = "EU"
    LAC = "LAC"
    NA = "NA"
    OC = "OC"


class TaskType(StrEnum):
    """The task types of the reference's plan: labels, which a registry binds to managers of its own."""

    COLLECT = "collect"
    PROCESS = "process"
    EXPORTER = "exporter"
    COVERAGE = "coverage"
    FLATTENER = "flattener"


JOB_TASKS_PLAN = [each.value for each in TaskType]
"""The reference's default plan; the first task must retrieve the data."""

Format = Literal["jsonl", "csv", "parquet", "xlsx"]
"""Of the files of an export."""
FORMATS: tuple[Format, ...] = get_args(Format)
DEFAULT_FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")
"""Those that hold any number of rows, and need nothing that is not installed anyway."""

EXPORT_TAG = "export_of"
"""The tag of datasets that hold exports: the kind whose rows they repeat."""
EXPORT_SOURCE_TAG = "export_source"
"""Another one: of which datasets they were made, and how."""
EXPORT_JOB_TAG = "export_job"
"""Another one: the job whose rows they are, when no task of that job made them."""
