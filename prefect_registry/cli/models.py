"""Registered models as commands name and show them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect_registry.cli.opening import open_registry
from prefect_registry.cli.options import labels
from prefect_registry.cli.output import write_table
from prefect_registry.errors import InvalidInput, MalformedId

if TYPE_CHECKING:
    from prefect_registry.models import Artifact, ModelRegistry, ModelVersion, RegisteredModel
    from prefect_registry.models.resources import Resource
    from prefect_registry.registry import Registry

_OWN = {"id", "name", "description", "external_id", "state", "custom_properties", "create_time_since_epoch",
        "last_update_time_since_epoch"}  # fmt: skip
_LABEL = (
    "SELECT value FROM cells WHERE type = ? AND name = ? AND value IS NOT NULL AND NOT deleted"
    " ORDER BY gen DESC LIMIT 1"
)  # fmt: skip


def open_models(wanted: str | None, *, create: bool = False) -> ModelRegistry:
    """The models of the registry that the command line means."""
    from prefect_registry.models import ModelRegistry

    return ModelRegistry(open_registry(wanted, create=create))


def the_model(models: ModelRegistry, name: str) -> RegisteredModel:
    """A registered model by its name. Raises ``ModelNotFound``."""
    from prefect_registry.models import ModelNotFound

    found = models.get_registered_model(name)
    if found is None:
        raise ModelNotFound(
            f"There is no model {name!r:.250}", todo="Check the spelling: prefect-registry models ls", committed="no"
        )
    return found


def properties(option: str, given: Iterable[str] | None) -> dict[str, Any] | None:
    """``name=value`` texts as custom properties: numbers, true and false are that, all else is text.

    Raises:
        InvalidInput: Lists those that are not of that form, or are no number that can be kept.
    """
    return {name: _property(option, name, text) for name, text in (labels(option, given) or {}).items()} or None


def _property(option: str, name: str, text: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from prefect_registry.models.resources import PropertyValue

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(value, (bool, int, float, str)):
        return text
    try:
        return TypeAdapter(PropertyValue).validate_python(value)
    except ValidationError as error:
        raise InvalidInput.of(
            option,
            [f"{name!r:.60} is {text:.60}, which is not finite, or needs more than 64 bits"],
            todo=f"As a text: '{name:.60}=\"{text:.60}\"'",
        ) from error


# -- as JSON ---------------------------------------------------------------------------------------------------------


def model_fields(model: RegisteredModel) -> dict[str, Any]:
    """A registered model."""
    return _common(model) | {"owner": model.owner}


def version_fields(version: ModelVersion, model: str, aliases: Mapping[str, str]) -> dict[str, Any]:
    """A version of ``model``; ``aliases`` are those of the model."""
    pointing = [alias for alias, name in aliases.items() if name == version.name]
    return _common(version) | {"model": model, "author": version.author, "aliases": pointing}


def artifact_fields(artifact: Artifact) -> dict[str, Any]:
    """An artifact of any type: ``fields`` are those that only its type has, but for ``uri`` and ``value``."""
    own = artifact.model_dump(mode="json", exclude=_OWN, exclude_none=True)
    first = {"type": str(artifact.artifact_type), "uri": own.pop("uri", None), "value": own.pop("value", None)}
    return _common(artifact) | first | {"fields": own}


def _common(resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(resource, name) for name in ("id", "name")}
    found |= {"state": str(getattr(resource, "state", "")), "description": resource.description}
    found |= {"external_id": resource.external_id, "properties": resource.custom_properties or {}}
    return found | {
        "created_at": moment_of(resource.create_time_since_epoch),
        "changed_at": moment_of(resource.last_update_time_since_epoch),
    }


def moment_of(millis: str | None) -> datetime | None:
    """A text of milliseconds since 1970 as a time."""
    return datetime.fromtimestamp(int(millis) / 1000, UTC) if millis is not None else None


# -- for people ------------------------------------------------------------------------------------------------------


def write_artifacts(artifacts: Sequence[Mapping[str, Any]]) -> None:
    """What :func:`artifact_fields` tells, a line for each: the value of a number or text, or where the thing is."""
    rows = [(a["type"], a["name"], _content(a), a["id"]) for a in artifacts]
    write_table(("TYPE", "NAME", "VALUE OR URI", "ARTIFACT"), rows)


def _content(artifact: Mapping[str, Any]) -> str:
    text = artifact["fields"].get("text")
    if artifact["value"] is None and artifact["uri"] is None and text is not None:
        return f"{len(text):,} characters"
    return str(artifact["uri"] if artifact["value"] is None else artifact["value"])


# -- by id -----------------------------------------------------------------------------------------------------------


def type_of_id(id_: str) -> str | None:
    """The type of cell that an id of the model registry leads to; None for what is no such id."""
    if not id_.startswith(("model_", "mv_", "art_")):
        return None
    from prefect_registry.models.addresses import PREFIXES, address_of

    for type_ in PREFIXES:
        try:
            address_of(type_, id_)
        except MalformedId:
            continue
        return type_
    return None


def looked_up(registry: Registry, type_: str, id_: str) -> dict[str, Any]:
    """What is registered under an id, and of a version its artifacts. Raises ``ModelNotFound``."""
    from prefect_registry.models import ModelRegistry
    from prefect_registry.records.types import MODEL, MODEL_VERSION

    models = ModelRegistry(registry)
    if type_ == MODEL:
        return {"item": model_fields(models.models.get_registered_model_by_id(id_)), "artifacts": None}
    if type_ != MODEL_VERSION:
        return {"item": artifact_fields(models.models.get_model_artifact_by_id(id_)), "artifacts": None}
    version = models.models.get_model_version_by_id(id_)
    model = models.models.get_registered_model_by_id(str(version.registered_model_id)).name
    artifacts = [artifact_fields(a) for a in models.artifacts_of(version)]
    return {"item": version_fields(version, model, models.aliases(model)), "artifacts": artifacts}


def names_of(registry: Registry, ids: Iterable[str]) -> dict[str, str]:
    """What people call those of the ids that are of the model registry: ``version '1' of model 'digits'``."""
    listed: dict[str, dict[str, str]] = {}
    for id_ in ids:
        if type_ := type_of_id(id_):
            listed.setdefault(type_, {})[id_[-16:]] = id_
    return {
        by_address[cell.name]: _label(type_, cell.value)
        for type_, by_address in listed.items()
        for cell in registry.catalog.cells(type_, name=list(by_address), limit=len(by_address), fresh=False)
        if cell.value.get("id") == by_address[cell.name]
    }


def cell_name(registry: Registry, type_: str, name: str) -> str:
    """What people call a cell; that of a model has an address for a name."""
    from prefect_registry.records.types import MODEL_TYPES

    if type_ not in MODEL_TYPES:
        return f"{type_} {name}"
    found = registry.catalog.ask(lambda connection: connection.execute(_LABEL, (type_, name)).fetchone(), False)
    return _label(type_, json.loads(found["value"])) if found is not None else f"{type_} {name}"


def _label(type_: str, value: Mapping[str, Any]) -> str:
    from prefect_registry.records import types

    name = f"{value.get('name')!r:.100}"
    if type_ == types.MODEL:
        return f"model {name}"
    if type_ == types.MODEL_VERSION:
        return f"version {name} of model {value.get('model_name')!r:.100}"
    if type_ == types.MODEL_ARTIFACT:
        return f"{value.get('type')} {name}"
    if type_ == types.MODEL_LINK:
        return f"{value.get('type')} {name} of {value.get('version')}"
    if type_ == types.MODEL_ALIAS:
        return f"alias {value.get('alias')!r:.100} of model {value.get('model_name')!r:.100}"
    return f"external id {value.get('external_id')!r:.100}"
