"""Exports of a table as files for people and programs, and how far they are."""

from prefect_registry.ingestion.exporting.state import (
    EXPORTER_MAX_JSON_BYTES_TO_EXCEL,
    Export,
    ExportState,
    TaskStatus,
    state_of,
)
from prefect_registry.ingestion.exporting.writing import (
    EXPORTER_PAGE_SIZE,
    FORMATS,
    ExportedFile,
    ExportTarget,
    Format,
    export,
)

__all__ = [
    "EXPORTER_MAX_JSON_BYTES_TO_EXCEL",
    "EXPORTER_PAGE_SIZE",
    "FORMATS",
    "Export",
    "ExportState",
    "ExportTarget",
    "ExportedFile",
    "Format",
    "TaskStatus",
    "export",
    "state_of",
]
