"""From a file to tables of one schema, in batches, whatever its format."""

from __future__ import annotations

import lzma
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from flows.files.csv_files import read_csv
from flows.files.json_lines import read_json_lines
from flows.files.parquet_files import read_parquet
from flows.files.problems import HalfWritten, bad_file
from flows.files.sources import Place, Source
from flows.files.types import Types
from prefect_registry.errors import AccessDenied, StorageUnavailable
from prefect_registry.ingestion.scanning import joined

Format = Literal["by name", "csv", "json lines", "parquet"]
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json lines",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_PACKED = (".gz", ".bz2", ".xz", ".lzma", ".zip")
_BYTES_IN_ONE_TABLE = 32 << 20


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        format: Told from each file's name, or given.
        types: Types of columns that are known beforehand; the others are found out from the first megabytes.
        delimiter: What separates the values of a CSV file; a tab for names in ``.tsv`` when it is empty.
        null_values: What a CSV file writes for "no value".
        encoding: Of CSV files.
    """

    format: Format = "by name"
    types: Types = field(default_factory=dict)
    delimiter: str = ""
    null_values: tuple[str, ...] = ("", "NA", "NULL", "null")
    encoding: str = "utf-8"


def format_of(source: Source, reading: Reading) -> Format:
    """The format of a file. Raises ``BadFile`` when its name does not tell."""
    if reading.format != "by name":
        return reading.format
    name = source.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    for ending, found in _ENDINGS.items():
        if name.endswith(ending):
            return found
    why = f"Its name ends in none of {', '.join(_ENDINGS)}"
    raise bad_file(source.url, why, todo="Give the format, or a glob that leaves the file out")


def read(place: Place, source: Source, reading: Reading) -> Iterator[pa.Table]:
    """The file's rows as tables of some 32 MB, all of one schema; at least one table, which may be empty.

    Raises:
        HalfWritten: It ends in the middle.
        BadFile: A row, or the whole, is not what it should be.
        StorageUnavailable, AccessDenied: It cannot be read now, or not at all.
    """
    readers = {"csv": read_csv, "json lines": read_json_lines, "parquet": read_parquet}
    try:
        yield from joined(readers[format_of(source, reading)](place, source, reading), _BYTES_IN_ONE_TABLE)
    except EOFError as error:  # of gzip, bz2 and lzma: the end-of-stream marker is missing
        raise HalfWritten(f"{source.url} ends in the middle", why=str(error), file=source.url) from error
    except zipfile.BadZipFile as error:
        raise HalfWritten(f"{source.url} is no whole zip file", why=str(error), file=source.url) from error
    except lzma.LZMAError as error:
        raise bad_file(source.url, f"It cannot be unpacked: {error}") from error
    except FileNotFoundError as error:
        raise HalfWritten(f"{source.url} has gone", why="It was there a moment ago", file=source.url) from error
    except PermissionError as error:
        raise AccessDenied(f"{source.url} may not be read", why=str(error), committed="no") from error
    except OSError as error:
        if _is_about_packing(error):
            raise bad_file(source.url, f"It cannot be unpacked: {error}") from error
        raise StorageUnavailable(f"{source.url} cannot be read", why=str(error)[:300], committed="no") from error


def first_schema(place: Place, source: Source, reading: Reading) -> pa.Schema:
    """The schema of a file, from its beginning. Raises what :func:`read` raises."""
    return next(read(place, source, reading)).schema


def _is_about_packing(error: OSError) -> bool:
    """``gzip.BadGzipFile``, zlib's and bz2's complaints carry no error number."""
    return error.errno is None and any(word in str(error).lower() for word in ("gzip", "crc", "invalid data", "length"))
