"""Parquet files, read one batch of rows at a time, and brought to the types that are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from flows.files.problems import HalfWritten, bad_file
from flows.files.sources import Place, Source

if TYPE_CHECKING:
    from flows.files.reading import Reading

_ROWS = 64 * 1024


def read_parquet(place: Place, source: Source, reading: Reading) -> Iterator[pa.Table]:
    """The rows of a Parquet file."""
    with place.open(source, decompress=False) as file:
        whole = _opened(source, file)
        schema = whole.schema_arrow.remove_metadata()
        wanted = pa.schema([f.with_type(reading.types.get(f.name, f.type)) for f in schema])
        yield wanted.empty_table()
        try:
            for batch in whole.iter_batches(batch_size=_ROWS):
                yield _converted(source, pa.Table.from_batches([batch]).replace_schema_metadata(), wanted)
        except OSError as error:
            if error.errno is not None:
                raise
            raise bad_file(source.url, f"A page cannot be read: {error}") from error


def _opened(source: Source, file: object) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)  # type: ignore[arg-type]  # the stubs know only some kinds of files
    except pa.ArrowInvalid as error:  # the footer is written last
        why = str(error).partition(". Either")[0]
        raise HalfWritten(f"{source.url} has no Parquet footer", why=why, file=source.url) from error


def _converted(source: Source, table: pa.Table, wanted: pa.Schema) -> pa.Table:
    if table.schema.equals(wanted):
        return table
    for field in wanted:
        try:
            table.column(field.name).cast(field.type)
        except pa.ArrowException as error:
            found = table.schema.field(field.name).type
            why = f"column {field.name!r} should be {field.type}, and is {found}: {str(error)[:120]}"
            raise bad_file(source.url, why) from error
    return table.cast(wanted)
