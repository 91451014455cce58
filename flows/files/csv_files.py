"""CSV files, read as a stream. A row that is wrong is named by its line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pc

from flows.files.problems import BadFile, HalfWritten, bad_file
from flows.files.sources import Place, Source
from flows.files.types import Types

if TYPE_CHECKING:
    from flows.files.reading import Reading

_HEAD_BYTES = 8 << 20
"""The types of columns are found out from so much of the beginning."""

_BLOCK_BYTES = 2 << 20
"""A row may have so many bytes. pyarrow reads some thirty blocks ahead: this decides how much memory it takes."""

_CONVERSION = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]+): (.*)", re.S)
_PARSING = re.compile(r"CSV parse error: (?:Row #(\d+): )?(.*)", re.S)


def read_csv(place: Place, source: Source, reading: Reading) -> Iterator[pa.Table]:
    """The rows of a CSV file whose first line names the columns."""
    names: list[str] = []
    try:
        types = {**_types_of_head(place, source, reading), **reading.types}
        with place.open(source) as file, _opened(file, source, reading, types) as stream:
            names = stream.schema.names
            _check_columns(source, stream.schema, reading.types)
            yield stream.schema.empty_table()
            for batch in stream:
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise _explained(place, source, reading, str(error), names) from error
    except (UnicodeDecodeError, LookupError) as error:
        raise bad_file(source.url, f"It is not {reading.encoding}: {error}") from error


def _types_of_head(place: Place, source: Source, reading: Reading) -> Types:
    """The types of the columns by the file's beginning; none when something is wrong there, which is told later."""
    with place.open(source) as file:
        head = file.read(_HEAD_BYTES)
        head += file.readline()
    try:
        with _opened(io.BytesIO(head), source, reading, reading.types, len(head) + 1) as stream:
            return {field.name: field.type for field in stream.schema}
    except (pa.ArrowInvalid, UnicodeDecodeError, LookupError):
        return {}


def _opened(
    file: object, source: Source, reading: Reading, types: Types, block: int = _BLOCK_BYTES
) -> pc.CSVStreamingReader:
    return pc.open_csv(
        file,  # type: ignore[arg-type]  # the stubs know only some kinds of files
        read_options=pc.ReadOptions(use_threads=False, block_size=block, encoding=reading.encoding),
        parse_options=pc.ParseOptions(delimiter=_delimiter(source, reading), newlines_in_values=True),
        convert_options=pc.ConvertOptions(
            column_types=dict(types),
            null_values=list(reading.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _delimiter(source: Source, reading: Reading) -> str:
    return reading.delimiter or ("\t" if ".tsv" in source.name.lower() else ",")


def _check_columns(source: Source, schema: pa.Schema, given: Types) -> None:
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise bad_file(source.url, f"It names columns twice: {', '.join(twice)}", line=1, todo="Rename one of them")
    binary = [field.name for field in schema if pa.types.is_binary(field.type) and field.name not in given]
    if binary:
        why = f"Column {binary[0]!r} holds bytes that are not UTF-8"
        raise bad_file(source.url, why, todo="Name the file's encoding, such as latin-1 or cp1252")


# -- what went wrong, and where --------------------------------------------------------------------------------------


def _explained(place: Place, source: Source, reading: Reading, message: str, names: list[str]) -> Exception:
    if message == "Empty CSV file":
        return HalfWritten(f"{source.url} is empty", why="It has not even a line of column names", file=source.url)
    row, why, todo = _told(message, names)
    if row is None:
        return bad_file(source.url, why, todo=todo)
    line, header, last = _line_of_row(place, source, reading, row)
    conversion = _CONVERSION.match(message)
    if conversion and not names and int(conversion[1]) < len(header):
        why = why.replace(f"column {int(conversion[1]) + 1}", f"column {header[int(conversion[1])]!r}", 1)
    if last:
        return HalfWritten(
            f"{source.url}, line {line:,}: {why}", why="The last line is cut off", file=source.url, line=line
        )
    return bad_file(source.url, why, line=line, todo=todo)


def _told(message: str, names: list[str]) -> tuple[int | None, str, str]:
    """The row that pyarrow complains of, counting the header as the first, what is wrong there, and what to do."""
    conversion = _CONVERSION.match(message)
    if conversion:
        column, row = int(conversion[1]), conversion[2]
        name = f"column {names[column]!r}" if column < len(names) else f"column {column + 1}"
        wanted, problem = conversion[3], conversion[4].replace("invalid value ", "")
        todo = "Mend the file, or name the column's type in `columns`"
        if wanted == "null":
            return _number(row), f"{name} was empty so far, and is {problem[:80]} here", todo
        return _number(row), f"{name} should be {wanted}, and is {problem[:80]}", todo
    parsing = _PARSING.match(message)
    if parsing:
        what = parsing[2].partition(": ")[0]
        return _number(parsing[1]), f"{what[:1].lower()}{what[1:]}", "Mend the file"
    return None, message[:300], "Mend the file"


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _line_of_row(place: Place, source: Source, reading: Reading, row: int) -> tuple[int, list[str], bool]:
    """The line on which a row ends (rows may span lines, and blank lines are no rows), the column names, and whether
    the row is the last one and its line was never ended.
    """
    with place.open(source) as raw, io.TextIOWrapper(raw, reading.encoding, "replace", newline="") as text:
        ends: list[str] = [""]

        def lines() -> Iterator[str]:
            for line in text:
                ends[0] = line[-1:]
                yield line

        records = csv.reader(lines(), delimiter=_delimiter(source, reading))
        header: list[str] = []
        count = 0
        try:
            for record in records:
                count += bool(record)
                header = header or record
                if count == row:
                    ended = ends[0] in ("\n", "\r")
                    return records.line_num, header, not ended and next(records, None) is None
        except csv.Error:  # such as a field of more than 131,072 characters
            pass
        return records.line_num, header, False


__all__ = ["BadFile", "HalfWritten", "read_csv"]
