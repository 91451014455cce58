"""Which parts of checkpoints hold exactly what this index holds: the next checkpoint need not write them again.

The table ``parts`` names them. A part is struck off in the transaction that changes a row of its hours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from prefect_registry.catalog.checkpoints.ranges import Range, stamp_of
from prefect_registry.catalog.checkpoints.tables import key_of
from prefect_registry.catalog.rows import Row
from prefect_registry.records.checkpoints import Part


def equal_parts(connection: sqlite3.Connection) -> set[tuple[str, Range]]:
    """Names and ranges of the parts that this index agrees with."""
    found = connection.execute("SELECT name, low, high FROM parts")
    return {(row["name"], Range(row["low"], row["high"])) for row in found}


def note_parts(connection: sqlite3.Connection, parts: Iterable[Part]) -> None:
    """From now on the index agrees with these, until one of their rows changes."""
    ranges = [(part.name, Range.of_hours(part.after, part.through)) for part in parts]
    connection.executemany(
        "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", [(name, range_.low, range_.high) for name, range_ in ranges]
    )


def forget_parts(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """The index says nothing of these any more."""
    connection.executemany("DELETE FROM parts WHERE name = ?", [(name,) for name in names])


def keep_parts(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Forget all but these."""
    known = {row["name"] for row in connection.execute("SELECT name FROM parts")}
    forget_parts(connection, known - set(names))


def note_changes(connection: sqlite3.Connection, rows: Mapping[str, Sequence[Row]]) -> None:
    """Strike off the parts in whose hours any of these rows is new, or differs from what the index has."""
    end = _end(connection)
    if end is None:
        return
    for table, changed in rows.items():
        for row in changed:
            stamp = stamp_of(table, row)
            if stamp < end:
                _note_row(connection, table, row, stamp)


def note_dataset(connection: sqlite3.Connection, dataset_id: str) -> None:
    """A dataset has got another state."""
    strike(connection, stamp_of("datasets", {"id": dataset_id}))


def note_edge_of(connection: sqlite3.Connection, run_id: str) -> None:
    """An edge that a run asserts has ended, or stands again."""
    strike(connection, stamp_of("edges", {"asserted_by": run_id, "at": 0}))


def strike(connection: sqlite3.Connection, stamp: str) -> None:
    """Strike off the parts that a row of this stamp belongs to."""
    connection.execute("DELETE FROM parts WHERE low <= ? AND high > ?", (stamp, stamp))


def _end(connection: sqlite3.Connection) -> str | None:
    found = connection.execute("SELECT max(high) FROM parts").fetchone()[0]
    return None if found is None else str(found)


def _note_row(connection: sqlite3.Connection, table: str, row: Row, stamp: str) -> None:
    key = key_of(table)
    where = " AND ".join(f"{column} = ?" for column in key)
    found = connection.execute(f"SELECT * FROM {table} WHERE {where}", [row[column] for column in key]).fetchone()
    if found is not None and table == "edges" and found["at"] <= row["at"]:
        return  # said again later
    if found is None or any(found[column] != value for column, value in row.items()):
        strike(connection, stamp)
        if found is not None and stamp_of(table, found) != stamp:
            strike(connection, stamp_of(table, found))
