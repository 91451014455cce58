"""Files that grow page by page. Nothing is open or held between pages but what the format itself needs."""

from __future__ import annotations

import gzip
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prefect_registry.ingestion.exporting.encoding import csv_header, csv_lines, json_lines

_GZIP_LEVEL = 6
_ROW_GROUP_BYTES = 16 << 20


class ExportFile(ABC):
    """One file of an export. Rows wait in memory until there are enough for a page.

    Args:
        path: Where it is written.
        schema: Of the rows.
        rows_in_a_page: How many rows are written together.
    """

    def __init__(self, path: Path, schema: pa.Schema, rows_in_a_page: int) -> None:
        self.path = path
        self.rows = 0
        self.held_bytes = 0
        self._schema = schema
        self._rows_in_a_page = rows_in_a_page
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take more rows."""
        self._held.append(batch)
        self._held_rows += batch.num_rows
        self.held_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._held_rows >= self._rows_in_a_page:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        table = pa.Table.from_batches(self._held, self._schema)
        self._held, self._held_rows, self.held_bytes = [], 0, 0
        for start in range(0, table.num_rows, self._rows_in_a_page):
            self._write(table.slice(start, self._rows_in_a_page))

    def close(self) -> None:
        """Write what waits, and end the file."""
        self.flush()
        self._end()

    @abstractmethod
    def _write(self, page: pa.Table) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...


class TextFile(ExportFile):
    """Lines, compressed: each page is a gzip member of its own, so that no compressor waits between pages.

    Files are the same bytes whenever they are written. gunzip, pandas, polars and DuckDB read all members.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        rows_in_a_page: int,
        lines: Callable[[pa.RecordBatch], bytes],
        header: bytes = b"",
    ) -> None:
        super().__init__(path, schema, rows_in_a_page)
        self._lines = lines
        self._append(header)

    def _write(self, page: pa.Table) -> None:
        self._append(b"".join(self._lines(batch) for batch in page.combine_chunks().to_batches()))

    def _append(self, data: bytes) -> None:
        with open(self.path, "ab") as file:
            if data or not file.tell():
                file.write(gzip.compress(data, _GZIP_LEVEL, mtime=0))

    def _end(self) -> None:
        pass


class ParquetFile(ExportFile):
    """Parquet, compressed by zstd; a page is a row group."""

    def __init__(self, path: Path, schema: pa.Schema, rows_in_a_page: int) -> None:
        super().__init__(path, schema, rows_in_a_page)
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def _write(self, page: pa.Table) -> None:
        self._writer.write_table(page, row_group_size=max(1, page.num_rows))

    def _end(self) -> None:
        self._writer.close()


class SpooledFile(ExportFile):
    """One of many files that grow side by side, each by small pages: these wait in a file beside it (Arrow's stream
    format, compressed), and the file is made of them when it is ended.

    A Parquet writer keeps the footer of every row group until the end, and readers want few and large ones; a
    spreadsheet's writer keeps much more.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        rows_in_a_page: int,
        make: Callable[[Path, pa.Schema, int], ExportFile] = ParquetFile,
    ) -> None:
        super().__init__(path, schema, rows_in_a_page)
        self._make = make
        self._spool = path.with_name(f"{path.name}.pages")
        self._page = io.BytesIO()
        self._pages = pa.ipc.new_stream(self._page, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))

    def _write(self, page: pa.Table) -> None:
        self._pages.write_table(page)
        self._append()

    def _append(self) -> None:
        """Write the page behind those that are there. The file is not held open: many systems allow only 256."""
        with open(self._spool, "ab") as file:
            file.write(self._page.getvalue())
        self._page.seek(0)
        self._page.truncate()

    def _end(self) -> None:
        self._pages.close()
        self._append()
        file = self._make(self.path, self._schema, self._rows_in_a_page)
        with pa.OSFile(str(self._spool), "rb") as source, pa.ipc.open_stream(source) as pages:
            for batch in pages:
                file.add(batch)
                if file.held_bytes >= _ROW_GROUP_BYTES:
                    file.flush()
        self._spool.unlink()
        file.close()


def json_file(path: Path, schema: pa.Schema, rows_in_a_page: int) -> ExportFile:
    """JSON lines."""
    return TextFile(path, schema, rows_in_a_page, json_lines)


def csv_file(path: Path, schema: pa.Schema, rows_in_a_page: int, escape_formulas: bool) -> ExportFile:
    """CSV with a header."""
    header = csv_header(schema, escape_formulas) if len(schema) else b""
    return TextFile(path, schema, rows_in_a_page, lambda batch: csv_lines(batch, escape_formulas), header)
