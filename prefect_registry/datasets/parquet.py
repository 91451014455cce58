"""Parquet bytes in and out of pyarrow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from prefect_registry.errors import InvalidInput

Shape = tuple[int, int]


def encode_table(table: pa.Table, **options: Any) -> tuple[bytes, Shape]:
    """A table as one Parquet file, with its rows and row groups. zstd unless ``compression`` says otherwise."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **{"compression": "zstd", **options})
    data = sink.getvalue()
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    return data.to_pybytes(), (metadata.num_rows, metadata.num_row_groups)


def encode_partitioned(
    table: pa.Table, columns: Sequence[str], name: str, **options: Any
) -> list[tuple[str, tuple[bytes, Shape]]]:
    """One Parquet file per combination of values of ``columns``, under Hive-style paths."""
    missing = [c for c in columns if c not in table.column_names]
    if missing or not columns:
        raise InvalidInput.of(
            "partition_by", [f"the table has no column {c!r}; it has {table.column_names}" for c in missing]
            or ["no column given"]
        )  # fmt: skip
    partitioning = pads.HivePartitioning(pa.schema([table.schema.field(c) for c in columns]))
    keys = table.select(list(columns)).group_by(list(columns)).aggregate([]).to_pylist()
    files = []
    for key in sorted(keys, key=lambda k: tuple((v is not None, str(v)) for v in k.values())):
        condition: Any = None
        for column, value in key.items():
            field = pads.field(column)
            part = field.is_null() if value is None else field == pa.scalar(value, table.schema.field(column).type)
            condition = part if condition is None else condition & part
        rows = table.filter(condition).drop_columns(list(columns))
        folder = partitioning.format(condition)[0].rstrip("/")
        files.append((f"{folder}/{name}", encode_table(rows, **options)))
    return files


def stream_shape(path: str, file: BinaryIO) -> tuple[int | None, int | None]:
    """Rows and row groups of an open file that is named ``*.parquet``; (None, None) for any other."""
    if not path.endswith(".parquet"):
        return None, None
    try:
        file.seek(0)
        metadata = pq.ParquetFile(
            pa.PythonFile(cast("io.IOBase", file), mode="r") if not isinstance(file, io.BytesIO) else file
        ).metadata
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(
            f"{path} is not a complete Parquet file",
            why=str(error).partition("\n")[0][:200],
            todo="Close the Parquet writer before the file, or give the file another ending",
            committed="no",
        ) from error
    return metadata.num_rows, metadata.num_row_groups


def local_shape(file: Path) -> tuple[int | None, int | None]:
    """The same for a file on the local disk."""
    if file.suffix != ".parquet":
        return None, None
    with file.open("rb") as stream:
        return stream_shape(file.name, stream)
