"""Exports: the files hold the table exactly, lie where they should, and take little memory, whatever the size."""

from __future__ import annotations

import base64
import decimal
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.ingestion.exporting import (
    EXPORTER_MAX_JSON_BYTES_TO_EXCEL,
    Export,
    ExportedFile,
    ExportState,
    TaskStatus,
    export,
    state_of,
)
from prefect_registry.ingestion.exporting.state import files_by_format
from prefect_registry.ingestion.scanning import scan

# -- reading back ----------------------------------------------------------------------------------------------------

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Folder:
    """A folder as the target of exports."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def upload(self, local_path: str | Path, path: str | None = None) -> list[str]:
        assert path is not None
        (self.path / path).write_bytes(Path(local_path).read_bytes())
        return [path]


def exported(table: pa.Table | pads.Dataset, folder: Path, **options: Any) -> dict[str, ExportedFile]:
    """An export into a folder."""
    given_table = table if isinstance(table, pads.Dataset) else pads.dataset(table)
    found = export(given_table, Folder(folder), **options)
    for file in found:
        assert (folder / file.path).stat().st_size == file.size
    return {file.path: file for file in found}


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]]


def csv_columns(path: Path, names: list[str]) -> list[list[str | None]]:
    """The texts in a CSV file, column by column; nulls are told from empty texts."""
    table = pacsv.read_csv(
        pa.BufferReader(gzip.decompress(path.read_bytes())),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        read_options=pacsv.ReadOptions(block_size=1 << 24),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    assert table.column_names == names
    return [column.to_pylist() for column in table.columns]


def back(value: Any, type_: Any) -> Any:
    """What pyarrow makes the original value of, from what was exported."""
    if value is None:
        return None
    if isinstance(type_, pa.DictionaryType):
        return back(value, type_.value_type)
    if pa.types.is_floating(type_):
        return float(value)
    if pa.types.is_integer(type_):
        return int(value)
    if pa.types.is_decimal(type_):
        return decimal.Decimal(value)
    if pa.types.is_date(type_):
        return date.fromisoformat(value)
    if pa.types.is_timestamp(type_):
        assert value.endswith("Z") is (type_.tz is not None)
        whole, _, fraction = value.removesuffix("Z").partition(".")
        seconds = int((datetime.fromisoformat(whole) - datetime(1970, 1, 1)) / timedelta(seconds=1))
        return seconds * _UNITS[type_.unit] + int(fraction or "0")
    if pa.types.is_duration(type_):
        sign, text = (-1, value[1:]) if value.startswith("-") else (1, value)
        return sign * int(decimal.Decimal(re.fullmatch(r"PT([\d.]+)S", text)[1]) * _UNITS[type_.unit])  # type: ignore[index]
    if pa.types.is_binary(type_):
        return base64.b64decode(value, validate=True)
    if pa.types.is_map(type_):
        return [(back(entry["key"], type_.key_type), back(entry["value"], type_.item_type)) for entry in value]
    if pa.types.is_nested(type_) and hasattr(type_, "value_type"):
        return [back(item, type_.value_type) for item in value]
    if pa.types.is_struct(type_):
        return {field.name: back(value[field.name], field.type) for field in type_}
    return value


def from_csv(text: str | None, type_: Any) -> Any:
    """The same from a cell."""
    if text is not None and pa.types.is_nested(type_):
        return back(json.loads(text), type_)
    if text is not None and pa.types.is_boolean(type_):
        return {"true": True, "false": False}[text]
    return back(text, type_)


def same(a: Any, b: Any) -> bool:
    """Whether two columns are equal, NaN included."""
    a, b = (pa.chunked_array([c]) if isinstance(c, pa.Array) else c for c in (a, b))
    if pa.types.is_floating(a.type):
        filled = [pc.if_else(pc.is_nan(c), pa.scalar(None, c.type), c) for c in (a, b)]
        return pc.is_nan(a).equals(pc.is_nan(b)) and filled[0].equals(filled[1])
    return bool(a.equals(b))


def assert_same(table: pa.Table, folder: Path, name: str = "full") -> None:
    """The three files of one segment hold the table."""
    names, types = table.column_names, table.schema.types
    rows = json_rows(folder / f"{name}.jsonl.gz")
    assert all(list(row) == names for row in rows)
    texts = csv_columns(folder / f"{name}.csv.gz", names)
    read = pq.read_table(folder / f"{name}.parquet")
    for i, (column, type_) in enumerate(zip(names, types, strict=True)):
        assert same(pa.array([back(row[column], type_) for row in rows], type_), table.column(i)), column
        assert same(pa.array([from_csv(text, type_) for text in texts[i]], type_), table.column(i)), column
        assert same(read.column(i).cast(type_), table.column(i)), column


# -- every value -----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "=1+1", '"', ",", "\n", "\r\n", "NULL", "NaN", "\u2028", "\0", "'"]
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.integers(-62_135_596_800, 253_402_300_799)  # the years 1 to 9999, in seconds
SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), INTEGERS),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int8(), st.integers(-128, 127)),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.bool_(), st.booleans()),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.binary(), st.binary(max_size=8)),
    (pa.date32(), st.dates()),
    (pa.timestamp("s"), MOMENTS),
    (pa.timestamp("us", "Europe/Paris"), MOMENTS.map(lambda s: s * 10**6 + 7)),
    (pa.timestamp("ns"), INTEGERS),
    (pa.duration("us"), INTEGERS.filter(lambda n: n > -(2**63))),
    (pa.decimal128(12, 3), st.decimals(-(10**8), 10**8, places=3)),
]
TYPES = [
    *SCALARS,
    (pa.list_(pa.timestamp("us")), st.lists(st.none() | MOMENTS.map(lambda s: s * 10**6), max_size=3)),
    (pa.struct({"a": pa.int64(), 'b"': pa.string()}), st.fixed_dictionaries({"a": st.none() | INTEGERS, 'b"': TEXTS})),
    (pa.map_(pa.string(), pa.float64()), st.lists(st.tuples(TEXTS, st.floats(allow_nan=False)), max_size=3)),
    (
        pa.list_(pa.struct({"x": pa.binary()})),
        st.lists(st.fixed_dictionaries({"x": st.binary(max_size=4)}), max_size=3),
    ),
    (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", ""])),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables of a few columns of any types and names."""
    rows = draw(st.integers(0, 6))
    names = draw(st.lists(TEXTS.filter(lambda name: "\0" not in name), min_size=2, max_size=4, unique=True))
    columns = []
    for _ in names:
        type_, values = draw(st.sampled_from(TYPES))
        columns.append(pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), type_))
    return pa.Table.from_arrays(columns, names)


@settings(max_examples=100)
@given(tables())
def test_files_equal_the_table(table: pa.Table) -> None:
    """Every value of every type comes back from JSON lines, CSV and Parquet as it was."""
    with tempfile.TemporaryDirectory() as folder:
        exported(table, Path(folder))
        assert_same(table, Path(folder))


def test_slices_of_nested_columns(tmp_path: Path) -> None:
    """Batches that are parts of larger ones hold their own values, nested ones too."""
    table = pa.table(
        {
            "list": pa.array([[i, None] if i % 3 else None for i in range(12_000)]),
            "fixed": pa.array([[i, i] if i % 2 else None for i in range(12_000)], pa.list_(pa.int64(), 2)),
            "map": pa.array([[(str(i), i)] for i in range(12_000)], pa.map_(pa.string(), pa.int64())),
            "struct": pa.array([{"a": [i]} if i % 5 else None for i in range(12_000)]),
        }
    )
    assert exported(table, tmp_path)["full.csv.gz"].rows == 12_000
    assert_same(table, tmp_path)


def test_views(tmp_path: Path) -> None:
    """Arrow's views of bytes and lists, as Parquet files of polars and Arrow may have them, are bytes and lists."""
    views = pa.array([[b"\x00\xff", None], None, [b""]], pa.list_view(pa.binary_view()))
    table = pa.table({"bytes": pa.array([b"\x00\xff", None, b""], pa.binary_view()), "list": views})
    exported(table, tmp_path, formats=["jsonl", "csv"])
    rows = [{"bytes": "AP8=", "list": ["AP8=", None]}, {"bytes": None, "list": None}, {"bytes": "", "list": [""]}]
    assert json_rows(tmp_path / "full.jsonl.gz") == rows
    columns = csv_columns(tmp_path / "full.csv.gz", ["bytes", "list"])
    assert columns == [["AP8=", None, ""], ['["AP8=",null]', None, '[""]']]


def test_many_pages_and_files(tmp_path: Path) -> None:
    """Tables of several files and pages come in order, with one header, and Hive partitions as columns."""
    for month in (1, 2):
        (tmp_path / f"in/month={month}").mkdir(parents=True)
        table = pa.table({"n": pa.array(range(month * 100_000, month * 100_000 + 25_001), pa.int64())})
        pq.write_table(table, tmp_path / f"in/month={month}/part.parquet", row_group_size=7_000)
    dataset = pads.dataset(tmp_path / "in", partitioning="hive")
    progress: list[int] = []
    exported(dataset, tmp_path, progress=progress.append)
    assert_same(dataset.to_table(), tmp_path)
    assert sum(progress) == 3 * 50_002
    assert pq.ParquetFile(tmp_path / "full.parquet").metadata.num_row_groups == 1


def test_other_programs_read_all_of_it(tmp_path: Path) -> None:
    """Each page is a gzip member of its own: pandas, polars, DuckDB and gunzip read past the first."""
    exported(pa.table({"n": range(25_000), "text": ["x"] * 25_000}), tmp_path, formats=["csv", "jsonl"])
    texts, rows = tmp_path / "full.csv.gz", tmp_path / "full.jsonl.gz"
    for name, frame in (("csv", pd.read_csv(texts)), ("jsonl", pd.read_json(rows, lines=True))):
        assert (len(frame), frame["n"].sum()) == (25_000, sum(range(25_000))), name
    assert len(pl.read_csv(texts)) == len(pl.read_ndjson(rows)) == 25_000
    for path in (texts, rows):
        assert duckdb.sql(f"SELECT count(*), sum(n) FROM '{path}'").fetchall() == [(25_000, sum(range(25_000)))]
    assert subprocess.run(["gunzip", "-c", rows], capture_output=True, check=True).stdout.count(b"\n") == 25_000


def test_empty_tables(tmp_path: Path) -> None:
    """Tables without rows give whole files, without columns too."""
    table = pa.table({"at": pa.array([], pa.date32())})
    assert {f.rows for f in exported(table, tmp_path, date_field="at").values()} == {0}
    assert_same(table, tmp_path)
    exported(pa.table({}), tmp_path)
    assert gzip.decompress((tmp_path / "full.csv.gz").read_bytes()) == b""


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    """An export that is made again has the same bytes, so that a retried task finds nothing changed."""
    table = pa.table({"n": range(25_000), "at": ["2024-01-01"] * 25_000})
    found = []
    for _ in range(2):
        files = exported(table, tmp_path, date_field="at")
        found.append({name: (tmp_path / name).read_bytes() for name in files})
    assert found[0] == found[1]


# -- years -----------------------------------------------------------------------------------------------------------

HOSTILE = [None, "", "soon", "2024-13-01", "2024-02-30", "0000-01-01", "99999-01-01", "-2024-01-01", "1850-01-01",
           "2024-01-01x", "\uff12024-01-01", "2024/01/01", "9999-12-31", "20240101"]  # fmt: skip
GOOD = {"2023-12-31T23:59:59Z": 2023, "2024": 2024, "2024-02": 2024, " 2024-02-29 ": 2024,
        "2024-01-01T00:30:00+02:00": 2024, "2024-06-01 12:00:00.123456789": 2024}  # fmt: skip


def test_years_of_texts(tmp_path: Path) -> None:
    """Texts go by the year that is written in them; missing and bad dates go apart; nothing is lost."""
    texts = [*HOSTILE, *GOOD]
    table = pa.table({"at": texts, "i": range(len(texts))})
    found = exported(table, tmp_path, date_field="at", formats=["jsonl"])
    assert {name: file.rows for name, file in found.items()} == {
        "2023.jsonl.gz": 1, "2024.jsonl.gz": 5, "full.jsonl.gz": 20, "undated.jsonl.gz": 14
    }  # fmt: skip
    assert [row["at"] for row in json_rows(tmp_path / "undated.jsonl.gz")] == HOSTILE
    assert [row["at"] for row in json_rows(tmp_path / "2024.jsonl.gz")] == [
        t for t, year in GOOD.items() if year == 2024
    ]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([date(2024, 1, 1), None, date(1, 1, 1), date(2023, 12, 31)]),
        pa.array([date(2024, 1, 1), None, date(9999, 1, 1), date(2023, 12, 31)], pa.date64()),
        pa.array([1_704_067_200, None, 2**62, 1_704_067_199], pa.timestamp("s")),
        pa.array([1_704_067_200 * 10**9, None, -(2**63), 1_704_067_199 * 10**9], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array(["2024-01-01", None, "x", "2023-01-01"]).dictionary_encode(),
        pa.array([19_723, None, 2**31 - 1, 19_722], pa.int32()).cast(pa.date32()),
    ],
)
def test_years_of_every_type(tmp_path: Path, values: Any) -> None:
    """Dates and timestamps of every precision have years, in UTC; those outside the range are undated."""
    found = exported(pa.table({"at": values}), tmp_path, date_field="at", formats=["csv"])
    assert {name.partition(".")[0]: f.rows for name, f in found.items()} == {
        "2023": 1, "2024": 1, "full": 4, "undated": 2
    }  # fmt: skip


def test_years_of_a_nested_field(tmp_path: Path) -> None:
    """A dotted path leads into structs; a column that is called so comes first."""
    table = pa.table({"tender": [{"date": "2024-01-01"}, {"date": None}, None], "a.b": ["2020", "2021", "2021"]})
    assert set(exported(table, tmp_path, date_field="tender.date", formats=["jsonl"])) == {
        "2024.jsonl.gz", "full.jsonl.gz", "undated.jsonl.gz"
    }  # fmt: skip
    assert "2021.jsonl.gz" in exported(table, tmp_path, date_field="a.b", formats=["jsonl"])


@settings(max_examples=40)
@given(st.lists(st.sampled_from([*HOSTILE, *GOOD, *(str(year) for year in range(1890, 2110, 7))]), max_size=60))
def test_segments_add_up(texts: list[str | None]) -> None:
    """Every row is in exactly one of the years and the undated ones, in order; each of the three formats agrees."""
    table = pa.table({"at": pa.array(texts, pa.string()), "i": pa.array(range(len(texts)), pa.int64())})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = exported(table, folder, date_field="at")
        segments = {path.partition(".")[0] for path in files}
        for segment in segments:
            rows = [row["i"] for row in json_rows(folder / f"{segment}.jsonl.gz")]
            assert rows == sorted(rows)
            assert_same(table.take(pa.array(rows, pa.int64())), folder, segment)
        parts = [files[f"{segment}.csv.gz"].rows for segment in segments - {"full"}]
        assert sum(parts) == len(texts) == files["full.csv.gz"].rows


# -- formulas, bad input ---------------------------------------------------------------------------------------------


def test_formulas(tmp_path: Path) -> None:
    """Texts that spreadsheets run are kept by default, and disarmed on request: in CSV only, and not numbers."""
    table = pa.table(
        {
            "=name": ["=1+1", "+1", "-1", "@x", "\tx", "'", "a=1", None],
            "n": [-1, 2, 3, 4, 5, 6, 7, 8],
            "d": pa.array([decimal.Decimal("-1.5")] * 8),
        }
    )
    exported(table, tmp_path, formats=["csv"])
    assert csv_columns(tmp_path / "full.csv.gz", table.column_names)[0] == table.column(0).to_pylist()
    exported(table, tmp_path, formats=["csv", "jsonl"], escape_formulas=True)
    texts, numbers, decimals = csv_columns(tmp_path / "full.csv.gz", ["'=name", "n", "d"])
    assert texts == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "'", "a=1", None]
    assert (numbers[0], decimals[0]) == ("-1", "-1.5")
    assert json_rows(tmp_path / "full.jsonl.gz")[0]["=name"] == "=1+1"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"formats": ["ods"]}, "ods"),
        ({"formats": ["csv", "csv"]}, "twice"),
        ({"date_field": "missing"}, "missing"),
        ({"date_field": "n"}, "int64 is no date"),
        ({"date_field": "n.x"}, "no field"),
        ({"year_range": (2024, 2023)}, "in order"),
        ({"year_range": (1, 9999)}, "400"),
    ],
)
def test_exports_that_are_refused(tmp_path: Path, options: dict[str, Any], word: str) -> None:
    """What cannot be meant is refused before anything is written, also for a table without rows."""
    with pytest.raises(InvalidInput, match=word):
        exported(pa.table({"n": pa.array([], pa.int64())}), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    """Rows that no JSON object can hold are refused."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(InvalidInput, match="'a'"):
        exported(table, tmp_path)


def test_broken_unicode(tmp_path: Path) -> None:
    """Texts that are no UTF-8 are told of, and nothing is left."""
    broken = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.py_buffer((0).to_bytes(4, "little") + (1).to_bytes(4, "little")), pa.py_buffer(b"\xff")],
    )
    with pytest.raises(InvalidInput, match="jsonl"):
        exported(pa.table({"a": broken}), tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- in a registry ---------------------------------------------------------------------------------------------------


def looking(registry: Registry, find: Callable[[tuple[str, ...]], str | None]) -> Callable[..., Export]:
    """Exports whose datasets are found by their components."""

    def look(components: tuple[str, ...]) -> ExportState | None:
        dataset_id = find(components)
        try:
            dataset = None if dataset_id is None else registry.get_dataset(dataset_id)
        except NotFound:
            return None
        return None if dataset is None else state_of(dataset, registry.ledger)

    return lambda *components, **options: Export(*components, look=look, **options)


def test_visible_only_when_complete(tmp_path: Path) -> None:
    """The files of an export become visible together, and the statuses on the way are those of the reference system."""
    registry = Registry(tmp_path / "registry")
    with registry.run("flights") as run, run.dataset("flights") as ds:
        ds.write_table(pa.table({"n": [1, 2, 3], "at": ["2000-01-01", "2001-01-01", None]}))
    ids: dict[str, str] = {}
    of = looking(registry, lambda components: ids.get(components[0]))
    assert of("job").status is TaskStatus.WAITING
    assert (of("job").path, of("job").lockfile, of("job").locked) == (None, None, False)
    empty = {format_: {"full": False, "undated": False, "by_year": []} for format_ in ("csv", "jsonl", "xlsx")}
    with registry.run("export") as run:
        with run.dataset("flights-export") as ds:
            ids["job"] = ds.id
            files = export(registry.table("flights").dataset(), ds, date_field="at")
            assert of("job").status is TaskStatus.RUNNING
        assert (of("job").status, of("job").locked, of("job").files) == (TaskStatus.RUNNING, True, empty)
        assert (of("job").lockfile or "").endswith("heartbeat.json")
        with pytest.raises(NotFound):
            registry.latest("flights-export")
    sizes = {file.path: file.size for file in files}
    assert of("job").status is TaskStatus.COMPLETED
    assert of("job").files == {
        **empty,
        **{
            format_: {
                "full": sizes[f"full.{format_}.gz"],
                "undated": sizes[f"undated.{format_}.gz"],
                "by_year": [{"year": year, "size": sizes[f"{year}.{format_}.gz"]} for year in (2000, 2001)],
            }
            for format_ in ("csv", "jsonl")
        },
    }
    one = of("job", basename="full.jsonl.gz")
    assert (one.status, one.locked) == (TaskStatus.COMPLETED, False)
    with registry.latest("flights-export").open("full.jsonl.gz") as file:
        assert Path(one.path or "").read_bytes() == file.read()
    assert of("job", basename="2024.jsonl.gz").status is TaskStatus.WAITING
    assert registry.latest("flights-export").rows is None
    registry.latest("flights-export").verify()


def test_a_failed_export_is_not_there(tmp_path: Path) -> None:
    """An export that fails is rolled back whole: it is as if it had not begun."""
    registry = Registry(tmp_path / "registry")
    ids: list[str] = []

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), registry.run("export") as run, run.dataset("x") as ds:
        ids.append(ds.id)
        export(pads.dataset(pa.table({"n": [1]})), ds, progress=stop)
    failed = looking(registry, lambda components: ids[0])("job")
    assert (failed.status, failed.files["csv"]["full"]) == (TaskStatus.WAITING, False)


def test_stale_when_the_writer_is_killed(tmp_path: Path) -> None:
    """An export whose process was killed is STALE and not locked, where a lock file would say RUNNING for ever."""
    code = f"""
import os, sys
from prefect_registry import Registry
run_id = Registry({str(tmp_path / "registry")!r}).insert_run("export")
print(Registry({str(tmp_path / "registry")!r}).begin_dataset("x", run_id), flush=True)
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    of = looking(Registry(tmp_path / "registry"), lambda components: done.stdout.strip())
    assert (of("job").status, of("job").locked) == (TaskStatus.STALE, False)


def test_names_of_files() -> None:
    """Names of the reference system are told apart, whatever else lies beside them."""
    names = ["full.jsonl.gz", "undated.jsonl.gz", "2000.jsonl.gz", "2001.jsonl.gz", "full.csv.tar.gz", "2000.xlsx",
             "full.parquet", "readme.txt", "20000.csv.gz", "full.csv.gz.lock", "deep/undated.csv.gz"]  # fmt: skip
    assert files_by_format([(name, 1) for name in names]) == {
        "jsonl": {"full": 1, "undated": 1, "by_year": [{"year": 2000, "size": 1}, {"year": 2001, "size": 1}]},
        "csv": {"full": 1, "undated": 1, "by_year": []},
        "xlsx": {"full": False, "undated": False, "by_year": [{"year": 2000, "size": 1}]},
    }
    assert EXPORTER_MAX_JSON_BYTES_TO_EXCEL == 1_073_741_824


# -- memory ----------------------------------------------------------------------------------------------------------

_MEASURED = """
import sys
from pathlib import Path
from prefect_registry import Registry
from prefect_registry.ingestion.exporting import export

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10

registry = Registry(sys.argv[1])
registry.table("rows").dataset()
before = peak()
with registry.run("export") as run, run.dataset("export") as ds:
    files = export(registry.table("rows").dataset(), ds, date_field="at", folder=sys.argv[2])
print(before, peak(), sum(f.rows for f in files if f.path.startswith("full")))
"""


def peak_of(folder: Path, rows: int) -> tuple[str, int, int]:
    """The resident size of a new process at the height of an export of so many rows of 1 KiB, from 120 years that
    alternate row by row, to every format; and how many bytes the rows have in memory. All in words before that.
    """
    decoded = 0
    registry = Registry(folder / "registry")
    text = os.urandom(480).hex()
    with registry.run("rows") as run, run.dataset("rows") as ds:
        for start in range(0, rows, 50_000):
            count = min(50_000, rows - start)
            years = pc.cast(pa.array([1901 + i % 120 for i in range(count)]), pa.string())
            texts = pc.binary_join_element_wise(pa.array([str(start + i) for i in range(count)]), text, "-")
            table = pa.table({"at": years, "text": texts, "n": pa.array(range(count))})
            decoded += table.nbytes
            ds.write_table(table, use_dictionary=False)
    command = [sys.executable, "-c", _MEASURED, str(folder / "registry"), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    before, peak, exported_rows = map(int, done.stdout.split())
    assert exported_rows == 3 * rows
    stored = registry.table("rows").bytes
    written = registry.table("export").bytes
    mib = [n >> 20 for n in (decoded, stored, written, before, peak)]
    words = "{:,} MiB of rows, {:,} MiB stored; {:,} MiB exported; {:,} MiB resident before, {:,} MiB at most"
    return words.format(*mib), peak, decoded


def test_memory_is_bounded(tmp_path: Path) -> None:
    """80,000 rows of 1 KiB, from 120 years at once, take less than 512 MiB, the interpreter included."""
    words, peak, _ = peak_of(tmp_path, 80_000)
    assert peak < 512 << 20, words


def test_many_files_side_by_side(tmp_path: Path) -> None:
    """Row groups are as large as if each year had been written alone, whatever is held of all of them together: a
    Parquet writer keeps what it knows of every row group in memory.
    """
    rows, years = 24_000, 30
    texts = pc.binary_join_element_wise(pc.cast(pa.array(range(rows)), pa.string()), "x" * 4_000, "-")
    exported(pa.table({"at": [str(1990 + i % years) for i in range(rows)], "text": texts}), tmp_path, date_field="at",
             formats=["parquet"])  # fmt: skip
    for year in range(1990, 1990 + years):
        file = pq.ParquetFile(tmp_path / f"{year}.parquet")
        assert (file.num_row_groups, file.metadata.num_rows) == (1, rows // years)


def test_many_files_take_no_file_descriptors(tmp_path: Path) -> None:
    """However many files grow side by side: macOS allows a process 256."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as next_one:
        few = next_one.fileno() + 32
    table = pa.table({"at": [str(1900 + i) for i in range(64)] * 2})
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        files = exported(table, tmp_path, date_field="at", formats=["parquet"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {file.rows for file in files.values()} == {2, 128}


def test_texts_that_repeat(tmp_path: Path) -> None:
    """Long texts that a Parquet file holds only once are read a few rows at a time."""
    pq.write_table(pa.table({"licence": ["x" * 200_000] * 500, "n": range(500)}), tmp_path / "in.parquet")
    assert max(batch.nbytes for batch in scan(pads.dataset(tmp_path / "in.parquet"))) < 20 << 20


@pytest.mark.deep
@pytest.mark.timeout(3_600)
def test_memory_is_bounded_for_10_gib(tmp_path: Path) -> None:
    """A hundred and forty times as many rows take no more."""
    words, peak, decoded = peak_of(tmp_path, 11_200_000)
    print(words)
    assert decoded >= 10 << 30
    assert peak < 512 << 20, words
