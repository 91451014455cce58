"""Between what users hold (resources) and what the store holds (records), and what is wrong with either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import orjson

from prefect_registry.errors import InvalidInput
from prefect_registry.ids import millis_of
from prefect_registry.models.addresses import PREFIXES
from prefect_registry.models.resources import (
    ARTIFACT_CLASSES,
    Artifact,
    ModelVersion,
    RegisteredModel,
    Resource,
    Unset,
)
from prefect_registry.models.utils import reference_of
from prefect_registry.names import name_problems
from prefect_registry.records.base import LARGEST_VALUE_BYTES, json_problems
from prefect_registry.records.models import ModelArtifactValue, ModelRecord, ModelVersionValue, RegisteredModelValue
from prefect_registry.records.types import MODEL
from prefect_registry.storage.secrets import holds_credentials, without_credentials

LONGEST_NAME_CHARACTERS = 250
MOST_TEXT_BYTES = LARGEST_VALUE_BYTES
R = TypeVar("R", bound=ModelRecord)


def fields_of(cls: type[Artifact]) -> list[str]:
    """What only this type of artifact has, in order."""
    return [name for name in cls.model_fields if name not in {*Resource.model_fields, "name", "state"}]


# -- what is wrong -------------------------------------------------------------------------------------------------


def problems_of(resource: Resource, noun: str) -> Iterator[str]:
    """What is wrong with a resource that is to be registered or updated: nothing yielded means it is fine."""
    name = getattr(resource, "name", None)
    if name is not None or not isinstance(resource, Artifact):
        yield from named_problems(name, f"the name of the {noun}")
    if isinstance(resource.external_id, str) and resource.external_id:
        yield from name_problems(resource.external_id, "external_id")
    for field in ("uri", "storage_path", "source"):
        place = getattr(resource, field, None)
        if isinstance(place, str) and holds_credentials(place):
            shown = without_credentials(place)
            yield f"{field} {shown!r:.200} holds a password, a token or a signature, and would be stored for all to see"
    uri = getattr(resource, "uri", None)
    if isinstance(uri, str):
        yield from _uri_problems(uri)
    texts = {k: v for k, v in resource.model_dump(exclude={"id", "custom_properties"}).items() if isinstance(v, str)}
    properties = resource.custom_properties
    value = {**texts, "custom_properties": properties if isinstance(properties, dict) else {}}
    problems = list(json_problems(value, noun))
    yield from problems
    if not problems and len(orjson.dumps(value)) > MOST_TEXT_BYTES:
        yield f"the {noun} has more than {MOST_TEXT_BYTES:,} bytes; larger things go into an object or a dataset"


def _uri_problems(uri: str) -> Iterator[str]:
    try:
        reference_of(uri)
    except InvalidInput as error:
        yield f"{error.what}: {error.why}"


def named_problems(name: object, noun: str) -> Iterator[str]:
    """What is wrong with a name of this domain: up to 250 characters, valid Unicode, no control characters."""
    yield from name_problems(name, noun)
    if isinstance(name, str) and len(name) > LONGEST_NAME_CHARACTERS:
        yield f"{noun} has {len(name):,} characters; at most {LONGEST_NAME_CHARACTERS} are allowed"


# -- from resources to records ---------------------------------------------------------------------------------------


def merged(resource: Resource, current: R | None) -> dict[str, Any]:
    """The fields of a record that users can change, after an update by ``resource``: None keeps, UNSET clears."""
    if isinstance(resource, Artifact):
        before: Mapping[str, Any] = current.fields if isinstance(current, ModelArtifactValue) else {}
        fields = {name: _new(resource, name, before.get(name), current is None) for name in fields_of(type(resource))}
        own: dict[str, Any] = {"fields": {name: value for name, value in fields.items() if value is not None}}
        own |= {"object": None, "dataset": None, **_referred(fields.get("uri"))}
    else:
        name = "owner" if isinstance(resource, RegisteredModel) else "author"
        own = {name: _new(resource, name, getattr(current, name, None), current is None)}
    given, state = resource.custom_properties, getattr(resource, "state", None)
    if given is None:
        properties = dict(current.properties) if current is not None else {}
    else:
        properties = {} if isinstance(given, Unset) else dict(given)
    return {
        "description": _new(resource, "description", getattr(current, "description", None), current is None),
        "external_id": _new(resource, "external_id", getattr(current, "external_id", None), current is None) or None,
        **own,
        "state": str(state) if current is None or "state" in resource.model_fields_set else current.state,
        "properties": properties,
    }


def _new(resource: Resource, name: str, before: Any, is_new: bool) -> Any:
    value = getattr(resource, name)
    if isinstance(value, Unset):
        return None
    default = type(resource).model_fields[name].default
    if not is_new and (value is None or (value == default and name not in resource.model_fields_set)):
        return before
    return str(value) if isinstance(value, str) else value


def _referred(uri: object) -> dict[str, str]:
    found = reference_of(uri) if isinstance(uri, str) else None
    return {found[0]: found[1]} if found is not None else {}


def changed_fields(before: ModelRecord, after: Mapping[str, Any]) -> list[str]:
    """The fields whose values an update changes; those of an artifact by their own names."""
    was, now = _flat(before.model_dump()), _flat(after)
    return sorted(name for name in now if _exact(was.get(name)) != _exact(now[name]))


def _exact(value: object) -> str:
    """1, 1.0 and True are equal in Python, and different values here."""
    return repr(sorted(value.items()) if isinstance(value, dict) else value)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = {k: v for k, v in values.items() if k not in ("fields", "properties", "object", "dataset")}
    return flat | dict(values.get("fields") or {}) | {"custom_properties": values.get("properties")}


# -- from records to resources ---------------------------------------------------------------------------------------


def resource_of(record: ModelRecord) -> RegisteredModel | ModelVersion | Artifact:
    """What users get of a record."""
    common: dict[str, Any] = {
        "id": record.id,
        "name": record.name,
        "description": record.description,
        "external_id": record.external_id,
        "state": record.state,
        "create_time_since_epoch": str(millis_of(record.created_at)),
        "last_update_time_since_epoch": str(millis_of(record.changed_at)),
        "custom_properties": dict(record.properties) or None,
    }
    if isinstance(record, RegisteredModelValue):
        return RegisteredModel(**common, owner=record.owner)
    if isinstance(record, ModelVersionValue):
        return ModelVersion(**common, author=record.author, registered_model_id=record.model)
    assert isinstance(record, ModelArtifactValue)
    cls = ARTIFACT_CLASSES[record.type]
    known = {name: value for name, value in record.fields.items() if name in cls.model_fields}
    return cls(**common, **known)


def value_class(type_: str) -> type[ModelRecord]:
    """The record of a type of cell."""
    if type_ == MODEL:
        return RegisteredModelValue
    return ModelArtifactValue if PREFIXES[type_] == "art" else ModelVersionValue
