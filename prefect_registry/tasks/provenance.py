"""What registers and asks provenance, as Prefect tasks.

In a run ``register_model_run`` makes that a model run. What is asked is what is published: lineage follows decisions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_registry.resolve import RegistryLike
from prefect_registry.tasks import provenance_calls

if TYPE_CHECKING:
    from prefect_registry.provenance.asking import Way
    from prefect_registry.provenance.exporting import Format, PictureFormat
    from prefect_registry.provenance.questions import Breaks, Changed, Origin, Recipe
    from prefect_registry.provenance.records import ModelRunRecord


@task(persist_result=False, cache_policy=NO_CACHE)
def register_model_run(
    record: ModelRunRecord | Mapping[str, Any],
    *,
    by: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> str:
    """Register a model run; returns the id of its run. See
    :meth:`prefect_registry.provenance.service.Provenance.register_model_run`.

    In a run that is no model run yet, that run becomes one when it commits; by itself it is published at once.
    """
    return provenance_calls.register_model_run(record, by, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def what_breaks(
    starting_id: str, depth: int = 100, *, as_of: datetime | None = None, registry: RegistryLike | None = None
) -> Breaks:
    """Everything that came from something. See
    :meth:`prefect_registry.provenance.service.Provenance.what_breaks`.
    """
    return provenance_calls.what_breaks(starting_id, depth, as_of, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def where_from(
    starting_id: str, depth: int = 100, *, as_of: datetime | None = None, registry: RegistryLike | None = None
) -> Origin:
    """The ways from something to its sources. See
    :meth:`prefect_registry.provenance.service.Provenance.where_from`.
    """
    return provenance_calls.where_from(starting_id, depth, as_of, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def what_changed(run_a: str, run_b: str, *, registry: RegistryLike | None = None) -> Changed:
    """How two runs differ. See :meth:`prefect_registry.provenance.service.Provenance.what_changed`."""
    return provenance_calls.what_changed(run_a, run_b, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def reproduce(run_id: str, *, registry: RegistryLike | None = None) -> Recipe:
    """What is needed to do a run again. See :meth:`prefect_registry.provenance.service.Provenance.reproduce`."""
    return provenance_calls.reproduce(run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def lineage_picture(
    starting_id: str,
    way: Way = "both",
    depth: int = 5,
    format: PictureFormat = "mermaid",
    *,
    as_of: datetime | None = None,
    registry: RegistryLike | None = None,
) -> str:
    """A drawing of lineage; Prefect's Markdown artifacts show Mermaid. See
    :meth:`prefect_registry.provenance.service.Provenance.picture`.
    """
    return provenance_calls.lineage_picture(starting_id, way, depth, format, as_of, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def provenance_report(
    id: str, file_path: str | os.PathLike[str], depth: int = 1, *, registry: RegistryLike | None = None
) -> str:
    """Write the report of a run or study into a file whose name ends in .docx, .html or .md; returns its path. See
    :meth:`prefect_registry.provenance.service.Provenance.report`.
    """
    return provenance_calls.provenance_report(id, file_path, depth, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def export_provenance(
    starting_id: str,
    format: Format = "prov-json",
    way: Way = "both",
    depth: int = 100,
    *,
    as_of: datetime | None = None,
    registry: RegistryLike | None = None,
) -> str:
    """Lineage as text: ``prov-json``, ``prov-n``, ``prov-o``, ``node-link``, or for a run ``openlineage``. See
    :meth:`prefect_registry.provenance.service.Provenance.export`.
    """
    return provenance_calls.export_provenance(starting_id, format, way, depth, as_of, registry)
