"""What a check must remember of a whole store, on disk: memory does not grow with the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

_TABLES = """
CREATE TABLE runs (id TEXT PRIMARY KEY, parent TEXT, outcome TEXT, since TEXT) WITHOUT ROWID;
CREATE TABLE listed (parent TEXT, child TEXT, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE dropped (parent TEXT, child TEXT, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE markers (parent TEXT, child TEXT, since TEXT, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE touched (type TEXT, key TEXT, gen INTEGER, owner TEXT, since TEXT,
    PRIMARY KEY (type, key, gen, owner)) WITHOUT ROWID;
CREATE TABLE members (type TEXT, key TEXT, gen INTEGER, run TEXT, since TEXT,
    PRIMARY KEY (type, key, gen, run)) WITHOUT ROWID;
CREATE TABLE generations (type TEXT, key TEXT, gen INTEGER, tx TEXT, at TEXT, since TEXT,
    PRIMARY KEY (type, key, gen)) WITHOUT ROWID;
CREATE TABLE sample (place INTEGER PRIMARY KEY, key TEXT, size INTEGER, sha256 TEXT, since TEXT,
    of TEXT);
CREATE TABLE expected (tbl TEXT, id TEXT, owner TEXT, digest BLOB, state TEXT, PRIMARY KEY (tbl, id)) WITHOUT ROWID;
CREATE TABLE indexed (tbl TEXT, id TEXT, owner TEXT, digest BLOB, state TEXT, PRIMARY KEY (tbl, id)) WITHOUT ROWID;
CREATE TABLE hidden (tbl TEXT, id TEXT, PRIMARY KEY (tbl, id)) WITHOUT ROWID;
CREATE TABLE later (id TEXT PRIMARY KEY, gen INTEGER, state TEXT) WITHOUT ROWID;
CREATE TABLE versions (id TEXT PRIMARY KEY, gen INTEGER, deleted INTEGER) WITHOUT ROWID;
CREATE TABLE aliases (name TEXT PRIMARY KEY, gen INTEGER, target TEXT, key TEXT, since TEXT) WITHOUT ROWID;
CREATE TABLE skipped (owner TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_AGAIN = """ON CONFLICT DO UPDATE SET owner = excluded.owner, digest = excluded.digest, state =
    CASE WHEN tbl = 'edges' THEN min(state, excluded.state) ELSE excluded.state END"""
"""Of an edge that several documents of one run assert, the first time counts."""
_CACHE_KIB = 16_384


class Scratch:
    """A private database in a temporary file, which ends with the check. Times are texts of :func:`iso`."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            self._connection.execute(f"PRAGMA {pragma}")
        for statement in _TABLES.split(";"):
            self._connection.execute(statement)
        self._connection.execute("BEGIN")

    def add(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows, or replace those of the same key; of an edge that is expected twice the earlier one counts, as
        in the index.
        """
        rows = list(rows)
        if rows:
            marks = ",".join("?" * len(rows[0]))
            sql = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"
            self._connection.executemany(
                sql if table != "expected" else f"INSERT INTO {table} VALUES ({marks}) {_AGAIN}", rows
            )

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Change what is remembered."""
        self._connection.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """The rows of a query, one at a time."""
        return self._connection.execute(sql, values)

    def has(self, table: str, where: str, *values: Any) -> bool:
        """Whether a table has such a row."""
        return self._connection.execute(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1", values).fetchone() is not None

    def close(self) -> None:
        """Give the space back."""
        self._connection.close()
