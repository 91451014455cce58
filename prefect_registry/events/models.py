"""Events of registered models: versions registered, aliases moved, archived, restored."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_registry.events.emitting import MOST_SINGLE, Origin, emit
from prefect_registry.events.names import MODEL_ALIAS_MOVED, MODEL_ARCHIVED, MODEL_REGISTERED, MODEL_RESTORED
from prefect_registry.models.published import ChangedState, MovedModelAlias, PublishedModels, RegisteredVersion
from prefect_registry.names import key_of


def models_published(origin: Origin, models: PublishedModels, flow_run: str) -> None:
    """What became visible of models: first the versions, then what points at them."""
    _registered(origin, models.versions, flow_run)
    for moved in models.aliases[:MOST_SINGLE]:
        _alias_moved(origin, moved, flow_run)
    for changed in models.states[:MOST_SINGLE]:
        _state_changed(origin, changed, flow_run)


def _registered(origin: Origin, versions: Sequence[RegisteredVersion], flow_run: str) -> None:
    if len(versions) > MOST_SINGLE:
        _registered_together(origin, versions, flow_run)
        return
    for made in versions:
        told = {"model": made.model, "version": made.version, "version_id": made.id, "by": made.by, **origin.told}
        emit(MODEL_REGISTERED, made.write_id, _resource(made.model, made.version), told, origin, flow_run)


def _registered_together(origin: Origin, versions: Sequence[RegisteredVersion], flow_run: str) -> None:
    counts: dict[str, int] = {}
    for made in versions:
        counts[made.model] = counts.get(made.model, 0) + 1
    for model, count in sorted(counts.items())[:MOST_SINGLE]:
        told = {"model": model, "version": None, "version_id": None, "versions": count, "by": None, **origin.told}
        emit(MODEL_REGISTERED, f"{origin.run_id} {model}", _resource(model), told, origin, flow_run)


def _alias_moved(origin: Origin, moved: MovedModelAlias, flow_run: str) -> None:
    told = {
        "model": moved.model, "alias": moved.alias, "version": moved.version, "version_id": moved.version_id,
        "previous": moved.previous, "by": moved.by, **origin.told,
    }  # fmt: skip
    resource = {**_resource(moved.model, moved.version), "prefect-registry.alias": moved.alias}
    emit(MODEL_ALIAS_MOVED, moved.write_id, resource, told, origin, flow_run)


def _state_changed(origin: Origin, changed: ChangedState, flow_run: str) -> None:
    told = {
        "model": changed.model, "version": changed.version,
        "version_id": changed.id if changed.kind == "version" else None, "by": changed.by, **origin.told,
    }  # fmt: skip
    event = MODEL_ARCHIVED if changed.state == "ARCHIVED" else MODEL_RESTORED
    emit(event, changed.write_id, _resource(changed.model, changed.version), told, origin, flow_run)


def _resource(model: str, version: str | None = None) -> dict[str, str]:
    """Stable from version to version, so that a trigger can match ``prefect-registry.model.<name>``; what it may want
    to match beside that is a label.
    """
    found = {"prefect.resource.id": f"prefect-registry.model.{key_of(model)}", "prefect.resource.name": model}
    return found if version is None else {**found, "prefect-registry.version": version}
