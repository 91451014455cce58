"""The SQLite file of an index: opened, shared by processes and threads, thrown away when it is damaged."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prefect_registry.catalog.schema import DDL, INDEX_FORMAT
from prefect_registry.clock import SystemClock
from prefect_registry.errors import StorageUnavailable

T = TypeVar("T")
log = logging.getLogger("prefect_registry")

BUSY_SECONDS = 300.0
"""How long a process waits for another one that writes: it may be filling the index from a checkpoint."""

PAGE_BYTES = 16_384
"""Ids are long: four times SQLite's usual page makes its trees flat, and filling an index a quarter cheaper."""
CACHE_KIB = 32 * 1024
FILLING_KIB = 64 * 1024
"""Memory for pages, at most: ordinarily, which is what the inner pages of an index of 1 million datasets need, and
while an index is filled.
"""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA)
_NO_PLACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Database:
    """One index. Every use of it is a transaction, and sees one state.

    Args:
        file: Where it lies; None for one that lives in memory and ends with the process.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["file"])  # type: ignore[misc]

    # -- use -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: whole or not at all, one process after the other."""
        with self._locked() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")  # an interrupt of the wait is raised when it has begun
                yield connection
                connection.commit()
            except BaseException:
                _rolled_back(connection)
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that reads one state, whatever is written meanwhile."""
        with self._locked() as connection:
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                _rolled_back(connection)

    @contextlib.contextmanager
    def filling(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes very many rows: more memory for pages, and what is sorted goes to the disk."""
        with self._locked() as connection:
            connection.execute("PRAGMA temp_store = FILE")
            connection.execute(f"PRAGMA cache_size = {-FILLING_KIB}")
            connection.execute("PRAGMA threads = 1")  # beside this one, for sorting
            try:
                with self.writing():
                    yield connection
            finally:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA threads = 0")
                    connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
                    connection.execute("PRAGMA temp_store = MEMORY")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of one query."""
        with self.reading() as connection:
            return connection.execute(sql, values).fetchall()

    def mended(self, call: Callable[[], T]) -> T:
        """``call``; and once more on a new index, if this one turns out to be damaged or cannot be written."""
        try:
            return call()
        except sqlite3.DatabaseError as error:
            if _is_busy(error):
                raise StorageUnavailable(
                    f"The index {self.file} is in use by another process",
                    why=f"It did not become free within {BUSY_SECONDS:.0f} seconds",
                    todo="Try again; or point PREFECT_REGISTRY_CACHE to another folder",
                ) from error
            code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
            incomplete = code == sqlite3.SQLITE_ERROR and str(error).startswith("no such ")
            if code not in _DAMAGED + _NO_PLACE and not incomplete:
                raise
            with self._lock:
                self.close()
                self._connection = self._in_memory(error) if code in _NO_PLACE else self._opened_anew(error)
            return call()

    # -- opening -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        if self._pid != os.getpid():  # a fork: SQLite's connections must not be carried across
            self._lock, self._connection, self._pid = threading.RLock(), None, os.getpid()
        with self._lock:
            if self._connection is None:
                self._connection = self._opened()
            yield self._connection

    def _opened(self) -> sqlite3.Connection:
        if self.file is None:
            return _prepared(":memory:")
        clock = SystemClock()
        until = clock.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                return _prepared(str(self.file))
            except (OSError, sqlite3.Error) as error:
                if not _is_busy(error):
                    return self._opened_anew(error)
                if clock.monotonic() > until:
                    raise
                clock.sleep(0.05)  # another process makes or fills it: that is no damage, and SQLite does not wait

    def _opened_anew(self, error: Exception) -> sqlite3.Connection:
        """A new file in the place of one that is damaged; in memory, when there can be none."""
        if self.file is None:
            return _prepared(":memory:")
        try:
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{self.file}{suffix}").unlink(missing_ok=True)
            connection = _prepared(str(self.file))
        except (OSError, sqlite3.Error) as second:
            return self._in_memory(second)
        log.warning("The index %s was damaged (%s): it is built anew from the store.", self.file, error)
        return connection

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        log.warning(
            "The index %s cannot be kept on this machine (%s): each process builds it in memory. Point "
            "PREFECT_REGISTRY_CACHE to a folder that can be written, to keep it.",
            self.file, error,
        )  # fmt: skip
        self.file = None
        return _prepared(":memory:")

    def close(self) -> None:
        """Give the file back. The next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None


def _is_busy(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _rolled_back(connection: sqlite3.Connection) -> None:
    """End a transaction, whatever state an error has left it in: what comes of that error is told by itself."""
    with contextlib.suppress(sqlite3.Error):
        connection.rollback()


def _prepared(where: str) -> sqlite3.Connection:
    connection = sqlite3.connect(where, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a file that is new
        connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
            for statement in DDL.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {INDEX_FORMAT}")
        connection.commit()
        if connection.execute("PRAGMA user_version").fetchone()[0] != INDEX_FORMAT:
            raise sqlite3.DatabaseError("it has another form")
    except BaseException:
        connection.close()
        raise
    return connection
