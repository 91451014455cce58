"""Prefect events: notifications of decisions that were made, for automations and triggers. Never the truth itself.

Each has an id made of what it tells (UUID version 5), so that telling twice is telling once. ``emit_event`` queues to
a thread of Prefect's and returns at once; an event that cannot be delivered is lost, and the registry's own journal
still has what it told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from prefect_registry.datasets.reading import Dataset
from prefect_registry.events.emitting import MOST_SINGLE, Origin, emit, how_to_open
from prefect_registry.events.models import models_published
from prefect_registry.events.names import (
    ALIAS_MOVED,
    DATASET_COMMITTED,
    INCIDENT_RAISED,
    OBJECT_SAVED,
    RUN_COMMITTED,
    RUN_ROLLED_BACK,
)
from prefect_registry.models.published import PublishedModels
from prefect_registry.names import key_of
from prefect_registry.objects.published import MovedAlias, SavedObject
from prefect_registry.records.runs import Failure
from prefect_registry.registry import Run

__all__ = [
    "MOST_SINGLE",
    "Origin",
    "alias_moved",
    "committed",
    "incident",
    "models_published",
    "object_saved",
    "published_alone",
    "rolled_back",
]


def committed(
    run: Run,
    purpose: str,
    datasets: list[Dataset],
    flow_run: str,
    objects: Sequence[SavedObject] = (),
    aliases: Sequence[MovedAlias] = (),
    models: PublishedModels | None = None,
) -> None:
    """A run was published: one event for it, and those of its datasets, objects, aliases and models."""
    models = models if models is not None else PublishedModels()
    told = {"run_id": run.id, "purpose": purpose, "datasets": len(datasets), "objects": len(objects)}
    told |= {"models": len(models.versions), "url": run.registry.url}
    emit(RUN_COMMITTED, run.id, _run_resource(run, purpose), told, Origin.of(run), flow_run)
    _datasets(run, datasets, flow_run)
    _objects(Origin.of(run), objects, flow_run)
    for alias in aliases[:MOST_SINGLE]:
        alias_moved(Origin.of(run), alias, flow_run)
    models_published(Origin.of(run), models, flow_run)


def _datasets(run: Run, datasets: list[Dataset], flow_run: str) -> None:
    if len(datasets) <= MOST_SINGLE:
        for dataset in datasets:
            published_alone(run, dataset, flow_run)
        return
    for kind, group in groupby(sorted(datasets, key=lambda d: d.kind), key=lambda d: d.kind):
        told = _told_together(run, kind, group)
        emit(DATASET_COMMITTED, f"{run.id} {kind}", _kind_resource(kind), told, Origin.of(run), flow_run)


def _objects(origin: Origin, objects: Sequence[SavedObject], flow_run: str) -> None:
    if len(objects) <= MOST_SINGLE:
        for saved in objects:
            object_saved(origin, saved, flow_run)
        return
    prefixes = {saved.prefix for saved in objects}
    together = {"": list(objects)} if len(prefixes) > MOST_SINGLE else {
        prefix: [saved for saved in objects if saved.prefix == prefix] for prefix in sorted(prefixes)
    }  # fmt: skip
    for prefix, group in together.items():
        told = {"name": None, "version": None, "class": None, "prefix": prefix, "objects": len(group)}
        told |= {"size": sum(saved.size for saved in group), **origin.told}
        resource = _object_resource(f"{prefix}/")
        emit(OBJECT_SAVED, f"{origin.run_id} {prefix}", resource, told, origin, flow_run)


def object_saved(origin: Origin, saved: SavedObject, flow_run: str) -> None:
    """A version of an object is visible."""
    told = {"name": saved.name, "version": saved.version, "class": saved.class_, "size": saved.size, **origin.told}
    emit(OBJECT_SAVED, saved.write_id, _object_resource(saved.name), told, origin, flow_run)


def alias_moved(origin: Origin, moved: MovedAlias, flow_run: str) -> None:
    """An alias of an object points at another version, or was removed."""
    told = {"name": moved.name, "alias": moved.alias, "version": moved.version, **origin.told}
    resource = {**_object_resource(moved.name), "prefect-registry.alias": moved.alias}
    emit(ALIAS_MOVED, moved.write_id, resource, told, origin, flow_run)


def published_alone(run: Run, dataset: Dataset, flow_run: str) -> None:
    """One dataset is visible: with its run, or by itself while that goes on (DESIGN.md P13)."""
    emit(DATASET_COMMITTED, dataset.id, _kind_resource(dataset.kind), _told(run, dataset), Origin.of(run), flow_run)


def rolled_back(run: Run, purpose: str, why: Failure, flow_run: str) -> None:
    """A run was rolled back: nothing of it is visible, except what ``publish="on_commit"`` had published by itself."""
    told = {"run_id": run.id, "purpose": purpose, "error_class": why.cls, "message": why.message, "kind": why.kind}
    told |= {"url": run.registry.url}
    emit(RUN_ROLLED_BACK, run.id, _run_resource(run, purpose), told, Origin.of(run), flow_run)


def incident(run: Run, incident_id: str, event: str, error_class: str, message: str, flow_run: str) -> None:
    """An incident was recorded."""
    resource = {"prefect.resource.id": f"prefect-registry.incident.{incident_id}", "prefect.resource.name": event}
    told = {"incident_id": incident_id, "event": event, "error_class": error_class, "message": message}
    told |= {"run_id": run.id, "url": run.registry.url}
    emit(INCIDENT_RAISED, incident_id, resource, told, Origin.of(run), flow_run)


def _told(run: Run, dataset: Dataset) -> dict[str, Any]:
    return {
        "kind": dataset.kind,
        "dataset_id": dataset.id,
        "run_id": run.id,
        "rows": dataset.rows,
        "bytes": dataset.bytes,
        "mode": dataset.mode,
        "partition": dataset.partition,
        "url": dataset.root,
        "registry": how_to_open(run),
    }


def _told_together(run: Run, kind: str, group: Iterable[Dataset]) -> dict[str, Any]:
    datasets = list(group)
    counts = [d.rows for d in datasets]
    return {
        "kind": kind,
        "dataset_id": None,
        "run_id": run.id,
        "datasets": len(datasets),
        "rows": None if any(c is None for c in counts) else sum(c or 0 for c in counts),
        "bytes": sum(d.bytes for d in datasets),
        "url": run.registry.url,
        "registry": how_to_open(run),
    }


def _run_resource(run: Run, purpose: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect-registry.run.{run.id}", "prefect.resource.name": purpose or run.id}


def _kind_resource(kind: str) -> dict[str, str]:
    """Stable from run to run, so that a trigger can match ``prefect-registry.dataset.<kind>``."""
    return {"prefect.resource.id": f"prefect-registry.dataset.{key_of(kind)}", "prefect.resource.name": kind}


def _object_resource(name: str) -> dict[str, str]:
    """Stable from run to run, so that a trigger can match ``prefect-registry.object.<name>``."""
    return {"prefect.resource.id": f"prefect-registry.object.{key_of(name)}", "prefect.resource.name": name}
