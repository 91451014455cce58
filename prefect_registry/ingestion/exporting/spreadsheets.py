"""Rows as spreadsheets (Office Open XML), row by row: none but the present one is in memory.

Numbers, booleans and dates are what they are; all else is the text that CSV has, and never a formula. What a
spreadsheet would change is text too: numbers of more than 15 digits, and dates before March 1900.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.dataset as pads

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.ingestion.exporting.encoding import values
from prefect_registry.ingestion.exporting.files import ExportFile

MOST_ROWS = 1_048_575
"""Of a sheet, beside the one with the names of the columns."""
MOST_COLUMNS = 16_384
MOST_CHARACTERS = 32_767
"""Of a cell, in UTF-16."""
_MOST_DIGITS = 15
_FIRST_DAY = dt.date(1900, 3, 1)
"""Before it Excel counts a day that there was not."""
_MADE_AT = dt.datetime(1980, 1, 1)
"""Written into every file, so that the same rows are the same bytes."""


def check_fits(table: pads.Dataset) -> None:
    """Whether a sheet can hold a table at all.

    Raises:
        InvalidInput: It has too many rows or columns.
        ConfigurationError: What writes spreadsheets is not installed.
    """
    if importlib.util.find_spec("xlsxwriter") is None:
        raise ConfigurationError(
            "Spreadsheets need the package XlsxWriter",
            why="It is not installed",
            todo="Run pip install 'prefect-registry[xlsx]' where exports are made",
            committed="no",
        )
    rows, columns = table.count_rows(), len(table.schema)
    problems = []
    if rows > MOST_ROWS:
        problems.append(f"{rows:,} rows: a sheet holds {MOST_ROWS:,} beside the names of the columns")
    if columns > MOST_COLUMNS:
        problems.append(f"{columns:,} columns: a sheet holds {MOST_COLUMNS:,}")
    if problems:
        raise InvalidInput.of("the table for xlsx", problems, todo="Leave xlsx out, or export fewer rows")


class SpreadsheetFile(ExportFile):
    """A workbook of one sheet."""

    def __init__(self, path: Path, schema: pa.Schema, rows_in_a_page: int) -> None:
        super().__init__(path, schema, rows_in_a_page)
        self._book = import_module("xlsxwriter").Workbook(
            str(path), {"constant_memory": True, "tmpdir": str(path.parent)}
        )
        self._book.use_zip64()
        self._book.set_properties({"created": _MADE_AT})
        self._day = self._book.add_format({"num_format": "yyyy-mm-dd"})
        self._sheet = self._book.add_worksheet("rows")
        self._row = 0
        self._write_row(schema.names)

    def _write(self, page: pa.Table) -> None:
        try:
            for batch in page.to_batches():
                for row in zip(*(_cells(column) for column in batch.columns), strict=True):
                    self._write_row(row)
        except BaseException:
            self._book.close()  # it has files open
            raise

    def _write_row(self, row: Any) -> None:
        for column, value in enumerate(row):
            if value is not None:
                self._write_cell(column, value)
        self._row += 1

    def _write_cell(self, column: int, value: Any) -> None:
        sheet, row = self._sheet, self._row
        if isinstance(value, bool):
            sheet.write_boolean(row, column, value)
        elif isinstance(value, (int, float)):
            sheet.write_number(row, column, value)
        elif isinstance(value, dt.date):
            sheet.write_datetime(row, column, value, self._day)
        elif value.startswith("<r>") and value.endswith("</r>"):  # which the library takes for markup of its own
            sheet.write_rich_string(row, column, value[:1], value[1:2], value[2:])
        elif sheet.write_string(row, column, value):
            name = self._schema.names[column]
            problem = f"column {name!r:.80} has a text of {len(value):,} characters; a cell holds {MOST_CHARACTERS:,}"
            raise InvalidInput.of("the table for xlsx", [problem], todo="Leave xlsx out")

    def _end(self) -> None:
        self._book.close()


def _cells(array: Any) -> list[Any]:
    """The values of a column as a spreadsheet has them."""
    type_ = array.type
    if isinstance(type_, pa.DictionaryType):
        return _cells(array.dictionary_decode())
    if pa.types.is_date32(type_):
        return [_day(value) for value in array.to_pylist()]
    found = values(array)
    if pa.types.is_decimal(type_):
        return [_decimal(value) for value in found]
    return [_cell(value) for value in found]


def _day(value: dt.date | None) -> dt.date | str | None:
    return value if value is None or value >= _FIRST_DAY else value.isoformat()


def _decimal(text: str | None) -> float | str | None:
    short = text is not None and sum(c.isdigit() for c in text) <= _MOST_DIGITS
    return float(text) if short and text is not None else text


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, float)):
        return value
    if isinstance(value, int):
        return value if len(str(abs(value))) <= _MOST_DIGITS else str(value)
    return orjson.dumps(value, default=str).decode()
