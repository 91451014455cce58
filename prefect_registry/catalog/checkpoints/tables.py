"""Tables of the index as Parquet files and back, a few thousand rows at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_registry.catalog.schema import DDL

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_A_TIME = 20_000
ROWS_PER_GROUP = 100_000
_FLAGS = {"isolated", "implicit", "own_run", "external", "member", "deleted"}
_REPEATED = {
    "purpose", "model_id", "revision", "config", "publish", "prefect", "outcome", "state", "kind", "step", "mode",
    "partition", "partitioning", "tags", "reason", "record", "name", "relation", "type",
}  # fmt: skip
"""Columns of texts of which many rows have the same."""


@cache
def key_of(table: str) -> tuple[str, ...]:
    """The columns of a table's primary key."""
    found = sorted((place, name) for name, _, place in _columns(table) if place)
    return tuple(name for _, name in found)


@cache
def _columns(table: str) -> tuple[tuple[str, str, int], ...]:
    """Name, type in SQLite, and place in the primary key (0: not in it) of each column."""
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(DDL)
        found = tuple((r[1], r[2], r[5]) for r in connection.execute(f"PRAGMA table_info({table})"))
    connection.close()
    return found


@cache
def schema_of(table: str) -> pa.Schema:
    """A table's columns with the types that they have in Parquet. JSON is text."""
    import pyarrow as pa

    def type_of(name: str, declared: str) -> pa.DataType:
        if declared == "INTEGER" and (name == "at" or name.endswith("_at")):
            return pa.timestamp("us", tz="UTC")
        if name in _FLAGS:
            return pa.bool_()
        if declared == "INTEGER":
            return pa.int64()
        return pa.float64() if declared == "REAL" else pa.string()

    return pa.schema([pa.field(name, type_of(name, declared)) for name, declared, _ in _columns(table)])


def save(connection: sqlite3.Connection, table: str, condition: str, values: Mapping[str, Any], file: Path) -> int:
    """Write the rows of a condition, in the order of their keys. Returns how many; without any, there is no file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(table)
    cursor = connection.cursor()
    cursor.row_factory = None
    cursor.execute(
        f"SELECT {', '.join(schema.names)} FROM {table} WHERE {condition} ORDER BY {', '.join(key_of(table))}", values
    )
    writer, waiting, rows = None, [], 0
    try:
        while found := cursor.fetchmany(ROWS_AT_A_TIME):
            rows += len(found)
            waiting.append(_batch(found, schema))
            if writer is None:
                writer = pq.ParquetWriter(file, schema, compression="zstd")
            if len(waiting) * ROWS_AT_A_TIME >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if writer is not None and waiting:
            writer.write_table(pa.Table.from_batches(waiting))
    finally:
        if writer is not None:
            writer.close()
    return rows


def save_empty(table: str, file: Path) -> None:
    """A file that has the columns of a table and no rows."""
    import pyarrow.parquet as pq

    pq.write_table(schema_of(table).empty_table(), file, compression="zstd")


def _batch(rows: list[Any], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    columns = []
    for field, values in zip(schema, zip(*rows, strict=True), strict=True):
        stored = pa.int64() if pa.types.is_timestamp(field.type) or pa.types.is_boolean(field.type) else field.type
        columns.append(pa.array(values, stored).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def rows_of(file: Path, table: str) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a file as the index has them, in batches. ``ValueError`` when it has other columns."""
    import pyarrow.parquet as pq

    schema = schema_of(table)
    if not pq.read_schema(file).equals(schema):
        raise ValueError(f"it has other columns than the table {table}")
    with pq.ParquetFile(file, read_dictionary=[name for name in schema.names if name in _REPEATED]) as found:
        for batch in found.iter_batches(ROWS_AT_A_TIME, use_threads=False):
            yield list(zip(*(_values(column) for column in batch.columns), strict=True))


def _values(column: Any) -> list[Any]:
    """A column as SQLite takes it. Texts that come again and again are made once."""
    import pyarrow as pa

    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_dictionary(column.type):
        texts = column.dictionary.to_pylist()
        return [None if i is None else texts[i] for i in column.indices.to_pylist()]
    whole = pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type)
    return list((column.cast(pa.int64()) if whole else column).to_pylist())


def insert(connection: sqlite3.Connection, table: str, file: Path) -> int:
    """Put the rows of a file into the index; a row that is there stays. Returns how many it has."""
    names = [name for name, _, _ in _columns(table)]
    sql = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    count = 0
    for rows in rows_of(file, table):
        connection.executemany(sql, rows)
        count += len(rows)
    return count
