"""By what registered models, versions and artifacts are filtered and ordered: their fields as SQL over the index.

The SQL reads ``item.value``, the record of :mod:`prefect_registry.records.models` as JSON text. Text of users is never
part of it, but bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from prefect_registry.catalog.queries import Order
from prefect_registry.errors import InvalidInput
from prefect_registry.ids import with_article
from prefect_registry.models.addresses import NOUNS
from prefect_registry.models.expressions import Field, parse_field
from prefect_registry.models.resources import ARTIFACT_CLASSES, Artifact
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_VERSION

Family = Literal["text", "number", "boolean"]
_REFERENCE_ORDERS: Final = ("CREATE_TIME", "LAST_UPDATE_TIME", "ID")
PROPERTIES: Final = ("properties", "custom_properties", "customProperties")


@dataclass(frozen=True)
class Column:
    """A field as SQL.

    Attributes:
        sql: Its value; NULL where there is none.
        families: What it may be compared with: for each family of values when it has one of that family, and its value
            then, both in SQL.
        is_time: Texts that it is compared with are times.
    """

    name: str
    sql: str
    families: Mapping[Family, tuple[str, str]]
    is_time: bool = False


def _json(path: str) -> str:
    return f"json_extract(item.value, '$.{path}')"


def _text(name: str, path: str) -> Column:
    return Column(name, _json(path), {"text": ("1", _json(path))})


def _number(name: str, path: str) -> Column:
    return Column(name, _json(path), {"number": ("1", _json(path))})


def _time(name: str, path: str) -> Column:
    """A time of the store, which is a text of one form; as a number it is milliseconds since 1970."""
    seconds, rest = f"CAST(strftime('%s', {_json(path)}) AS INTEGER)", f"CAST(substr({_json(path)}, 21, 3) AS INTEGER)"
    number = f"({seconds} * 1000 + {rest})"
    return Column(name, _json(path), {"text": ("1", _json(path)), "number": ("1", number)}, is_time=True)


def _any(name: str, sql: str, type_: str) -> Column:
    families: dict[Family, tuple[str, str]] = {
        "text": (f"{type_} = 'text'", sql),
        "number": (f"{type_} IN ('integer', 'real')", sql),
        "boolean": (f"{type_} IN ('true', 'false')", sql),
    }
    return Column(name, sql, families)


def _of_artifacts() -> list[Column]:
    """The fields of all types of artifacts together."""
    classes: list[type[Artifact]] = [Artifact, *ARTIFACT_CLASSES.values()]
    names = dict.fromkeys(name for cls in classes for name in cls.model_fields)
    own = [name for name in names if name not in {column.name for column in _COMMON}]
    special = {
        "value": _any("value", _json("fields.value"), "json_type(item.value, '$.fields.value')"),  # of two types
        "step": _number("step", "fields.step"),
    }
    found = [special.get(name, _text(name, f"fields.{name}")) for name in own if name != "custom_properties"]
    return [_text("artifact_type", "type"), *found, _text("object", "object"), _text("dataset", "dataset")]


_COMMON: Final = [
    *(_text(name, name) for name in ("id", "name", "description", "external_id", "state")),
    *(_time(name, "created_at") for name in ("create_time", "create_time_since_epoch", "created")),
    *(_time(name, "changed_at") for name in ("last_update_time", "last_update_time_since_epoch", "updated")),
]
_FIELDS: Final[dict[str, list[Column]]] = {
    MODEL: [*_COMMON, _text("owner", "owner")],
    MODEL_VERSION: [
        *_COMMON,
        _text("author", "author"),
        _text("registered_model_id", "model"),
        _text("registered_model_name", "model_name"),
    ],
    MODEL_ARTIFACT: [*_COMMON, *_of_artifacts()],
}


def _in_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


_BY_NAME: Final = {
    kind: {name: column for column in columns for name in (column.name, _in_camel_case(column.name))}
    for kind, columns in _FIELDS.items()
}


def known(kind: str) -> str:
    """The names of all fields, for errors."""
    return f"{', '.join(column.name for column in _FIELDS[kind])}, properties.<key>"


def column_of(kind: str, field: Field, values: dict[str, Any]) -> Column | None:
    """A field of a kind of record; None if there is no such field. What it needs bound is added to ``values``."""
    if field.key is None:
        return _BY_NAME[kind].get(field.name)
    return _property(field.key, values) if field.name in PROPERTIES else None


def _property(key: str, values: dict[str, Any]) -> Column:
    bound = bind(values, key if _needs_a_look(key) else f'$.properties."{key}"')
    if not _needs_a_look(key):
        return _any(f"properties.{key}", f"json_extract(item.value, {bound})", f"json_type(item.value, {bound})")
    look = f"(SELECT part.{{}} FROM json_each(item.value, '$.properties') AS part WHERE part.key = {bound})"
    return _any(f"properties.{key}", look.format("atom"), look.format("type"))


def _needs_a_look(key: str) -> bool:
    """Whether SQLite's paths have no form for a key: one that is empty, or has something that JSON escapes."""
    return not key or any(c < " " or c in '"\\' for c in key)


def order_of(kind: str, order_by: str, ascending: bool, values: dict[str, Any]) -> Order:
    """By a field, or a property. ``CREATE_TIME`` and the like are the reference system's words for three of them."""
    if not isinstance(order_by, str):
        raise InvalidInput.of("order_by", [f"it must be the name of a field, not {type(order_by).__name__}"])
    named = order_by.lower() if order_by in _REFERENCE_ORDERS else str(order_by)
    field = parse_field(named)
    column = column_of(kind, field, values) if field is not None else None
    if column is None:
        raise InvalidInput.of(
            "order_by", [f"{with_article(NOUNS[kind])} cannot be ordered by {named!r:.60}; it has {known(kind)}"]
        )
    return Order(column.name, column.sql, not ascending)


def bind(values: dict[str, Any], value: Any) -> str:
    """The name in SQL of a value that a filter binds."""
    values[f"f{len(values)}"] = value
    return f":f{len(values) - 1}"
