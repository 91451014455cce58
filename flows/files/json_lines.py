"""JSON lines: one object in each line. What is wrong is named by its line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.json as pj

from flows.files.problems import HalfWritten, bad_file
from flows.files.sources import Place, Source
from flows.files.types import Types

if TYPE_CHECKING:
    from flows.files.reading import Reading

_CHUNK_BYTES = 8 << 20
"""Columns and types are found out from the first chunk."""


def read_json_lines(place: Place, source: Source, reading: Reading) -> Iterator[pa.Table]:
    """The rows of a file of JSON objects, one in a line. A field that a row does not have is null."""
    schema: pa.Schema | None = None
    line = 1
    with place.open(source) as file:
        while chunk := file.read(_CHUNK_BYTES):
            chunk += file.readline()
            if chunk.strip():
                table = _table(source, reading, chunk, schema, line)
                schema = table.schema
                yield table
            line += chunk.count(b"\n")
    if schema is None:
        raise HalfWritten(f"{source.url} is empty", why="It has no line", file=source.url)


def _table(source: Source, reading: Reading, chunk: bytes, schema: pa.Schema | None, first_line: int) -> pa.Table:
    known: Types = {field.name: field.type for field in schema} if schema is not None else reading.types
    try:
        return _cast(_parse(chunk, known, schema is not None), known, schema)
    except (pa.ArrowException, ValueError) as error:
        raise _located(source, chunk, known, schema, first_line) or bad_file(source.url, str(error)[:300]) from error


def _parse(chunk: bytes, known: Types, closed: bool) -> pa.Table:
    explicit = pa.schema([(name, type_ if _is_read_directly(type_) else pa.string()) for name, type_ in known.items()])
    return pj.read_json(
        io.BytesIO(chunk),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=explicit, unexpected_field_behavior="error" if closed else "infer"
        ),
    )


def _is_read_directly(type_: pa.DataType) -> bool:
    """JSON has no dates, times and decimals: those are read as text and converted."""
    return not (pa.types.is_date(type_) or pa.types.is_time(type_) or pa.types.is_decimal(type_))


def _cast(table: pa.Table, known: Types, schema: pa.Schema | None) -> pa.Table:
    wanted = schema or pa.schema([(f.name, known.get(f.name, f.type)) for f in table.schema])
    return table if table.schema.equals(wanted) else table.select(wanted.names).cast(wanted)


# -- what went wrong, and where --------------------------------------------------------------------------------------


def _located(source: Source, chunk: bytes, known: Types, schema: pa.Schema | None, first_line: int) -> Exception | None:
    """The error for the first line that makes the lines up to it unreadable, found by halving."""
    lines = chunk.splitlines(keepends=True)
    good, bad = 0, len(lines)  # so many lines are readable, and so many are not
    while bad - good > 1:
        middle = (good + bad) // 2
        if _is_readable(b"".join(lines[:middle]), known, schema):
            good = middle
        else:
            bad = middle
    line, number = lines[bad - 1], first_line + bad - 1
    why = _problem(line, known, schema)
    if why is None:
        return None
    if bad == len(lines) and not line.endswith(b"\n") and not _is_whole(line):
        where = f"{source.url}, line {number:,}: {why}"
        return HalfWritten(where, why="The last line is cut off", file=source.url, line=number)
    return bad_file(source.url, why, line=number)


def _is_whole(line: bytes) -> bool:
    """Whether nothing can be missing at the end of a line: its braces or brackets are closed."""
    try:
        return isinstance(orjson.loads(line), (dict, list))
    except orjson.JSONDecodeError:
        return False


def _is_readable(data: bytes, known: Types, schema: pa.Schema | None) -> bool:
    try:
        _cast(_parse(data, known, schema is not None), known, schema)
    except (pa.ArrowException, ValueError):
        return not data.strip()
    return True


def _problem(line: bytes, known: Types, schema: pa.Schema | None) -> str | None:
    """What is wrong with one line, in words."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"this is not JSON: {error}"
    if not isinstance(value, dict):
        return f"a line must be an object, and this is a {type(value).__name__}"
    new = [name for name in value if name not in known]
    if new and schema is not None:
        return f"field {new[0]!r} was in no line so far: name it and its type in `columns`"
    for name, item in value.items():
        if name in known and not _is_readable(orjson.dumps({name: item}), {name: known[name]}, None):
            shown = orjson.dumps(item).decode()[:80]
            if pa.types.is_null(known[name]):
                return f"field {name!r} was empty so far, and is {shown} here: name its type in `columns`"
            return f"field {name!r} should be {known[name]}, and is {shown}"
    return f"its fields have other types than those of the lines before: {line.decode('utf-8', 'replace')[:120]}"
