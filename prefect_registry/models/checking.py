"""What users pass to the model registry, checked; and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from prefect_registry.errors import InvalidInput
from prefect_registry.models.converting import problems_of
from prefect_registry.models.exceptions import UnsupportedType
from prefect_registry.models.resources import ARTIFACT_CLASSES, Artifact, Resource
from prefect_registry.records.models import ModelArtifactValue, ModelRecord, ModelVersionValue

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


def built(cls: type[R], noun: str, problems: list[str], **fields: Any) -> R | None:
    """A resource made of arguments; None when it cannot be, with what is wrong added to ``problems``."""
    try:
        return cls(**fields)
    except ValidationError as error:
        found: dict[tuple[Any, ...], str] = {}
        for each in error.errors(include_url=False, include_input=False):
            where = each["loc"]
            if where[0] == "custom_properties":
                key = where[2:3] if isinstance(fields.get("custom_properties"), Mapping) else ()
                what = f"custom property {key[0]!r:.100}" if key else "custom_properties"
                found.setdefault(key, f"{what} must be a bool, a 64-bit int, a finite float or a str")
            else:
                found.setdefault(where[:1], f"{where[0]} of the {noun}: {each['msg']}")
        problems += found.values()
        return None


def listed(values: Iterable[T], name: str) -> list[T]:
    """The items of a list; a single text is none."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput.of("the registration", [f"{name} must be a list, not {type(values).__name__}"])
    return list(values)


def checked(resource: object, cls: type[Resource], noun: str) -> None:
    """Refuse what cannot be registered: another type, or with problems, all of which are told."""
    if not isinstance(resource, cls):
        raise UnsupportedType.of(f"the {noun}", [f"it must be a {cls.__name__}, not a {type(resource).__name__}"])
    if type(resource) is Artifact:
        names = ", ".join(each.__name__ for each in ARTIFACT_CLASSES.values())
        raise UnsupportedType.of(f"the {noun}", [f"it must be one of {names}, not just an Artifact"])
    problems = list(problems_of(resource, noun))
    if problems:
        raise InvalidInput.of(f"the {noun}", problems)


def refuse_immutable(current: ModelRecord, wanted: Resource) -> None:
    """Refuse to change what never changes: name, type."""
    changed: dict[str, tuple[str, str]] = {}
    name = getattr(wanted, "name", None)
    if name is not None and name != current.name:
        changed["name"] = (current.name, name)
    if (
        isinstance(wanted, Artifact)
        and isinstance(current, ModelArtifactValue)
        and current.type != wanted.artifact_type
    ):
        changed["artifact_type"] = (current.type, str(wanted.artifact_type))
    if changed:
        raise immutable("resource", changed)


def immutable(noun: str, changed: dict[str, tuple[str, str]]) -> InvalidInput:
    """The error for fields that never change."""
    return InvalidInput.of(
        f"the {noun}",
        [f"{name} is {was!r:.250} and never changes, so it cannot become {now!r:.250}" for name, (was, now)
         in changed.items()],
        todo="Register a new one, or leave the field as it is",
    )  # fmt: skip


def subject_of(record: ModelRecord) -> str:
    """What a record is called in a sentence."""
    if isinstance(record, ModelVersionValue):
        return f"version {record.name!r:.250} of model {record.model_name!r:.250}"
    if isinstance(record, ModelArtifactValue):
        return f"{record.type} {record.name!r:.250}"
    return f"model {record.name!r:.250}"
