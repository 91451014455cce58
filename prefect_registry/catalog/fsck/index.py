"""The index of this machine against what a walk of the store shows, and building it anew."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_registry.catalog.database import Database
from prefect_registry.catalog.endings import changed_nodes, endings, node_endings
from prefect_registry.catalog.fsck.cells import look_at_generations
from prefect_registry.catalog.fsck.expected import IDS, digest_of, id_of, owner_of_cell, owner_of_edge, state_of
from prefect_registry.catalog.fsck.look import Checked, batches
from prefect_registry.catalog.fsck.report import KINDS, Finding
from prefect_registry.catalog.sync import Sync
from prefect_registry.errors import RegistryError
from prefect_registry.ledger import paths
from prefect_registry.records.cells import CellRef
from prefect_registry.records.types import MODEL_RUN

if TYPE_CHECKING:
    from prefect_registry.catalog.catalog import Catalog

_OWNER: Mapping[str, Callable[[sqlite3.Row], str]] = {
    "runs": lambda row: row["id"],
    "datasets": lambda row: row["run_id"],
    "events": lambda row: row["run_id"] or f"op_{row['id'].partition('_')[2][:26]}",
    "cells": lambda row: owner_of_cell(row["type"], row["key"]),
    "edges": lambda row: owner_of_edge(row["relation"], row["source"], row["target"], row["asserted_by"]),
}
_DIFFERENCES = """
SELECT e.tbl, e.id, e.owner, CASE WHEN i.id IS NULL THEN 'is missing' ELSE 'differs from the store' END AS how
FROM expected e LEFT JOIN indexed i USING (tbl, id)
WHERE (i.id IS NULL OR e.digest != i.digest OR e.state IS NOT i.state)
    AND e.owner NOT IN (SELECT owner FROM skipped)
    AND NOT EXISTS (SELECT 1 FROM hidden h WHERE (h.tbl, h.id) = (e.tbl, e.id))
UNION ALL
SELECT i.tbl, i.id, i.owner, 'is not in the store' FROM indexed i LEFT JOIN expected e USING (tbl, id)
WHERE e.id IS NULL AND i.owner NOT IN (SELECT owner FROM skipped)
"""
_LATER = (
    "UPDATE expected SET state = (SELECT state FROM later WHERE later.id = expected.id) WHERE tbl = 'datasets'"
    " AND state = 'READY' AND id IN (SELECT id FROM later)"
)
LOOKS = 3
MOST_AGAIN = 1_000
"""Up to how many runs and cells are looked at again, when the index differs in them."""

Difference = tuple[str, str]
LookAgain = Callable[[str], object]


class IndexCheck:
    """Compares an index with what was expected of it.

    Args:
        look_again: Walks one run anew and remembers what is expected of it: the store goes on during a check.
    """

    def __init__(self, checked: Checked, catalog: Catalog, look_again: LookAgain) -> None:
        self._checked, self._catalog, self._look_again = checked, catalog, look_again
        self._database = catalog._database

    def check(self, repair: bool) -> bool:
        """Tell how the index differs, and build it anew if that is wanted. Returns whether that was done."""
        self._checked.stage("index")
        found = self._look()
        if not found:
            return False
        why = self._rebuilt() if repair else None
        done = repair and why is None
        after = self._look() if done else found
        for (table, id_), how in {**found, **after}.items():
            kind, what = ("index-differs", f"The row {how}") if id_ else ("index-stuck", how)
            severity, mended = KINDS[kind].severity, (table, id_) not in after
            key = f"index:{table}/{id_}" if id_ else "index:"
            self._checked.findings.add(Finding(kind, severity, key, what, self._checked.newest, mended))
        if why is not None:
            what = f"It could not be built anew, and was left as it is: {why}"
            self._checked.tell("index-stuck", "index:", what, self._checked.newest)
        return done

    # -- comparing -----------------------------------------------------------------------------------------------

    def _look(self) -> dict[Difference, str]:
        """What differs in every one of some looks, and how."""
        always: dict[Difference, str] | None = None
        for _ in range(LOOKS):
            try:
                differences = self._database.mended(self._compare)
            except RegistryError as error:
                return {("", ""): f"{error.what}. {error.why}"}
            except sqlite3.Error as error:
                return {("", ""): f"{type(error).__name__}: {error}"}
            found = {(table, id_): how for table, id_, _, how in differences}
            always = found if always is None else {k: v for k, v in found.items() if k in always}
            owners = {owner for table, id_, owner, _ in differences if (table, id_) in always}
            if not always or len(owners) > MOST_AGAIN:
                break
            for owner in sorted(owners):
                self._again(owner)
        return always or {}

    def _compare(self) -> list[tuple[str, str, str, str]]:
        self._catalog.refresh()
        scratch = self._checked.scratch
        scratch.run("DELETE FROM indexed")
        scratch.run(_LATER)
        with self._database.reading() as connection:
            for table in IDS:
                for some in batches(connection.execute(f"SELECT * FROM {table}"), 1_000):
                    scratch.add("indexed", [_indexed(table, row) for row in some])
                    self._checked.count("index", "rows", len(some))
            ends = list(_wrong_ends(connection))
        self._checked.counts["rows"] = scratch.rows("SELECT count(*) FROM indexed").fetchone()[0]
        return [*(tuple(row) for row in scratch.rows(_DIFFERENCES)), *ends]

    def _again(self, owner: str) -> None:
        """Look at a run or a cell once more, as it is now."""
        if owner.startswith("cell:"):
            type_, _, key = owner[5:].partition("/")
        else:
            self._look_again(owner)
            type_, key = MODEL_RUN, owner or "none"  # what it says as a model run
        infos = [i for i in self._checked.storage.list(paths.cell_prefix(CellRef(type_, key)))
                 if paths.gen_of_key(i.key) >= 0]  # fmt: skip
        look_at_generations(self._checked, infos)

    # -- repairing -----------------------------------------------------------------------------------------------

    def _rebuilt(self) -> str | None:
        """Build an index from nothing, and put its rows into the place of the old ones: readers see one or the other.

        Returns why that could not be done; then the old one stays.
        """
        with tempfile.TemporaryDirectory(prefix="prefect-registry-fsck-") as folder:
            new = Database(Path(folder) / "index.sqlite")
            try:
                with new.writing() as connection:  # an index that knows something takes no checkpoint
                    connection.execute("INSERT INTO state VALUES ('newest', 0)")
                Sync(self._checked.store, new).run()
                with new.reading() as source:
                    self._replace(source)
            except RegistryError as error:
                return f"{error.what}. {error.why}"
            except (sqlite3.Error, OSError) as error:
                return f"{type(error).__name__}: {error}"
            finally:
                new.close()
        return None

    def _replace(self, source: sqlite3.Connection) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM parts")  # whether the checkpoints agree with the new rows is not known
            for table in (*IDS, "state", "seen", "unsettled", "watched"):
                connection.execute(f"DELETE FROM {table}")
                with closing(source.execute(f"SELECT * FROM {table}")) as rows:
                    marks = ",".join("?" * len(rows.description))
                    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", _tuples(rows))


def _tuples(rows: Iterable[sqlite3.Row]) -> Iterable[tuple[object, ...]]:
    return (tuple(row) for row in rows)


def _indexed(table: str, row: sqlite3.Row) -> tuple[str, str, str, bytes, str | None]:
    return (table, id_of(table, row), _OWNER[table](row), digest_of(table, row, row.keys()), state_of(table, row))


def _wrong_ends(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, str]]:
    """Edges that end when the cells of the index, which are compared by themselves, do not say so."""
    names = [row["name"] for row in connection.execute(f"SELECT DISTINCT name FROM cells WHERE type = '{MODEL_RUN}'")]
    ended: dict[tuple[str, ...], int | None] = {}
    for row in connection.execute("SELECT * FROM edges WHERE ended_at IS NOT NULL"):
        ended[tuple(row[column] for column in IDS["edges"])] = row["ended_at"]
    for edge, found, due in chain(endings(connection, names), node_endings(connection, changed_nodes(connection))):
        ended.pop(edge, None)
        if found != due:
            yield ("edges", "/".join(edge), edge[-1], "ends at another time")
    for other in ended:
        yield ("edges", "/".join(other), other[-1], "ends, and nothing says so")
