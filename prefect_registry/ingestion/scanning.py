"""Reading pyarrow datasets of any size in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

BATCH_BYTES = 16 << 20
_BUFFERED_BYTES = 32 << 20
_LOOKED_AT_ROWS = 64


def scan(dataset: pads.Dataset, columns: Sequence[str] | None = None, rows: int = 10_000) -> Iterator[pa.RecordBatch]:
    """All rows in order, at most ``rows`` at a time, and fewer where the Parquet footers say that rows are wide.

    One batch is in memory at a time, and of a Parquet file the pages that it needs. ``columns`` are exact names.
    """
    names = list(columns) if columns is not None else dataset.schema.names
    options: dict[str, Any] = {
        "schema": dataset.schema,
        "columns": {name: pc.field(name) for name in names} if columns is not None else None,
        "batch_readahead": 1,
        "fragment_readahead": 1,
        "use_threads": False,
        "fragment_scan_options": pads.ParquetFragmentScanOptions(
            pre_buffer=False, use_buffered_stream=True, buffer_size=_buffer_bytes(len(names))
        ),
    }
    for fragment in dataset.get_fragments():
        yield from fragment.to_batches(batch_size=_rows_at_once(fragment, rows, options), **options)


def joined(tables: Iterable[pa.Table], most_bytes: int) -> Iterator[pa.Table]:
    """Small tables put together until they have ``most_bytes``, so that parts are few and of a size that reads well."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        waiting.append(table)
        size += table.nbytes
        if size >= most_bytes:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def pieces(batch: pa.RecordBatch, most_bytes: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """The batch, cut until each part is about as small as asked, or has one row."""
    if batch.num_rows <= 1 or batch.nbytes <= most_bytes:
        yield batch
        return
    step = max(1, int(batch.num_rows * most_bytes / batch.nbytes))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _rows_at_once(fragment: Any, rows: int, options: dict[str, Any]) -> int:
    """How many rows are about as large as one batch may be, by the footer and by a look at the first rows: what long
    texts take that repeat (dictionary encoding) is in no footer.
    """
    if not isinstance(fragment, pads.ParquetFileFragment):
        return rows
    widest = max((g.total_byte_size / g.num_rows for g in fragment.row_groups if g.num_rows), default=0.0)
    if any(_may_repeat(field.type) for field in fragment.physical_schema):
        first = next(iter(fragment.to_batches(batch_size=_LOOKED_AT_ROWS, **options)), None)
        widest = max(widest, first.nbytes / first.num_rows if first else 0.0)
    return max(1, min(rows, int(BATCH_BYTES / widest) if widest else rows))


def _may_repeat(type_: Any) -> bool:
    return pa.types.is_nested(type_) or not (pa.types.is_primitive(type_) or pa.types.is_null(type_))


def _buffer_bytes(columns: int) -> int:
    """How much of each column is read at a time: few requests to an object store, and little memory for wide tables."""
    return max(64 << 10, min(1 << 20, _BUFFERED_BYTES // max(1, columns)))
