"""Column types by name, and how the types of one kind's files are kept together."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, cast

import pyarrow as pa

from prefect_registry.errors import InvalidInput

Types = Mapping[str, pa.DataType]

_NAMES: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us", "UTC"),
    "local timestamp": pa.timestamp("us"),
}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")


def parse_types(columns: Mapping[str, str]) -> Types:
    """Types from their names: ``integer``, ``decimal(12, 2)``, or any name that pyarrow knows (``int16``).

    Raises ``InvalidInput`` that lists every name that means nothing.
    """
    found: dict[str, pa.DataType] = {}
    problems = []
    for column, name in columns.items():
        try:
            found[column] = _parsed(name.strip().lower())
        except (ValueError, pa.ArrowException):
            known = ", ".join([*_NAMES, "decimal(digits, decimals)"])
            problems.append(f"column {column!r}: {name!r} is no type; there are {known}, and the names of pyarrow")
    if problems:
        raise InvalidInput.of("columns", problems)
    return found


def _parsed(name: str) -> pa.DataType:
    decimal = _DECIMAL.fullmatch(name)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _NAMES[name] if name in _NAMES else cast(Any, pa).type_for_alias(name)


def known_types(schema: pa.Schema) -> Types:
    """The types that a schema settles: a column without a single value settles nothing."""
    return {field.name: field.type for field in schema if not pa.types.is_null(field.type)}


def united(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """One schema that covers those of all files (by their URLs), so that the table can be read as one.

    Raises ``InvalidInput`` that names the file and the columns that do not go together.
    """
    whole = pa.schema([])
    for url, schema in schemas.items():
        try:
            whole = pa.unify_schemas([whole, schema.remove_metadata()], promote_options="permissive")
        except pa.ArrowException:
            differing = [
                f"{url}: column {f.name!r} is {f.type}, and {whole.field(f.name).type} before"
                for f in schema
                if f.name in whole.names and not _go_together(whole.field(f.name), f)
            ]
            raise InvalidInput.of("the files", differing, todo="Name the columns' types in `columns`") from None
    return whole


def _go_together(one: pa.Field[Any], other: pa.Field[Any]) -> bool:
    try:
        pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def as_document(schema: pa.Schema) -> dict[str, Any]:
    """A schema as a JSON object: readable, and exact."""
    exact = base64.b64encode(schema.serialize().to_pybytes()).decode()
    return {"columns": {field.name: str(field.type) for field in schema}, "arrow": exact}


def of_document(value: Mapping[str, Any]) -> pa.Schema:
    """The schema that :func:`as_document` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["arrow"])))
