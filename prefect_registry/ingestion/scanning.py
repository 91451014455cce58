"""Reading pyarrow datasets of any size in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

BATCH_BYTES = 16 << 20


def scan(dataset: pads.Dataset, columns: Sequence[str] | None = None, rows: int = 10_000) -> Iterator[pa.RecordBatch]:
    """All rows in order, at most ``rows`` at a time, and fewer where the Parquet footers say that rows are wide.

    One batch is in memory at a time, and of a Parquet file the pages that it needs. ``columns`` are exact names.
    """
    projection: Any = None if columns is None else {name: pc.field(name) for name in columns}
    for fragment in dataset.get_fragments():
        yield from fragment.to_batches(
            schema=dataset.schema,
            columns=projection,
            batch_size=_rows_at_once(fragment, rows),
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
            fragment_scan_options=pads.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True),
        )


def pieces(batch: pa.RecordBatch, most_bytes: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """The batch, cut until each part is about as small as asked, or has one row."""
    if batch.num_rows <= 1 or batch.nbytes <= most_bytes:
        yield batch
        return
    step = max(1, int(batch.num_rows * most_bytes / batch.nbytes))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _rows_at_once(fragment: Any, rows: int) -> int:
    groups = fragment.row_groups if isinstance(fragment, pads.ParquetFileFragment) else []
    widest = max((g.total_byte_size / g.num_rows for g in groups if g.num_rows), default=0.0)
    return max(1, min(rows, int(BATCH_BYTES / widest) if widest else rows))
