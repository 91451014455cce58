"""What the tasks of provenance do: plain functions, for the reason that :mod:`~prefect_registry.tasks.calls` gives.

Nothing of provenance is imported before a task runs: most flows use none of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect_registry.resolve import RegistryLike, resolve_registry
from prefect_registry.runs.attempts import leave_no_cached_result
from prefect_registry.tasks.where import run_id_or_none

if TYPE_CHECKING:
    from prefect_registry.provenance.asking import Way
    from prefect_registry.provenance.exporting import Format, PictureFormat
    from prefect_registry.provenance.questions import Breaks, Changed, Origin, Recipe
    from prefect_registry.provenance.records import ModelRunRecord
    from prefect_registry.provenance.service import Provenance


def register_model_run(
    record: ModelRunRecord | Mapping[str, Any], by: str | None, run_id: str | None, registry: RegistryLike | None
) -> str:
    """Register a model run."""
    leave_no_cached_result()
    run = run_id_or_none(run_id, registry)
    return str(_provenance(registry, by).register_model_run(record, run_id=run).session_id)


def what_breaks(starting_id: str, depth: int, as_of: datetime | None, registry: RegistryLike | None) -> Breaks:
    """What came from something."""
    return _provenance(registry).what_breaks(starting_id, depth, as_of=as_of)


def where_from(starting_id: str, depth: int, as_of: datetime | None, registry: RegistryLike | None) -> Origin:
    """Where something is from."""
    return _provenance(registry).where_from(starting_id, depth, as_of=as_of)


def what_changed(run_a: str, run_b: str, registry: RegistryLike | None) -> Changed:
    """How two runs differ."""
    return _provenance(registry).what_changed(run_a, run_b)


def reproduce(run_id: str, registry: RegistryLike | None) -> Recipe:
    """What is needed to do a run again."""
    return _provenance(registry).reproduce(run_id)


def lineage_picture(
    starting_id: str,
    way: Way,
    depth: int,
    format: PictureFormat,
    as_of: datetime | None,
    registry: RegistryLike | None,
) -> str:
    """Draw lineage."""
    return _provenance(registry).picture(starting_id, way, depth, format, as_of=as_of)


def provenance_report(id: str, file_path: str | os.PathLike[str], depth: int, registry: RegistryLike | None) -> str:
    """Write a report."""
    from prefect_registry.provenance.reporting import check_report_name, write_report

    check_report_name(file_path)
    write_report(_provenance(registry).report(id, depth), file_path)
    return os.fspath(file_path)


def export_provenance(
    starting_id: str,
    format: Format,
    way: Way,
    depth: int,
    as_of: datetime | None,
    registry: RegistryLike | None,
) -> str:
    """Lineage as a document of another standard."""
    return _provenance(registry).export(starting_id, format, way, depth, as_of=as_of)


def _provenance(registry: RegistryLike | None, by: str | None = None) -> Provenance:
    from prefect_registry.provenance.service import Provenance

    return Provenance(resolve_registry(registry), by=by)
