"""Scheduled ingestion: publications that are retrieved again and again by jobs, each published as a whole or not at all
(reference system 5).
"""

from prefect_registry.ingestion.callables import CallableTask
from prefect_registry.ingestion.enums import (
    JOB_TASKS_PLAN,
    Level,
    Region,
    Result,
    RetrievalFrequency,
    Status,
    TaskStatus,
    TaskType,
    UpdateFrequency,
)
from prefect_registry.ingestion.errors import (
    ConfigurationError,
    DataRegistryError,
    LockFileError,
    RecoverableError,
    UnexpectedError,
)
from prefect_registry.ingestion.exporting.state import Export
from prefect_registry.ingestion.exporting.task import ExportOptions, ExportTask
from prefect_registry.ingestion.gates.definitions import (
    CustomGate,
    FreshnessGate,
    Gate,
    NullsGate,
    RangeGate,
    RowsGate,
    SchemaGate,
    UniqueGate,
)
from prefect_registry.ingestion.http.task import HeaderSource, HttpOptions, HttpTask
from prefect_registry.ingestion.managers import (
    TaskManager,
    get_task_manager,
    register_task_manager,
    skip_if_not_started,
)
from prefect_registry.ingestion.models import Collection, Job, Publication, Task, TaskNote
from prefect_registry.ingestion.plans import PlannedTask
from prefect_registry.ingestion.processing import Change, TickReport
from prefect_registry.ingestion.service import Ingestion, Publications, delete_older_jobs, process

__all__ = [
    "JOB_TASKS_PLAN",
    "CallableTask",
    "Change",
    "Collection",
    "ConfigurationError",
    "CustomGate",
    "DataRegistryError",
    "Export",
    "ExportOptions",
    "ExportTask",
    "FreshnessGate",
    "Gate",
    "HeaderSource",
    "HttpOptions",
    "HttpTask",
    "Ingestion",
    "Job",
    "Level",
    "LockFileError",
    "NullsGate",
    "PlannedTask",
    "Publication",
    "Publications",
    "RangeGate",
    "RecoverableError",
    "Region",
    "Result",
    "RetrievalFrequency",
    "RowsGate",
    "SchemaGate",
    "Status",
    "Task",
    "TaskManager",
    "TaskNote",
    "TaskStatus",
    "TaskType",
    "TickReport",
    "UnexpectedError",
    "UniqueGate",
    "UpdateFrequency",
    "delete_older_jobs",
    "get_task_manager",
    "process",
    "register_task_manager",
    "skip_if_not_started",
]
