"""The export of one table: in full, per year, and what has no date apart."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from prefect_registry.errors import InvalidInput
from prefect_registry.ingestion.dates import field_of, years
from prefect_registry.ingestion.enums import DEFAULT_FORMATS, FORMATS, Format
from prefect_registry.ingestion.exporting.files import ExportFile, ParquetFile, SpooledFile, csv_file, json_file
from prefect_registry.ingestion.exporting.spreadsheets import SpreadsheetFile, check_fits
from prefect_registry.ingestion.scanning import pieces, scan

EXPORTER_PAGE_SIZE = 10_000
"""Rows that are read, and written as text, at a time."""
_ROWS_IN_A_ROW_GROUP = 100_000
_MOST_HELD_BYTES = 32 << 20
_MOST_YEARS = 400
_SUFFIXES: dict[Format, str] = {"jsonl": "jsonl.gz", "csv": "csv.gz", "parquet": "parquet", "xlsx": "xlsx"}
_SPOOLED: dict[Format, tuple[type[ParquetFile] | type[SpreadsheetFile], int]] = {
    "parquet": (ParquetFile, _ROWS_IN_A_ROW_GROUP),
    "xlsx": (SpreadsheetFile, EXPORTER_PAGE_SIZE),
}
"""Formats of whose files few can be written at the same time: how one is made, and how many rows are a page."""


class ExportTarget(Protocol):
    """Where the files go: ``run.dataset(...)`` is one. They are visible when its run commits, and never one by one."""

    def upload(self, local_path: str | Path, path: str | None = None) -> list[str]:
        """Store a local file under ``path``."""


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written: its path in the dataset, rows, and bytes."""

    path: str
    rows: int
    size: int


def export(
    table: pads.Dataset,
    target: ExportTarget,
    *,
    formats: Sequence[Format] = DEFAULT_FORMATS,
    date_field: str | None = None,
    year_range: tuple[int, int] = (1900, 2100),
    escape_formulas: bool = False,
    progress: Callable[[int], None] | None = None,
    folder: str | Path | None = None,
) -> list[ExportedFile]:
    """Write a table as ``full.jsonl.gz``, ``full.csv.gz`` and ``full.parquet``; by a date field also ``2024.jsonl.gz``
    and so on, and ``undated.jsonl.gz`` for rows whose date is missing, no date, or outside ``year_range``.

    Rows keep their order. Memory is bounded whatever the size: each format is a pass of its own over the table, and its
    files wait in a temporary folder, which must have room for them, until they are complete.

    CSV is data first: texts stay as they are, also those which a spreadsheet takes for formulas (they begin with
    ``= + - @``, a tab or a line end), since a changed value is a wrong one for every other reader. With
    ``escape_formulas=True`` these get an apostrophe before them, for files that people open in Excel. JSON lines and
    Parquet are never changed.

    Args:
        table: What to export, as ``registry.table(kind).dataset()`` gives it.
        target: ``with run.dataset(...) as target``.
        formats: Some of ``jsonl``, ``csv``, ``parquet``, ``xlsx``. A spreadsheet holds 1,048,575 rows and 16,384
            columns, and needs the extra ``xlsx``.
        date_field: A column of dates, timestamps or ISO 8601 texts, or the dotted path of such a field in a struct.
        year_range: First and last year that get files of their own; 400 years at most.
        escape_formulas: See above.
        progress: Called with the number of rows since its last call, over all formats.
        folder: Where temporary files go; the system's usual place by default.
    """
    _check(table.schema, formats, year_range)
    if "xlsx" in formats:
        check_fits(table)
    done: list[ExportedFile] = []
    for format_ in formats:
        with tempfile.TemporaryDirectory(prefix="registry-export-", dir=folder) as temporary:
            with _told_as_input(format_):
                files = _Files(Path(temporary), table.schema, format_, escape_formulas)
                _write(table, files, date_field, year_range, progress)
            for file in files.in_order():
                with _told_as_input(format_):
                    file.close()
                size = file.path.stat().st_size
                target.upload(file.path, file.path.name)
                file.path.unlink()
                done.append(ExportedFile(file.path.name, file.rows, size))
    return done


@contextmanager
def _told_as_input(format_: str) -> Iterator[None]:
    """What the format cannot hold is the fault of the table."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"The table cannot be exported as {format_}",
            why=f"{type(error).__name__}: {str(error)[:300]}",
            todo="Change the column that is named, or leave this format out",
            committed="no",
        ) from error


def _check(schema: pa.Schema, formats: Sequence[str], year_range: tuple[int, int]) -> None:
    first, last = year_range
    problems = [
        f"{format_!r:.40} is none of the formats {list(FORMATS)}" for format_ in formats if format_ not in FORMATS
    ]
    if len(set(formats)) < len(formats):
        problems.append("a format is named twice")
    if not 1 <= first <= last <= 9999 or last - first >= _MOST_YEARS:
        problems.append(f"year_range {year_range} must be two years in order, at most {_MOST_YEARS} in all")
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    problems += [f"more than one column is named {name!r:.80}" for name in twice]
    if problems:
        raise InvalidInput.of("the export", problems)


def _write(
    table: pads.Dataset,
    files: _Files,
    date_field: str | None,
    year_range: tuple[int, int],
    progress: Callable[[int], None] | None,
) -> None:
    files.of("full")
    if date_field is not None:
        years(field_of(pa.RecordBatch.from_pylist([], table.schema), date_field))  # refuses it also without rows
    for batch in scan(table, rows=EXPORTER_PAGE_SIZE):
        for piece in pieces(batch):
            files.add("full", piece)
            if date_field is not None:
                for name, rows in _by_year(piece, date_field, year_range):
                    files.add(name, rows)
            if progress:
                progress(piece.num_rows)


def _by_year(
    batch: pa.RecordBatch, date_field: str, year_range: tuple[int, int]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of each year, and those without one."""
    found: Any = years(field_of(batch, date_field))
    different = found.unique().to_pylist()
    dated = sorted(y for y in different if y is not None and year_range[0] <= y <= year_range[1])
    if len(different) == 1:
        yield (str(dated[0]) if dated else "undated"), batch
        return
    for year in dated:
        yield str(year), batch.filter(pc.equal(found, pa.scalar(year, pa.int32())))
    if len(dated) < len(different):
        yield "undated", batch.filter(pc.invert(pc.fill_null(pc.is_in(found, pa.array(dated, pa.int32())), False)))


class _Files:
    """The files of one format."""

    def __init__(self, folder: Path, schema: pa.Schema, format_: Format, escape_formulas: bool) -> None:
        self._folder = folder
        self._schema = schema
        self._format = format_
        self._escape_formulas = escape_formulas
        self._files: dict[str, ExportFile] = {}

    def of(self, name: str) -> ExportFile:
        """The file of a year, ``full`` or ``undated``."""
        if name not in self._files:
            self._files[name] = self._new(self._folder / f"{name}.{_SUFFIXES[self._format]}")
        return self._files[name]

    def _new(self, path: Path) -> ExportFile:
        if self._format in _SPOOLED:
            make, rows = _SPOOLED[self._format]
            alone = path.stem == "full"
            return make(path, self._schema, rows) if alone else SpooledFile(path, self._schema, rows, make)
        if self._format == "jsonl":
            return json_file(path, self._schema, EXPORTER_PAGE_SIZE)
        return csv_file(path, self._schema, EXPORTER_PAGE_SIZE, self._escape_formulas)

    def add(self, name: str, batch: pa.RecordBatch) -> None:
        """Add rows; the fullest files are written out when all together hold too much."""
        self.of(name).add(batch)
        held = sum(file.held_bytes for file in self._files.values())
        if held <= _MOST_HELD_BYTES:
            return
        for file in sorted(self._files.values(), key=lambda file: file.held_bytes, reverse=True):
            if held <= _MOST_HELD_BYTES // 2:
                break
            held -= file.held_bytes
            file.flush()
        pa.default_memory_pool().release_unused()

    def in_order(self) -> list[ExportFile]:
        """All of them; those of years come first, in order."""
        return [file for _, file in sorted(self._files.items())]
