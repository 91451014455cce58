"""Prefect events: notifications of decisions that were made, for automations and triggers. Never the truth itself.

Each has an id made of what it tells (UUID version 5), so that telling twice is telling once. ``emit_event`` queues to
a thread of Prefect's and returns at once; an event that cannot be delivered is lost, and the registry's own journal
still has what it told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID, uuid5

from prefect.context import FlowRunContext
from prefect.events import emit_event

from prefect_registry.datasets.reading import Dataset
from prefect_registry.names import key_of
from prefect_registry.objects.published import MovedAlias, SavedObject
from prefect_registry.records.runs import Failure
from prefect_registry.registry import Run

RUN_COMMITTED = "prefect-registry.run.committed"
RUN_ROLLED_BACK = "prefect-registry.run.rolled-back"
DATASET_COMMITTED = "prefect-registry.dataset.committed"
INCIDENT_RAISED = "prefect-registry.incident.raised"
OBJECT_SAVED = "prefect-registry.object.saved"
ALIAS_MOVED = "prefect-registry.alias.moved"
MOST_SINGLE = 100
"""Up to so many datasets of a run have an event each; of more, each kind has one. The same of objects, by the prefix of
their names. No run has more events of objects, nor of aliases."""

_NAMESPACE = UUID("6f0f5b0e-7f0c-5d86-9a55-3f2f1f0e4c11")
log = logging.getLogger("prefect_registry.events")


@dataclass(frozen=True)
class Origin:
    """Where something happened.

    Attributes:
        registry: What opens the registry: a saved block, or its URL.
        registry_id: Of the registry, or its URL where nobody has asked.
        run_id: None outside any run.
    """

    url: str
    registry: str
    registry_id: str
    run_id: str | None

    @classmethod
    def of(cls, run: Run) -> Origin:
        """The run's."""
        return cls(run.registry.url, _how_to_open(run), run.registry.registry_id, run.id)


def committed(
    run: Run,
    purpose: str,
    datasets: list[Dataset],
    flow_run: str,
    objects: Sequence[SavedObject] = (),
    aliases: Sequence[MovedAlias] = (),
) -> None:
    """A run was published: one event for it, and those of its datasets, objects and aliases."""
    told = {"run_id": run.id, "purpose": purpose, "datasets": len(datasets), "objects": len(objects)}
    told |= {"url": run.registry.url}
    _emit(RUN_COMMITTED, run.id, _run_resource(run, purpose), told, Origin.of(run), flow_run)
    _datasets(run, datasets, flow_run)
    _objects(Origin.of(run), objects, flow_run)
    for alias in aliases[:MOST_SINGLE]:
        alias_moved(Origin.of(run), alias, flow_run)


def _datasets(run: Run, datasets: list[Dataset], flow_run: str) -> None:
    if len(datasets) <= MOST_SINGLE:
        for dataset in datasets:
            published_alone(run, dataset, flow_run)
        return
    for kind, group in groupby(sorted(datasets, key=lambda d: d.kind), key=lambda d: d.kind):
        told = _told_together(run, kind, group)
        _emit(DATASET_COMMITTED, f"{run.id} {kind}", _kind_resource(kind), told, Origin.of(run), flow_run)


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
        told |= {"size": sum(saved.size for saved in group), **_where(origin)}
        resource = _object_resource(f"{prefix}/")
        _emit(OBJECT_SAVED, f"{origin.run_id} {prefix}", resource, told, origin, flow_run)


def object_saved(origin: Origin, saved: SavedObject, flow_run: str) -> None:
    """A version of an object is visible."""
    told = {"name": saved.name, "version": saved.version, "class": saved.class_, "size": saved.size, **_where(origin)}
    _emit(OBJECT_SAVED, saved.write_id, _object_resource(saved.name), told, origin, flow_run)


def alias_moved(origin: Origin, moved: MovedAlias, flow_run: str) -> None:
    """An alias of an object points at another version, or was removed."""
    told = {"name": moved.name, "alias": moved.alias, "version": moved.version, **_where(origin)}
    resource = {**_object_resource(moved.name), "prefect-registry.alias": moved.alias}
    _emit(ALIAS_MOVED, moved.write_id, resource, told, origin, flow_run)


def published_alone(run: Run, dataset: Dataset, flow_run: str) -> None:
    """One dataset is visible: with its run, or by itself while that goes on (DESIGN.md P13)."""
    _emit(DATASET_COMMITTED, dataset.id, _kind_resource(dataset.kind), _told(run, dataset), Origin.of(run), flow_run)


def rolled_back(run: Run, purpose: str, why: Failure, flow_run: str) -> None:
    """A run was rolled back: nothing of it is visible, except what ``publish="on_commit"`` had published by itself."""
    told = {"run_id": run.id, "purpose": purpose, "error_class": why.cls, "message": why.message, "kind": why.kind}
    told |= {"url": run.registry.url}
    _emit(RUN_ROLLED_BACK, run.id, _run_resource(run, purpose), told, Origin.of(run), flow_run)


def incident(run: Run, incident_id: str, event: str, error_class: str, message: str, flow_run: str) -> None:
    """An incident was recorded."""
    resource = {"prefect.resource.id": f"prefect-registry.incident.{incident_id}", "prefect.resource.name": event}
    told = {"incident_id": incident_id, "event": event, "error_class": error_class, "message": message}
    told |= {"run_id": run.id, "url": run.registry.url}
    _emit(INCIDENT_RAISED, incident_id, resource, told, Origin.of(run), flow_run)


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
        "registry": _how_to_open(run),
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
        "registry": _how_to_open(run),
    }


def _where(origin: Origin) -> dict[str, Any]:
    return {"run_id": origin.run_id, "url": origin.url, "registry": origin.registry}


def _how_to_open(run: Run) -> str:
    """What a flow passes to :func:`resolve_registry`: the saved block, which has the credentials, or else the URL."""
    return run.registry.reference or run.registry.url


def _run_resource(run: Run, purpose: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect-registry.run.{run.id}", "prefect.resource.name": purpose or run.id}


def _kind_resource(kind: str) -> dict[str, str]:
    """Stable from run to run, so that a trigger can match ``prefect-registry.dataset.<kind>``."""
    return {"prefect.resource.id": f"prefect-registry.dataset.{key_of(kind)}", "prefect.resource.name": kind}


def _object_resource(name: str) -> dict[str, str]:
    """Stable from run to run, so that a trigger can match ``prefect-registry.object.<name>``."""
    return {"prefect.resource.id": f"prefect-registry.object.{key_of(name)}", "prefect.resource.name": name}


def _emit(
    event: str, what: str, resource: Mapping[str, str], payload: Mapping[str, Any], origin: Origin, flow_run: str
) -> None:
    """Best effort: what goes wrong is logged for the curious, and nobody else."""
    try:
        emit_event(
            event=event,
            resource=dict(resource),
            related=list(_related(event, origin.run_id, flow_run)),
            payload=dict(payload),
            id=uuid5(_NAMESPACE, f"{event} {origin.registry_id} {what}"),
        )
    except Exception:  # an event is a courtesy: too large, no server, a worker that is stopping
        log.debug("The event %s of %s was not emitted", event, what, exc_info=True)


def _related(event: str, run_id: str | None, flow_run: str) -> Iterator[dict[str, str]]:
    if event not in (RUN_COMMITTED, RUN_ROLLED_BACK) and run_id is not None:
        yield {
            "prefect.resource.id": f"prefect-registry.run.{run_id}",
            "prefect.resource.role": "registry-run",
            "prefect.resource.name": run_id,
        }
    if FlowRunContext.get() is None:  # else Prefect adds it, with flow, deployment and tags
        yield {"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}
