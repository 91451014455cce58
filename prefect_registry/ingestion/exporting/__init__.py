"""Exports of a table as files for people and programs, and how far they are."""

from typing import TYPE_CHECKING, Any

from prefect_registry.ingestion.enums import EXPORT_TAG, FORMATS, Format, TaskStatus
from prefect_registry.ingestion.exporting.state import (
    EXPORTER_MAX_JSON_BYTES_TO_EXCEL,
    Export,
    ExportState,
    state_of,
)

if TYPE_CHECKING:
    from prefect_registry.ingestion.exporting.writing import (
        EXPORTER_PAGE_SIZE,
        ExportedFile,
        ExportTarget,
        export,
    )

__all__ = [
    "EXPORTER_MAX_JSON_BYTES_TO_EXCEL",
    "EXPORTER_PAGE_SIZE",
    "EXPORT_TAG",
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


def __getattr__(name: str) -> Any:
    """What needs pyarrow is imported when it is used: most ticks export nothing."""
    if name in __all__:
        from prefect_registry.ingestion.exporting import writing

        return getattr(writing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
