"""Following the journal: what is new in the store becomes rows of the index (DESIGN.md 6)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from prefect_registry.catalog.applying import Change, Reader
from prefect_registry.catalog.checkpoints.parts import note_changes, note_dataset
from prefect_registry.catalog.database import Database
from prefect_registry.catalog.endings import EARLIER, end_edges, relodge
from prefect_registry.catalog.look import Look, View, whole_look
from prefect_registry.catalog.rows import Row
from prefect_registry.catalog.schema import micros, moment
from prefect_registry.errors import InvalidInput
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.locks import ForkSafeLock
from prefect_registry.notebook import shown
from prefect_registry.records.cells import CellRef
from prefect_registry.records.datasets import LATER_STATES, later_state

MOST_AT_A_TIME = 2_000
"""How many datasets, events and cells are read before they are applied."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: objects of the journal that were new, and runs that they concern. ``sealed`` is the newest hour
    that is never listed again.
    """

    new_objects: int
    runs: int
    sealed: str

    _repr_html_ = shown


class Sync:
    """Keeps one index up with its store. Any number of processes may do so at once on the same file."""

    def __init__(self, store: Store, database: Database) -> None:
        self._store = store
        self._database = database
        self._lock = ForkSafeLock()
        self._began: tuple[float, int] | None = None

    def age(self) -> float:
        """Seconds since the last sync of this process began; infinite before the first, and after it wrote anything."""
        if self._began is None or self._began[1] != self._store.creates:
            return float("inf")
        return self._store.clock.monotonic() - self._began[0]

    def is_due(self, fresh: bool, max_age: float | None) -> bool:
        """Whether a query has to look at the store first: if it is to be fresh and the index is older than ``max_age``
        seconds, or if the index has never looked.

        Raises:
            InvalidInput: The age is none, or cannot be meant.
        """
        if max_age is None:
            return fresh or not self._database.mended(self._state)
        if isinstance(max_age, bool) or not isinstance(max_age, (int, float)) or not max_age >= 0:
            raise InvalidInput.of("max_age", [f"max_age must be seconds, 0 or more, not {max_age!r:.40}"])
        if not fresh:
            raise InvalidInput.of("fresh", ["with fresh=False the index answers however old it is; leave out max_age"])
        return self.age() > max_age

    def run(self) -> SyncReport:
        """Take in everything that was decided before this call."""
        with self._lock:
            began = (self._store.clock.monotonic(), self._store.creates)
            report = self._database.mended(self._run)
            self._began = began
            return report

    def relodge(self) -> int:
        """Make the lineage of all model runs in the index anew from their records; returns how many there are."""
        self.run()

        def relodged() -> int:
            with self._database.writing() as connection:
                return relodge(connection)

        return self._database.mended(relodged)

    def _run(self) -> SyncReport:
        state = self._state()
        if not state:
            from prefect_registry.catalog.checkpoints.loading import load_newest

            if load_newest(self._store, self._database) is not None:
                state = self._state()
        sealed = str(state.get("sealed") or "")
        seen = {row["key"] for row in self._database.rows("SELECT key FROM seen")}
        unsettled = [row["run_id"] for row in self._database.rows("SELECT run_id FROM unsettled")]
        look = whole_look(self._store, sealed, unsettled, seen)
        reader = Reader(View.of(self._store, look), look)
        affected = self._affected(look, seen, unsettled)
        reader.prefetch([r for r in affected if r.startswith("run_")])
        for batch in _batches(_publications(reader, affected), look):
            self._apply(reader, batch)
        self._watch(reader)
        newest = state.get("newest")
        self._seal(look, sealed, moment(newest) if newest else None)
        new = sum(key not in seen for keys in look.keys.values() for key in keys)
        return SyncReport(new, len(affected), sealed)

    def _state(self) -> dict[str, Any]:
        return {row["name"]: row["value"] for row in self._database.rows("SELECT * FROM state")}

    def _affected(self, look: Look, seen: set[str], unsettled: Sequence[str]) -> list[str]:
        """Runs with something new; and when one was decided, also those that are not settled: they may be now."""
        new = {run_id for run_id, keys in look.keys.items() if any(key not in seen for key in keys)}
        decided = any(paths.end_key(run_id) not in seen for run_id in new & look.decided)
        return sorted(new | (set(unsettled) if decided else set()))

    # -- applying ------------------------------------------------------------------------------------------------

    def _apply(self, reader: Reader, publications: Sequence[Sequence[str]]) -> None:
        runs = [run_id for publication in publications for run_id in publication]
        known: dict[str, sqlite3.Row] = {}
        for row in self._of_runs("SELECT * FROM datasets WHERE run_id IN ({})", runs):
            known[row["id"]] = row
        reader.fetch(runs, known)
        changes = [reader.change(publication, known) for publication in publications]
        with self._database.writing() as connection:
            for change in changes:
                write(connection, change)

    def _of_runs(self, sql: str, run_ids: Sequence[str]) -> Iterator[sqlite3.Row]:
        for start in range(0, len(run_ids), 500):
            part = run_ids[start : start + 500]
            yield from self._database.rows(sql.format(",".join("?" * len(part))), part)

    def _watch(self, reader: Reader) -> None:
        """Look once more for generations whose touch was seen without them."""
        watched = [(CellRef(r["type"], r["key"]), r["gen"]) for r in self._database.rows("SELECT * FROM watched")]
        if not watched:
            return
        change = Change()
        reader.add_cells(change, watched)
        missing = set(change.watched)
        with self._database.writing() as connection:
            write(connection, change)
            found = [(c.type, c.key, g) for c, g in watched if (c.type, c.key, g) not in missing]
            connection.executemany("DELETE FROM watched WHERE type = ? AND key = ? AND gen = ?", found)

    def _seal(self, look: Look, sealed: str, newest_before: datetime | None) -> None:
        """Hours that ended a grace before what a listing had shown that ended before this one began."""
        now_sealed = sealed
        if newest_before is not None:
            grace = timedelta(seconds=self._store.settings.grace_seconds)
            now_sealed = max(sealed, paths.hour_of(newest_before - grace - timedelta(hours=1)))
        with self._database.writing() as connection:
            newest = micros(look.newest) if look.newest is not None else 0
            connection.execute("INSERT INTO state VALUES ('newest', ?) ON CONFLICT (name) DO UPDATE"
                               " SET value = max(value, excluded.value)", (newest,))  # fmt: skip
            if now_sealed == sealed:
                return
            connection.execute("INSERT INTO state VALUES ('sealed', ?) ON CONFLICT (name) DO UPDATE"
                               " SET value = max(value, excluded.value)", (now_sealed,))  # fmt: skip
            connection.execute(
                "DELETE FROM seen WHERE key < ? AND substr(key, 20, 30) NOT IN (SELECT run_id FROM unsettled)",
                (f"{paths.RUNS}{now_sealed}/~",),
            )


def _publications(reader: Reader, affected: Iterable[str]) -> Iterator[list[str]]:
    """Runs that become visible together, and the others one by one; in the order of their decisions."""
    groups: dict[str, list[str]] = {}
    order: dict[str, tuple[int, str]] = {}
    for run_id in affected:
        standing = reader.standing(run_id) if run_id.startswith("run_") else None
        root = run_id
        if standing is not None and standing.publication is not None:
            root = standing.publication
        settled = standing.settled_at if standing is not None else None
        order[root] = (micros(settled) if settled is not None else 0, root)
        groups.setdefault(root, [])
        if standing is not None and standing.outcome == "committed" and not groups[root]:
            groups[root] = list(reader.tree(root))
        elif run_id not in groups[root]:
            groups[root].append(run_id)
    return (groups[root] for root in sorted(groups, key=lambda root: order[root]))


def _batches(publications: Iterable[list[str]], look: Look) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    size = 0
    for publication in publications:
        batch.append(publication)
        size += sum(len(look.keys.get(run_id, ())) for run_id in publication)
        if size >= MOST_AT_A_TIME:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# -- writing rows --------------------------------------------------------------------------------------------------


def write(connection: sqlite3.Connection, change: Change) -> None:
    """One change, in the caller's transaction. What the index knows better already stays."""
    note_changes(connection, change.rows)
    upsert(connection, "runs", change.rows["runs"], "id", "excluded.rank >= runs.rank")
    upsert(connection, "datasets", change.rows["datasets"], "id", "excluded.rank >= datasets.rank")
    upsert(connection, "events", change.rows["events"], "id")
    upsert(connection, "cells", change.rows["cells"], "type, key, gen")
    upsert(connection, "edges", change.rows["edges"], "source, relation, target, asserted_by", EARLIER)
    end_edges(connection, change.rows)
    tombstones = [row["name"] for row in change.rows["cells"] if row["type"] == LATER_STATES]
    tombstones += [row["id"] for row in change.rows["datasets"] if row["outcome"] == "committed"]
    show_later_states(connection, tombstones)
    connection.executemany(
        "INSERT OR IGNORE INTO unsettled SELECT ? WHERE NOT EXISTS (SELECT 1 FROM runs WHERE id = ? AND rank = 2)",
        [(r, r) for r in change.unsettled],
    )
    connection.executemany("DELETE FROM unsettled WHERE run_id = ?", [(r,) for r in change.settled])
    connection.executemany("INSERT OR IGNORE INTO watched VALUES (?, ?, ?)", change.watched)
    connection.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(key,) for key in change.seen])


def upsert(connection: sqlite3.Connection, table: str, rows: Sequence[Row], key: str, better: str = "1") -> None:
    """Insert rows; replace those with the same key when the new one (``excluded``) is ``better``."""
    if not rows:
        return
    columns = list(rows[0])
    values = ", ".join(f":{c}" for c in columns)
    updates = ", ".join(f"{c} = excluded.{c}" for c in columns)
    sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {updates}"
    connection.executemany(f"{sql} WHERE {better}", rows)


def show_later_states(connection: sqlite3.Connection, dataset_ids: Sequence[str]) -> None:
    """Give datasets the state that their newest tombstone says."""
    for dataset_id in dataset_ids:
        found = connection.execute(
            "SELECT value FROM cells WHERE type = ? AND name = ? ORDER BY gen DESC LIMIT 1", (LATER_STATES, dataset_id)
        ).fetchone()
        if found is not None:
            state = later_state(orjson.loads(found["value"] or "{}"))
            changed = connection.execute(
                "UPDATE datasets SET state = :state WHERE id = :id AND outcome = 'committed'"
                " AND state NOT IN (:state, 'ROLLED_BACK')",
                {"state": state, "id": dataset_id},
            )
            if changed.rowcount:
                note_dataset(connection, dataset_id)
