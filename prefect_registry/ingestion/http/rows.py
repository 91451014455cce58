"""The rows of a downloaded file: CSV, JSON lines or Parquet, as it is or packed, a few megabytes at a time."""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from prefect_registry.ingestion.http.problems import LimitExceeded, SourceError
from prefect_registry.ingestion.http.unpacking import UnpackLimits, unpack
from prefect_registry.ingestion.scanning import joined
from prefect_registry.names import path_problems

_HEAD_BYTES = 8 << 20
"""Columns and types are found out from so much of the beginning."""
_BLOCK_BYTES = 2 << 20
"""A row of CSV may have so many bytes. pyarrow reads some thirty blocks ahead, which is what takes the memory."""
_LONGEST_LINE_BYTES = 64 << 20
_TABLE_BYTES = 32 << 20
_OF_MACOS = "__MACOSX"
"""In zips that macOS makes, the folder of what belongs to each file and is none itself."""
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True)
class Format:
    """How files are read: ``name`` is csv, jsonl or parquet; ``columns`` are types by name; the rest is for CSV."""

    name: str
    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    delimiter: str = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("", "NA")


def unpacked(path: Path, name: str, members: str, limits: UnpackLimits) -> list[Path]:
    """The file itself, or what is packed in it and has a name like ``members``; written beside it.

    Raises ``LimitExceeded`` and ``SourceError`` as :func:`unpack` does.
    """
    with open(path, "rb") as file:
        if not file.read(4).startswith(_PACKED):
            return [path]
    name = name if name and not list(path_problems(name)) else "file"
    found = [f for f in unpack(path, path.parent / "unpacked", limits, name) if _OF_MACOS not in f.parts]
    wanted = [f for f in found if fnmatch.fnmatch(f.relative_to(path.parent / "unpacked").as_posix(), members)]
    if not wanted:
        names = ", ".join(f.name for f in found[:5])
        raise SourceError(f"{name} has no member like {members!r:.80}", why=f"There are {names or 'none'}")
    return wanted


def tables(path: Path, form: Format, source: str) -> Iterator[pa.Table]:
    """The rows of a file as tables of about 32 MiB, at least one. Raises ``SourceError`` for what cannot be read.

    Args:
        source: What the file is called in messages.
    """
    readers = {"csv": _csv, "jsonl": _json_lines, "parquet": _parquet}
    try:
        with open(path, "rb") as file:
            yield from joined(readers[form.name](file, form), _TABLE_BYTES)
    except (pa.ArrowException, UnicodeError, LookupError) as error:
        raise SourceError(
            f"{source} cannot be read as {form.name}",
            why=str(error)[:500],
            todo="Correct format, columns, delimiter or encoding in the plan, or tell the publisher",
        ) from error


def together(before: pa.Schema | None, schema: pa.Schema, source: str) -> pa.Schema:
    """The columns of one table made of files, those ``before`` and one with ``schema``. Raises ``SourceError`` when
    nobody could read them as one table.
    """
    if before is None or before == schema:
        return schema
    try:
        return pa.unify_schemas([_plain(before), _plain(schema)], promote_options="permissive")
    except pa.ArrowException as error:
        raise SourceError(
            f"{source} has files that do not go together",
            why=str(error).partition("\n")[0][:300],
            todo="Give the types of these columns in the plan, or name the members that belong to the table",
        ) from error


def _plain(schema: pa.Schema) -> pa.Schema:
    """With the types of their values in place of categories, as which those of several files are read."""
    fields = [f.with_type(f.type.value_type) if isinstance(f.type, pa.DictionaryType) else f for f in schema]
    return pa.schema(fields)


def _csv(file: BinaryIO, form: Format) -> Iterator[pa.Table]:
    head = file.read(_HEAD_BYTES)
    head += file.readline(_LONGEST_LINE_BYTES)
    file.seek(0)
    types = dict(form.columns)
    with suppress(pa.ArrowInvalid, UnicodeError), _opened(io.BytesIO(head), form, types, len(head) + 1) as stream:
        types = {f.name: f.type for f in stream.schema}  # what is wrong here is told below, by its row
    with _opened(file, form, types, _BLOCK_BYTES) as stream:
        twice = sorted({n for n in stream.schema.names if stream.schema.names.count(n) > 1})
        if twice:
            raise pa.ArrowInvalid(f"it names columns twice: {', '.join(twice)}")
        binary = [f.name for f in stream.schema if pa.types.is_binary(f.type) and f.name not in form.columns]
        if binary:
            raise pa.ArrowInvalid(f"the column {binary[0]!r:.80} is not {form.encoding}")
        yield stream.schema.empty_table()
        for batch in stream:
            yield pa.Table.from_batches([batch])


def _opened(file: Any, form: Format, types: Mapping[str, pa.DataType], block: int) -> pc.CSVStreamingReader:
    return pc.open_csv(
        file,
        read_options=pc.ReadOptions(use_threads=False, block_size=block, encoding=form.encoding),
        parse_options=pc.ParseOptions(delimiter=form.delimiter, newlines_in_values=True),
        convert_options=pc.ConvertOptions(
            column_types=dict(types),
            null_values=list(form.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _json_lines(file: BinaryIO, form: Format) -> Iterator[pa.Table]:
    schema = pa.schema(list(form.columns.items()))
    closed = False
    while chunk := file.read(_HEAD_BYTES):
        if not chunk.endswith(b"\n"):
            chunk += file.readline(_LONGEST_LINE_BYTES)
        if len(chunk) >= _HEAD_BYTES + _LONGEST_LINE_BYTES:
            raise LimitExceeded(f"A line has more than {_LONGEST_LINE_BYTES:,} bytes")
        if not chunk.strip():
            continue
        table = pj.read_json(
            io.BytesIO(chunk),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="error" if closed else "infer"
            ),
        )
        schema, closed = table.schema, True
        yield table
    if not closed:
        raise pa.ArrowInvalid("it has no line")


def _parquet(file: BinaryIO, form: Format) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as parquet:
        yield parquet.schema_arrow.empty_table()
        for batch in parquet.iter_batches(batch_size=65_536, use_threads=False):
            yield pa.Table.from_batches([batch])
