"""From the text of a table to its rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_registry.errors import InvalidInput
from prefect_registry.locks import ForkSafeLock
from prefect_registry.provenance.csv.cells import unguarded
from prefect_registry.provenance.csv.columns import GENERIC, MARKER, STATUS
from prefect_registry.provenance.csv.decoding import spoilt, text_of
from prefect_registry.provenance.records.base import MOST_RECORDS, UNSTORABLE

if TYPE_CHECKING:
    from _csv import Reader

_DELIMITERS = (",", ";", "\t")
_KNOWN = frozenset(GENERIC + STATUS)
_limit = ForkSafeLock()


@dataclass(frozen=True)
class Row:
    """A row of data: its number and the line that it begins in, both from 1."""

    number: int
    line: int
    cells: list[str]


@dataclass(frozen=True)
class Sheet:
    """A table."""

    headers: list[str]
    rows: list[Row]


def where(row: Row) -> str:
    """Which row it is, in the reference's words."""
    return f"There was an error while converting the CSV row for model run #{row.number:,} (line {row.line:,})"


def sheet_of(content: str | bytes, encoding: str | None) -> Sheet:
    """The headers and rows of a table; of a row that has fewer cells than headers, the rest is empty.

    Its delimiter is the comma, semicolon or tab with which it has most of the expected headers. Rows of which all cells
    are empty are passed over, as spreadsheets leave them.

    Raises:
        InvalidInput: With everything that keeps it from being read.
    """
    text = text_of(content, encoding)
    with _cells_of_any_length(len(text)):
        source = io.StringIO(text, newline="")  # the CSV reader must see line ends as they are
        reader = csv.reader(source, delimiter=_delimiter_of(source), strict=True)
        headers, rows, problems = _read(reader)
    if UNSTORABLE.search(text):
        problems += _spoilt(headers, rows)
    if problems:
        raise InvalidInput.of("the CSV", problems, todo="Nothing was registered; correct the file")
    return Sheet(headers, rows)


def _read(reader: Reader) -> tuple[list[str], list[Row], list[str]]:
    headers: list[str] = []
    rows: list[Row] = []
    problems: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            # Where a quote was meant to end is not known, so neither is what follows.
            what = _words(error)
            problems.append(f"{where(Row(len(rows) + 1, line, []))}: {what}" if headers else f"line {line:,}: {what}")
            break
        if any(cell and not cell.isspace() for cell in cells):
            if not headers:
                headers = [unguarded(cell.strip()) for cell in cells]
            elif len(rows) == MOST_RECORDS:
                problems.append(f"line {line:,}: at most {MOST_RECORDS:,} rows are read; split the file")
                break
            else:
                rows.append(_row(Row(len(rows) + 1, line, cells), len(headers), problems))
        line = reader.line_num + 1
    return headers, rows, problems


def _row(row: Row, width: int, problems: list[str]) -> Row:
    cells = row.cells
    if any(cells[width:]) and "".join(cells[width:]).strip():
        what = f"it has {len(cells):,} cells, and there are {width:,} headers: is a comma not in quotes?"
        problems.append(f"{where(row)}: {what}")
    cells.extend([""] * (width - len(cells)))
    return row


def _words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote in it has no end"
    if "expected after" in str(error):
        return "there is text behind the closing quote of a cell; a quote within a cell is written twice"
    return str(error)


def _delimiter_of(source: io.StringIO) -> str:
    """The one with which most headers are known; the source is at its beginning again."""
    known = {}
    for delimiter in _DELIMITERS:
        source.seek(0)
        try:
            first = next((r for r in csv.reader(source, delimiter=delimiter) if "".join(r).strip()), [])
        except csv.Error:
            first = []
        cells = [cell.strip() for cell in first]
        known[delimiter] = sum(c in _KNOWN or c.startswith(MARKER) for c in cells)
    source.seek(0)
    return max(_DELIMITERS, key=lambda delimiter: known[delimiter])


def _spoilt(headers: list[str], rows: list[Row]) -> Iterator[str]:
    for i, header in enumerate(headers):
        if UNSTORABLE.search(header):
            yield f"line 1, header {i + 1}, {header!r:.80}: {spoilt(header)}"
    for row in rows:
        for i, cell in enumerate(row.cells):
            if UNSTORABLE.search(cell):
                name = headers[i] if i < len(headers) else f"column {i + 1}"
                yield f"{where(row)}, {name!r:.80}: {cell!r:.80}: {spoilt(cell)}"


@contextmanager
def _cells_of_any_length(most: int) -> Iterator[None]:
    """The CSV module has one limit, of 131,072 characters, for the whole process."""
    with _limit:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, most + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)
