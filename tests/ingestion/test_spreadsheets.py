"""Exports as spreadsheets, read back by what the format says, and not by what has written them."""

from __future__ import annotations

import re
import sys
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from prefect_registry import Registry
from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.ingestion.exporting import export
from prefect_registry.ingestion.exporting.spreadsheets import MOST_CHARACTERS, MOST_COLUMNS, MOST_ROWS

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
FIRST_DAY = date(1899, 12, 30)
"""Day 0 of dates after February 1900."""


class Folder:
    """Where exports go."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def upload(self, local_path: str | Path, path: str | None = None) -> list[str]:
        (self.path / str(path)).write_bytes(Path(local_path).read_bytes())
        return [str(path)]


def exported(table: pa.Table, folder: Path, **options: Any) -> list[str]:
    return [f.path for f in export(pads.dataset(table), Folder(folder), formats=["xlsx"], **options)]


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of each row by the letter of the column: text, numbers, booleans, and dates."""
    with zipfile.ZipFile(path) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
        formats = [int(x.get("numFmtId", 0)) for x in ElementTree.fromstring(book.read("xl/styles.xml"))
                   .findall(f"{MAIN}cellXfs/{MAIN}xf")]  # fmt: skip
    assert sheet.findall(f".//{MAIN}f") == [], "no formula"
    return [
        {re.sub(r"\d", "", c.get("r", "")): cell(c, formats) for c in row.findall(f"{MAIN}c")}
        for row in sheet.findall(f"{MAIN}sheetData/{MAIN}row")
    ]


def cell(found: ElementTree.Element, formats: list[int]) -> Any:
    kind = found.get("t")
    if kind == "inlineStr":
        text = "".join(t.text or "" for t in found.iter(f"{MAIN}t"))
        return re.sub(r"_x([0-9A-F]{4})_", lambda match: chr(int(match[1], 16)), text)
    value = found.findtext(f"{MAIN}v") or ""
    if kind == "b":
        return value == "1"
    number = float(value)
    is_date = formats[int(found.get("s", 0))] != 0
    return date.fromordinal(FIRST_DAY.toordinal() + int(number)) if is_date else number


VALUES: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {
    "text": (pa.string(), ["a", "=1+1", " x\n", None, ""], ["a", "=1+1", " x\n", None, ""]),
    "odd": (pa.string(), ["<r>b</r>", "_x0041_", "\x01&<", "http://e.org", "007"],
            ["<r>b</r>", "_x0041_", "\x01&<", "http://e.org", "007"]),
    "whole": (pa.int64(), [1, -5, 10**15 - 1, 10**15, None], [1, -5, 10**15 - 1, str(10**15), None]),
    "float": (pa.float64(), [1.5, float("nan"), float("inf"), -0.25, None], [1.5, "NaN", "Infinity", -0.25, None]),
    "flag": (pa.bool_(), [True, False, None, True, True], [True, False, None, True, True]),
    "day": (pa.date32(), [date(2026, 1, 2), date(1900, 3, 1), date(1900, 2, 28), date(9999, 12, 31), None],
            [date(2026, 1, 2), date(1900, 3, 1), "1900-02-28", date(9999, 12, 31), None]),
    "money": (pa.decimal128(30, 2), [Decimal("1.25"), Decimal("12345678901234567.89"), None, Decimal(0), Decimal(7)],
              [1.25, "12345678901234567.89", None, 0.0, 7.0]),
    "at": (pa.timestamp("us", "UTC"), [datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), None, None, None, None],
           ["2026-01-02T03:04:05.000006Z", None, None, None, None]),
    "list": (pa.list_(pa.int8()), [[1, 2], [], None, [None], [3]], ["[1,2]", "[]", None, "[null]", "[3]"]),
    "kind": (pa.dictionary(pa.int8(), pa.string()), ["x", "y", "x", None, "="], ["x", "y", "x", None, "="]),
}  # fmt: skip


def test_every_kind_of_value(tmp_path: Path) -> None:
    """Each is a number, a boolean, a date, or the very text, and nothing is a formula or a link."""
    table = pa.table({name: pa.array(given, type_) for name, (type_, given, _) in VALUES.items()})
    assert exported(table, tmp_path) == ["full.xlsx"]
    header, *rows = cells(tmp_path / "full.xlsx")
    letters = dict(zip(VALUES, header, strict=True))
    assert list(header.values()) == list(VALUES)
    for name, (_, _, wanted) in VALUES.items():
        assert [row.get(letters[name]) for row in rows] == wanted, name


def test_years(tmp_path: Path) -> None:
    """A spreadsheet for each year, and the same bytes each time."""
    table = pa.table({"at": ["2001-05-01", "1999-01-01", None, "2001-01-01"], "n": range(4)})
    names = ["1999.xlsx", "2001.xlsx", "full.xlsx", "undated.xlsx"]
    assert exported(table, tmp_path, date_field="at") == names
    assert [row["B"] for row in cells(tmp_path / "2001.xlsx")[1:]] == [0, 3]
    before = {name: (tmp_path / name).read_bytes() for name in names}
    exported(table, tmp_path, date_field="at")
    assert before == {name: (tmp_path / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (pa.table({"n": pa.array(range(MOST_ROWS + 1), pa.int32())}), r"1,048,576 rows: a sheet holds 1,048,575"),
        (pa.table({f"c{i}": [1] for i in range(MOST_COLUMNS + 1)}), r"16,385 columns"),
        (pa.table({"long": ["x", "y" * (MOST_CHARACTERS + 1)]}), r"column 'long' has a text of 32,768 characters"),
    ],
    ids=["rows", "columns", "characters"],
)
def test_what_no_sheet_can_hold(tmp_path: Path, table: pa.Table, why: str) -> None:
    """It is refused with the limit, before other formats are written where that can be known, and nothing is left."""
    registry = Registry(tmp_path / "store")
    with pytest.raises(InvalidInput, match=why), registry.run("export") as run, run.dataset("export") as ds:
        export(pads.dataset(table), ds, formats=["xlsx"])
    assert registry.table("export").datasets() == []


def test_the_longest_text(tmp_path: Path) -> None:
    """What just fits is whole."""
    exported(pa.table({"long": ["y" * MOST_CHARACTERS]}), tmp_path)
    assert cells(tmp_path / "full.xlsx")[1]["A"] == "y" * MOST_CHARACTERS


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told what to install, before anything is written."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(ConfigurationError, match=r"prefect-registry\[xlsx\]"):
        exported(pa.table({"n": [1]}), tmp_path)
    assert list(tmp_path.iterdir()) == []
