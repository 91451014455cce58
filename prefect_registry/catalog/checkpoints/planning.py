"""What the next checkpoint consists of: parts that are kept, and ranges of hours that are written."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefect_registry.catalog.checkpoints.parts import equal_parts
from prefect_registry.catalog.checkpoints.ranges import Range, hour_of_stamp, stamp_of_micros
from prefect_registry.catalog.schema import INDEX_FORMAT
from prefect_registry.records.checkpoints import Checkpoint, Part

LARGEST_PART = 200_000
"""Rows (lineage not counted) beyond which parts are not joined, unless there are very many."""
MOST_PARTS = 100


@dataclass(frozen=True)
class Span:
    """A range of hours, about how many rows it has, and the part that holds them, if that can be kept."""

    after: str
    through: str
    rows: int
    part: Part | None = None

    @property
    def range(self) -> Range:
        """The same as stamps."""
        return Range.of_hours(self.after, self.through)


def plan(
    connection: sqlite3.Connection, newest: Checkpoint | None, sealed: str, sizes: Mapping[str, int], full: bool
) -> list[Span]:
    """Spans from the beginning up to ``sealed``.

    A part is kept when this index agrees with it and its files are there (``sizes``: of the objects in the store, in
    bytes). Small ones at the end are joined, so that there are about as many as the logarithm of the rows.
    """
    old = newest.parts if newest is not None and newest.form == INDEX_FORMAT and not full else []
    equal = equal_parts(connection)
    spans = []
    for part in old:
        rows = sum(file.rows for table, file in part.tables.items() if table != "edges")
        known = (part.name, Range.of_hours(part.after, part.through)) in equal
        whole = all(sizes.get(file.key) == file.size for file in part.tables.values())
        spans.append(Span(part.after, part.through, rows, part if known and whole else None))
    done = old[-1].through if old else ""
    if sealed > done:
        spans += _split(connection, done, sealed)
    return _joined(spans)


def _split(connection: sqlite3.Connection, after: str, sealed: str) -> Iterator[Span]:
    """Hours that no part has yet, in ranges that are not too large."""
    start, rows = after, 0
    last = after
    for hour, found in sorted(_rows_by_hour(connection, Range.of_hours(after, sealed)).items()):
        if rows and rows + found > LARGEST_PART:
            yield Span(start, last, rows)
            start, rows = last, 0
        last, rows = hour, rows + found
    yield Span(start, sealed, rows)


def _rows_by_hour(connection: sqlite3.Connection, range_: Range) -> Counter[str]:
    """About how many rows each hour has: ids are told apart to some twenty minutes."""
    found: Counter[str] = Counter()

    def count(sql: str) -> None:
        for stamp, rows in connection.execute(sql):
            full = f"{stamp}0000"
            if range_.low[:6] <= stamp and full < range_.high:
                found[hour_of_stamp(max(full, range_.low))] += rows

    count("SELECT substr(id, 5, 6), count(*) FROM runs GROUP BY 1")
    count("SELECT substr(id, 4, 6), count(*) FROM datasets GROUP BY 1")
    count("SELECT substr(id, instr(id, '_') + 1, 6), count(*) FROM events GROUP BY 1")
    count("SELECT substr(tx, 5, 6), count(*) FROM cells WHERE tx IS NOT NULL GROUP BY 1")
    for hour, rows in connection.execute("SELECT at / 3600000000, count(*) FROM cells WHERE tx IS NULL GROUP BY 1"):
        stamp = stamp_of_micros(hour * 3_600_000_000)
        if range_.has(stamp):
            found[hour_of_stamp(stamp)] += rows
    return found


def _joined(spans: Sequence[Span]) -> list[Span]:
    largest = max(LARGEST_PART, sum(span.rows for span in spans) // MOST_PARTS)
    found = list(spans)
    while len(found) > 1:
        before, last = found[-2:]
        if before.rows >= 2 * max(last.rows, 1) or before.rows + last.rows > largest:
            break
        found[-2:] = [Span(before.after, last.through, before.rows + last.rows)]
    return found
