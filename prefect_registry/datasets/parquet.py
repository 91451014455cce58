"""Parquet bytes in and out of pyarrow."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Sequence
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from prefect_registry.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow.dataset as pads  # imports pandas too, 50 MiB that a plain upload does not need


class Shape(NamedTuple):
    """What a Parquet footer tells: rows, row groups, and a digest of the columns' names and types."""

    rows: int
    row_groups: int
    columns: str


Encoded = tuple[str, bytes, Shape]
"""A file that was encoded and not stored yet: its path, bytes and shape."""


def shape_of(metadata: pq.FileMetaData) -> Shape:
    """The shape in a footer."""
    described = metadata.schema.to_arrow_schema().to_string(show_field_metadata=False, show_schema_metadata=False)
    return Shape(metadata.num_rows, metadata.num_row_groups, hashlib.sha256(described.encode()).hexdigest()[:16])


def encode_table(table: pa.Table, **options: Any) -> tuple[bytes, Shape]:
    """A table as one Parquet file. zstd unless ``compression`` says otherwise."""
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(table, sink, **{"compression": "zstd", **options})
    except (pa.ArrowException, TypeError) as error:
        raise InvalidInput(
            "The table cannot be written as Parquet",
            why=str(error).partition("\n")[0][:300],
            todo="Change the columns or the options that are named",
            committed="no",
        ) from error
    data = sink.getvalue()
    return data.to_pybytes(), shape_of(pq.ParquetFile(pa.BufferReader(data)).metadata)


def encode_partitioned(
    table: pa.Table, columns: Sequence[str], name: Callable[[], str], **options: Any
) -> tuple[list[Encoded], dict[str, str]]:
    """One Parquet file per combination of values of ``columns``, under Hive-style paths; and the columns' types.

    ``name`` gives each file its own name, so that two folders that differ only in case hold no two files that do.
    A table without rows gives one file without rows, so that its columns are known.
    """
    import pyarrow.dataset as pads

    table = _decoded(table, columns)
    fields = [table.schema.field(column) for column in columns]
    types = {field.name: str(field.type) for field in fields}
    partitioning = pads.HivePartitioning(pa.schema(fields))
    rest = table.drop_columns(list(columns))
    if not table.num_rows:
        return [(name(), *encode_table(rest, **options))], types
    position = "position"
    while position in columns:
        position += "_"
    numbered = table.select(list(columns)).append_column(position, pa.array(range(table.num_rows), pa.int64()))
    groups = numbered.group_by(list(columns), use_threads=False).aggregate([(position, "list")])
    positions = groups.column(f"{position}_list")
    files: dict[str, Encoded] = {}
    for i, group in enumerate(groups.select(list(columns)).to_pylist()):
        folder = _folder(partitioning, [(field, group[field.name]) for field in fields])
        if folder in files:
            problem = f"two values both have the folder {folder!r:.200}, such as NaN, or null and the text for it"
            raise InvalidInput.of("partition_by", [problem])
        files[folder] = (f"{folder}/{name()}", *encode_table(rest.take(positions[i].values), **options))
    return list(files.values()), types


def _decoded(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with the partition columns as plain types; ``InvalidInput`` for what a folder's name cannot hold."""
    problems = [] if columns else ["no column is given"]
    for column in columns:
        if column not in table.column_names:
            problems.append(f"the table has no column {column!r:.80}; it has {table.column_names}")
            continue
        if not column or set(column) & set("/=\\%") or column.startswith(("_", ".")):
            problems.append(f"the column {column!r:.80} cannot name a folder: it has / \\ = % or starts with _ or .")
            continue
        type_ = table.schema.field(column).type
        value_type = type_.value_type if isinstance(type_, pa.DictionaryType) else type_
        if not _can_be_folder(value_type):
            problems.append(f"the column {column!r:.80} is {type_}; cast it to a string, an integer or a date")
        elif value_type != type_:
            i = table.column_names.index(column)
            table = table.set_column(i, column, table.column(i).cast(value_type))
    if len(set(columns)) < len(columns):
        problems.append("a column is named twice")
    if problems:
        raise InvalidInput.of("partition_by", problems)
    return table


def _can_be_folder(type_: pa.DataType) -> bool:
    """Whether values of this type can be spelled as text and read back equal."""
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_null(type_):
        return False
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):  # Arrow does not read them from folders
        return False
    try:
        return type_named(str(type_)) == type_
    except ValueError:
        return False


def type_named(alias: str) -> pa.DataType:
    """The Arrow type of that name. Raises ``ValueError`` for a type that no name tells whole."""
    named: Any = pa.type_for_alias(alias)  # type: ignore[call-overload]
    return cast("pa.DataType", named)


@functools.lru_cache(maxsize=10_000)
def one_spelling(text: str, alias: str) -> str:
    """The same text for whatever spells the same value of an Arrow type: ``7`` and ``7.0``, ``2026-07-01`` and
    ``2026-07-01T00:00:00``. What is no such value stays what it is.
    """
    type_ = type_named(alias)
    plain = text.removesuffix(".0") if pa.types.is_integer(type_) else text
    try:
        if pa.types.is_time(type_):  # which Arrow does not read from texts
            return time.fromisoformat(text).isoformat()
        return str(pa.scalar(plain).cast(type_).cast(pa.string()))
    except (pa.ArrowException, ValueError):
        return text


def _folder(partitioning: pads.HivePartitioning, values: Sequence[tuple[pa.Field[Any], Any]]) -> str:
    import pyarrow.dataset as pads

    condition: Any = None
    for field, value in values:
        reference = pads.field(field.name)
        part = reference.is_null() if value is None else reference == pa.scalar(value, field.type)
        condition = part if condition is None else condition & part
    return str(partitioning.format(condition)[0]).rstrip("/")


def stream_shape(path: str, file: BinaryIO) -> Shape:
    """The shape of an open file."""
    try:
        file.seek(0)
        source = file if isinstance(file, io.BytesIO) else pa.PythonFile(cast("io.IOBase", file), mode="r")
        return shape_of(pq.ParquetFile(source).metadata)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(
            f"{path} is not a complete Parquet file",
            why=str(error).partition("\n")[0][:200],
            todo="Close the Parquet writer before the file, or give the file another ending",
            committed="no",
        ) from error


def local_shape(file: Path) -> Shape:
    """The same for a file on the local disk."""
    with file.open("rb") as stream:
        return stream_shape(file.name, stream)


def as_arrow(table: Any) -> pa.Table:
    """A pyarrow table from one, or from anything that exports the Arrow stream interface (polars, pandas, DuckDB).

    Raises ``InvalidInput`` for anything else, and for a table with two columns of one name, which nobody could read.
    """
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    elif type(table).__module__.partition(".")[0] == "polars" and hasattr(table, "to_arrow"):
        from polars import CompatLevel

        table = table.to_arrow(compat_level=CompatLevel.oldest())  # newer types than those cannot be filtered or cast
    elif not isinstance(table, pa.Table) and hasattr(table, "__arrow_c_stream__"):
        table = pa.table(table)
    if not isinstance(table, pa.Table):
        raise InvalidInput.of("table", [f"write_table takes a pyarrow table or DataFrame, not {type(table).__name__}"])
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise InvalidInput.of("table", [f"more than one column is named {name!r:.80}" for name in twice])
    return table
