"""When a row is from, by any of its fields: dates, timestamps, and texts in ISO 8601."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prefect_registry.errors import InvalidInput

_TEXT = re.compile(r"\d{4}(-\d\d(-\d\d([T ].+)?)?)?", re.ASCII)
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""1 January of year 1, and 31 December 9999, in days since 1970."""
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def field_of(batch: pa.RecordBatch, name: str) -> pa.Array[Any]:
    """The column ``name``; else the field of a struct to which its dotted path leads. Raises ``InvalidInput``."""
    first, *rest = [name] if name in batch.schema.names else name.split(".")
    if first not in batch.schema.names:
        raise InvalidInput.of("the field", [f"there is no column {name!r:.80}; there are {batch.schema.names}"])
    array: Any = batch.column(first)
    for part in rest:
        if not pa.types.is_struct(array.type) or array.type.get_field_index(part) < 0:
            raise InvalidInput.of("the field", [f"there is no field {name!r:.80} in {first!r:.80}"])
        array = pc.struct_field(array, array.type.get_field_index(part))
    found: pa.Array[Any] = array
    return found


def years(array: pa.Array[Any]) -> pa.Array[Any]:
    """The year of each value as int32, null where it is missing or no date.

    Of texts it is the year that is written; of timestamps with a time zone that in UTC. Raises ``InvalidInput`` for
    types that are none of these.
    """
    if _is_text(array.type):
        return _parsed(array, lambda moment: moment.year, pa.int32())
    found: Any = _moments(array)
    numbers: pa.Array[Any] = pc.cast(pc.year(found), pa.int32())
    return numbers


def moments(array: pa.Array[Any]) -> pa.Array[Any]:
    """The moment of each value in UTC, as timestamp[us]; null and errors as in :func:`years`."""
    return _parsed(array, _utc, pa.timestamp("us")) if _is_text(array.type) else _moments(array)


def _is_text(type_: pa.DataType) -> bool:
    value = type_.value_type if isinstance(type_, pa.DictionaryType) else type_
    return pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)


def _parsed(array: pa.Array[Any], of: Callable[[datetime], Any], type_: pa.DataType) -> pa.Array[Any]:
    encoded: Any = array if isinstance(array, pa.DictionaryArray) else array.cast(pa.large_string()).dictionary_encode()
    found = [None if moment is None else of(moment) for moment in map(_moment, encoded.dictionary.to_pylist())]
    parsed: Any = pa.array(found, type_).take(encoded.indices)
    return parsed  # type: ignore[no-any-return]


def _moment(text: str | None) -> datetime | None:
    """What a text in ISO 8601 says, a year or a month being its first day; None for any other text."""
    match = None if text is None else _TEXT.fullmatch(text.strip())
    if match is None:
        return None
    whole = match[0] + ("" if match[2] else "-01" if match[1] else "-01-01")
    try:
        return datetime.fromisoformat(whole)
    except ValueError:
        return None


def _utc(moment: datetime) -> datetime | None:
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError:
        return None


def _moments(array: pa.Array[Any]) -> pa.Array[Any]:
    type_: Any = array.type
    if pa.types.is_null(type_):
        return pa.nulls(len(array), pa.timestamp("us"))
    if pa.types.is_date(type_):
        array, unit = (array, None) if pa.types.is_date32(type_) else (array.cast(pa.timestamp("ms")), "ms")
        counts: Any = array.cast(pa.int32() if unit is None else pa.int64())
    elif pa.types.is_timestamp(type_):
        unit = type_.unit
        array = array.cast(pa.timestamp(type_.unit))
        counts = array.cast(pa.int64())
    else:
        raise InvalidInput.of("the field", [f"{type_} is no date, timestamp or text"])
    if unit != "ns":  # which holds nothing outside
        per_day = 1 if unit is None else _PER_DAY[unit]
        first, end = (pa.scalar(day * per_day, counts.type) for day in (_FIRST_DAY, _LAST_DAY + 1))
        inside = pc.and_(pc.greater_equal(counts, first), pc.less(counts, end))
        array = pc.if_else(inside, array, pa.scalar(None, array.type))
    return pc.cast(array, pa.timestamp("us"), safe=False)
