"""Reading files: every format as typed tables, and errors that name the file and the line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.files.problems import BadFile, HalfWritten
from flows.files.reading import Reading, read
from flows.files.sources import Place
from flows.files.types import as_document, of_document, parse_types, united
from prefect_registry.errors import InvalidInput, NotFound

CSV = b"id,name,price\n1,tea,2.5\n2,coffee,3\n"
ROWS = [{"id": 1, "name": "tea", "price": 2.5}, {"id": 2, "name": "coffee", "price": 3.0}]


def read_all(path: Path | str, columns: dict[str, str] | None = None, **options: Any) -> pa.Table:
    place = Place(str(path))
    (source,) = place.find()
    return pa.concat_tables(read(place, source, Reading(types=parse_types(columns or {}), **options)))


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.csv", CSV)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")),
        ("a.csv", CSV.rstrip()),
        ("a.csv", CSV.replace(b"\n", b"\n\n")),
        ("a.tsv", CSV.replace(b",", b"\t")),
        ("a.csv.gz", gzip.compress(CSV)),
        ("a.csv.bz2", bz2.compress(CSV)),
        ("a.csv.xz", lzma.compress(CSV)),
        ("a.jsonl", b'{"id": 1, "name": "tea", "price": 2.5}\n\n{"id": 2, "name": "coffee", "price": 3}\n'),
        ("a.ndjson.gz", gzip.compress(b'{"id":1,"name":"tea","price":2.5}\n{"price":3,"id":2,"name":"coffee"}')),
    ],
)
def test_text_formats(inbox: Path, name: str, content: bytes) -> None:
    """CSV and JSON lines give the same rows, packed or not, with any line ends, BOM and blank lines."""
    assert read_all(write(inbox, name, content)).to_pylist() == ROWS


def test_parquet_and_zip(inbox: Path) -> None:
    """Parquet files and CSV files in a zip are read too."""
    pq.write_table(pa.Table.from_pylist(ROWS), inbox / "a.parquet")
    zipped(inbox / "b.csv.zip")
    assert read_all(inbox / "a.parquet").to_pylist() == ROWS
    assert read_all(inbox / "b.csv.zip").to_pylist() == ROWS


def test_given_types_win(inbox: Path) -> None:
    """Types that are given are used, in CSV and in JSON, also those that JSON does not have."""
    columns = {"day": "date", "price": "decimal(8, 2)", "code": "text", "at": "timestamp"}
    write(inbox, "a.csv", b"day,price,code,at\n2013-01-31,2.50,007,2013-01-31T10:00:00Z\n")
    write(inbox, "a.jsonl", b'{"day":"2013-01-31","price":"2.50","code":"007","at":"2013-01-31T10:00:00Z"}\n')
    from_csv, from_json = read_all(inbox / "a.csv", columns), read_all(inbox / "a.jsonl", columns)
    assert from_csv.schema == from_json.schema
    assert from_csv.to_pylist() == from_json.to_pylist()
    assert from_csv.to_pylist()[0]["price"] == Decimal("2.50")


def test_unknown_type_names(inbox: Path) -> None:
    """Every type name that means nothing is listed at once."""
    with pytest.raises(InvalidInput) as caught:
        parse_types({"a": "inetger", "b": "text", "c": "money"})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "content", "columns", "line", "words"),
    [
        ("a.csv", b"id,n\n1,1\n2,x\n3,3\n", {"n": "integer"}, 3, ["'n'", "int64", "'x'"]),
        ("a.csv", b'id,n\n"1\n1",1\n\n2,x\n3,3\n', {"n": "integer"}, 5, ["'n'", "'x'"]),
        ("a.csv", b"id,n\n1,1\n2\n3,3\n", {}, 3, ["expected 2 columns, got 1"]),
        ("a.csv", b"id,n\n1,1\n2,3,4\n", {}, 3, ["expected 2 columns, got 3"]),
        ("a.csv", b"id,n\n" + b"1,1\n" * 3_000_000 + b"1,x\n", {}, 3_000_002, ["'n'", "'x'"]),
        ("a.csv", b"id,n\n" + b"1,\n" * 4_000_000 + b"1,5\n", {}, 4_000_002, ["was empty so far"]),
        ("a.csv", b"id,id\n1,2\n", {}, 1, ["twice", "id"]),
        ("a.jsonl", b'{"id":1}\n{"id":"x"}\n', {"id": "integer"}, 2, ["'id'", "int64", '"x"']),
        ("a.jsonl", b'{"id":1}\n\n{"id":2.5}\n', {"id": "integer"}, 3, ["'id'", "2.5"]),
        ("a.jsonl", b'{"id":1}\n{"id":\n{"id":2}\n', {}, 2, ["not JSON"]),
        ("a.jsonl", b'{"id":1}\n[1]\n{"id":2}\n', {}, 2, ["object", "list"]),
        ("a.json", b'[{"id":1}]', {}, 1, ["object", "list"]),
        ("a.jsonl", b'{"id":1}\n{"id":"x"}', {"id": "integer"}, 2, ["'id'", '"x"']),
        ("a.jsonl", b'{"d":"2013-01-01"}\n{"d":"31.1.2013"}\n', {"d": "date"}, 2, ["'d'", "date32", "31.1.2013"]),
        ("a.jsonl", b'{"id":1}\n' * 1_000_000 + b'{"idd":1}\n', {}, 1_000_001, ["'idd'", "in no line so far"]),
        ("a.jsonl", b'{"id":1}\n' * 1_000_000 + b'{"id":"x"}\n', {}, 1_000_001, ["'id'", '"x"']),
    ],
)
def test_bad_rows(inbox: Path, name: str, content: bytes, columns: dict[str, str], line: int, words: list[str]) -> None:
    """A row that is wrong is named by its file and line, and what it is is told beside what it should be."""
    with pytest.raises(BadFile) as caught:
        read_all(write(inbox, name, content), columns)
    assert caught.value.line == line
    for word in [name, f"line {line:,}", *words]:
        assert word in str(caught.value)


def test_wrong_bytes(inbox: Path) -> None:
    """Bytes that are not of the encoding are refused, and read well when the encoding is named."""
    path = write(inbox, "a.csv", "id,name\n1,café\n".encode("latin-1"))
    with pytest.raises(BadFile, match="UTF-8"):
        read_all(path)
    assert read_all(path, encoding="latin-1").to_pylist() == [{"id": 1, "name": "café"}]


def test_parquet_of_another_type(inbox: Path) -> None:
    """A Parquet column that does not fit the known type is refused by name; one that fits is converted."""
    pq.write_table(pa.table({"id": [1, 2], "n": ["3", "x"]}), inbox / "a.parquet")
    with pytest.raises(BadFile, match=r"a\.parquet.*'n' should be int64"):
        read_all(inbox / "a.parquet", {"n": "integer"})
    assert read_all(inbox / "a.parquet", {"id": "number"})["id"].to_pylist() == [1.0, 2.0]


def test_unknown_format(inbox: Path) -> None:
    """A name that does not tell the format is refused, unless the format is given."""
    path = write(inbox, "a.data", CSV)
    with pytest.raises(BadFile, match="ends in none of"):
        read_all(path)
    assert read_all(path, format="csv").num_rows == 2


def parquet_bytes(folder: Path) -> bytes:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "whole")
    return (folder / "whole").read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"id,name,price\n1,tea,2.5\n2,cof"),
        ("a.csv", b"id,name,price\n1,tea,2.5\n2"),
        ("a.jsonl", b'{"id":1}\n{"id":'),
        ("a.jsonl", b""),
        ("a.csv.gz", gzip.compress(CSV * 1000)[:-9]),
        ("a.csv.gz", gzip.compress(CSV)[:15]),
        ("a.csv.bz2", bz2.compress(CSV * 1000)[:-20]),
        ("a.csv.xz", lzma.compress(CSV * 1000)[:-40]),
        ("a.jsonl.gz", gzip.compress(b'{"id":1}\n' * 1000)[:-9]),
        ("a.parquet", b""),
        ("a.parquet", b"PAR1"),
    ],
)
def test_half_written(inbox: Path, name: str, content: bytes) -> None:
    """A file that ends in the middle is known for what it is, and not taken for a bad one."""
    with pytest.raises(HalfWritten, match=name.replace(".", r"\.")):
        read_all(write(inbox, name, content))


@pytest.mark.parametrize("missing", [1, 4, 8, 100])
def test_truncated_parquet(inbox: Path, tmp_path: Path, missing: int) -> None:
    """A Parquet file without the end of its footer is half-written."""
    with pytest.raises(HalfWritten):
        read_all(write(inbox, "a.parquet", parquet_bytes(tmp_path)[:-missing]))


def test_find(inbox: Path) -> None:
    """A file, a folder and a glob are found; hidden names are passed over; what is not there is an error."""
    for name in ("a.csv", "b.csv", ".hidden.csv", "_SUCCESS", "c.jsonl"):
        write(inbox, name, CSV)
    (inbox / "below").mkdir()
    write(inbox / "below", "d.csv", CSV)
    assert {s.name for s in Place(str(inbox)).find()} == {"a.csv", "b.csv", "c.jsonl", "d.csv"}
    assert [s.name for s in Place(f"{inbox}/*.csv").find()] == ["a.csv", "b.csv"]
    assert [s.name for s in Place(f"file://{inbox}/**/*.csv").find()] == ["a.csv", "b.csv", "d.csv"]
    assert Place(f"{inbox}/*.txt").find() == []
    for missing in (inbox / "z.csv", inbox / "z"):
        with pytest.raises(NotFound):
            Place(str(missing)).find()


def test_no_credentials_in_urls() -> None:
    """What is recorded of a URL holds no password and no signature."""
    place = Place("https://user:secret@example.org/a.csv?X-Amz-Signature=secret&part=1")
    assert "secret" not in place.url
    assert "secret" not in place._source({"name": place._path, "size": 1, "type": "file"}).url


def test_schemas_go_together() -> None:
    """Schemas of several files are united; those that cannot be are named by file and column."""
    whole = united({"a": pa.schema([("id", pa.int64())]), "b": pa.schema([("id", pa.float64()), ("n", pa.null())])})
    assert whole == pa.schema([("id", pa.float64()), ("n", pa.null())])
    assert of_document(as_document(whole)) == whole
    with pytest.raises(InvalidInput, match=r"b: column 'id' is string, and int64 before"):
        united({"a": pa.schema([("id", pa.int64())]), "b": pa.schema([("id", pa.string())])})
