"""Arrow values as JSON and CSV, so that each can be had back exactly.

JSON has no form for much of what Arrow has, so (as in protobuf's mapping to JSON) these become texts:

- decimals, with all their digits; NaN, Infinity and -Infinity; bytes as base64;
- dates, times and timestamps in ISO 8601, as precise as the column: with ``Z``, in UTC, if the column has a time zone;
- durations as ISO 8601 seconds (``PT1.5S``).

Maps become lists of objects with ``key`` and ``value``, as keys may be of any type. Categories are their values. In CSV
nested values are this JSON as text; a null is an empty field, an empty text is ``""``. (So a null in a table of one
column is an empty line, which many readers pass over.)
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

_OF_FORMULAS = r"^[=+\-@\t\r\n]"
"""What spreadsheets take for the beginning of a formula."""
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_BYTES = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view
)  # fmt: skip
_LISTS = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list,
    pa.types.is_list_view, pa.types.is_large_list_view,
)  # fmt: skip
_NO_HEADER = pacsv.WriteOptions(include_header=False)


def json_lines(batch: pa.RecordBatch) -> bytes:
    """A line of UTF-8 JSON for each row, an object with all columns in order."""
    names = batch.schema.names
    rows = zip(*(values(column) for column in batch.columns), strict=True)
    return b"".join(_dumps(dict(zip(names, row, strict=True))) + b"\n" for row in rows)


def csv_lines(batch: pa.RecordBatch, escape_formulas: bool) -> bytes:
    """A line of UTF-8 CSV (RFC 4180, but with line feeds) for each row; texts in quotes."""
    columns = [_cells(column, escape_formulas) for column in batch.columns]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_arrays(columns, [str(i) for i in range(len(columns))])
    pacsv.write_csv(table, sink, _NO_HEADER)
    return sink.getvalue().to_pybytes()


def csv_header(schema: pa.Schema, escape_formulas: bool) -> bytes:
    """The line with the names of the columns."""
    names = [pa.array([name], pa.string()) for name in schema.names]
    return csv_lines(pa.record_batch(names, [str(i) for i in range(len(names))]), escape_formulas)


def values(array: Any) -> list[Any]:
    """The values as JSON has them: None, bool, int, finite float, str, and lists and dictionaries of these."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return values(array.storage)
    if isinstance(type_, pa.DictionaryType):
        return values(array.dictionary_decode())
    if pa.types.is_struct(type_):
        rows = (
            zip(*(values(child) for child in array.flatten()), strict=True) if type_.num_fields else [()] * len(array)
        )
        names = [field.name for field in type_]
        return [dict(zip(names, row, strict=True)) if valid else None
                for row, valid in zip(rows, array.is_valid().to_pylist(), strict=True)]  # fmt: skip
    if pa.types.is_map(type_):
        entries = pa.struct([pa.field("key", type_.key_type), pa.field("value", type_.item_type)])
        return values(array.cast(pa.list_(entries)))
    if any(is_kind(type_) for is_kind in _LISTS):
        return list(_lists(array))
    return _leaves(array, type_)


def _lists(array: Any) -> Iterator[list[Any] | None]:
    items, at = values(array.flatten()), 0
    for count in pc.list_value_length(array).to_pylist():
        yield None if count is None else items[at : at + count]
        at += count or 0


def _leaves(array: Any, type_: Any) -> list[Any]:
    if pa.types.is_floating(type_):
        floats = array.to_pylist()
        if all(v is None or math.isfinite(v) for v in floats):
            return list(floats)
        return [v if v is None or math.isfinite(v) else _non_finite(v) for v in floats]
    if pa.types.is_duration(type_):
        return [None if n is None else _duration(n, type_.unit) for n in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_timestamp(type_):
        texts, end = array.cast(pa.timestamp(type_.unit)).cast(pa.string()).to_pylist(), "Z" if type_.tz else ""
        return [None if text is None else text.replace(" ", "T", 1) + end for text in texts]
    if pa.types.is_temporal(type_) or pa.types.is_decimal(type_):
        return list(array.cast(pa.string()).to_pylist())
    found = array.to_pylist()
    if any(is_kind(type_) for is_kind in _BYTES):
        return [None if data is None else base64.b64encode(data).decode() for data in found]
    return list(found)


def _non_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _duration(count: int, unit: str) -> str:
    digits = _DIGITS[unit]
    whole, rest = divmod(abs(count), 10**digits)
    fraction = f".{rest:0{digits}d}".rstrip("0").rstrip(".") if digits else ""
    return f"{'-' * (count < 0)}PT{whole}{fraction}S"


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=str)


def _cells(array: Any, escape_formulas: bool) -> Any:
    """A column that the CSV writer takes: numbers and booleans as they are, the rest as text."""
    type_ = array.type
    if isinstance(type_, pa.DictionaryType):
        return _cells(array.dictionary_decode(), escape_formulas)
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        return array
    if pa.types.is_floating(type_):
        return array.cast(pa.float32()) if pa.types.is_float16(type_) else array
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return _escaped(array) if escape_formulas else array
    texts = [v if v is None or isinstance(v, str) else _dumps(v).decode() for v in values(array)]
    text: Any = pa.array(texts, pa.large_string())
    return _escaped(text) if escape_formulas and not pa.types.is_decimal(type_) else text


def _escaped(array: Any) -> Any:
    """Texts that a spreadsheet would run as formulas, with an apostrophe before them."""
    dangerous = pc.match_substring_regex(array, _OF_FORMULAS)
    return pc.if_else(
        dangerous, pc.binary_join_element_wise(pa.scalar("'", array.type), array, pa.scalar("", array.type)), array
    )
