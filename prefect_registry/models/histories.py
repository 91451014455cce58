"""What became of a model, a version or an artifact: who changed what, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect_registry.ledger.dropping import kept_of
from prefect_registry.models.converting import resource_of, value_class
from prefect_registry.models.reading import parsed
from prefect_registry.models.resources import Artifact, ModelVersion, RegisteredModel, Resource
from prefect_registry.notebook import shown
from prefect_registry.records.cells import CellGeneration


@dataclass(frozen=True)
class Difference:
    """A field, and its values before and after; None for what is not there."""

    field: str
    before: Any
    after: Any

    _repr_html_ = shown


@dataclass(frozen=True)
class HistoryEntry:
    """One change: what it was then (``resource``), what had changed, when, by whom, in which run, why."""

    at: datetime
    by: str | None
    run_id: str | None
    reason: str | None
    changes: tuple[Difference, ...]
    resource: RegisteredModel | ModelVersion | Artifact = field(repr=False)

    _repr_html_ = shown


def history_of(type_: str, generations: list[CellGeneration], id_: str) -> list[HistoryEntry]:
    """The history of what has that id, from the visible generations of its cell, oldest first."""
    entries: list[HistoryEntry] = []
    before: Mapping[str, Any] = {}
    for generation in kept_of(generations):
        if generation.deleted:
            continue
        record = parsed(value_class(type_), generation)
        if record.id != id_:
            continue
        resource = resource_of(record)
        now = told(resource)
        changes = differences(before, now) if entries else ()
        entries.append(
            HistoryEntry(generation.at, record.by, generation.tx, generation.reason, tuple(changes), resource)
        )
        before = now
    return entries


def told(resource: Resource) -> dict[str, Any]:
    """The fields of a resource that people change, custom properties each by itself."""
    fields = resource.model_dump(
        mode="json", exclude={"id", "create_time_since_epoch", "last_update_time_since_epoch", "custom_properties"}
    )
    properties = resource.custom_properties if isinstance(resource.custom_properties, dict) else {}
    return fields | {f"custom_properties.{key}": value for key, value in properties.items()}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Where two mappings differ, by name. 1, 1.0 and True are different values."""
    names = sorted({*before, *after})
    return [
        Difference(name, before.get(name), after.get(name))
        for name in names
        if (type(before.get(name)), before.get(name)) != (type(after.get(name)), after.get(name))
    ]
