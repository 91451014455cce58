"""When assertions of lineage end: a model run that is changed no longer says what it said, and one whose provenance is
deleted says nothing.

No edge is ever deleted: lineage can be asked as of any time. What a model run's record says follows from all the
generations of its cell; an edge that a run has taken back and asserts again counts as asserted all the time. What the
registry saw itself (what a run read and made) ends only when the provenance of the run is deleted.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from prefect_registry.catalog.checkpoints.parts import note_edge_of
from prefect_registry.records.assertions import Assertion, assertions, node_assertions, prov_node_name
from prefect_registry.records.types import MODEL_ARTIFACT, MODEL_RUN, MODEL_VERSION, OBJECT, PROV_NODE

EARLIER = "excluded.at <= edges.at"
"""Of an edge that one run asserts several times, the first time counts."""
DROPS = "drops"
"""Field of a tombstone that only takes back what an attempt had staged: it says nothing of the run."""

_ANY_NODE = f"SELECT 1 FROM cells WHERE type = '{PROV_NODE}' LIMIT 1"
_CHANGED_NODES = f"SELECT DISTINCT name FROM cells WHERE type = '{PROV_NODE}' AND gen > 0"

Edge = tuple[str, str, str, str]
_AT_A_TIME = 500


def end_edges(connection: sqlite3.Connection, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """After these rows were written: give the edges of the model runs among them their ends."""
    names = {str(row["name"]) for row in rows["cells"] if row["type"] == MODEL_RUN}
    names |= {str(row["asserted_by"]) for row in rows["edges"]}
    _set(connection, list(endings(connection, names)))
    things = {str(row["name"]) for row in rows["cells"] if row["type"] == PROV_NODE}
    if rows["edges"] and connection.execute(_ANY_NODE).fetchone() is not None:
        for row in rows["edges"]:
            things |= {str(row["source"]), prov_node_name(row["source"], row["asserted_by"])}
    _set(connection, list(node_endings(connection, things)))


def _set(connection: sqlite3.Connection, found: Iterable[tuple[Edge, int | None, int | None]]) -> None:
    for edge, ended_at, due in found:
        if ended_at != due:
            connection.execute(
                "UPDATE edges SET ended_at = ? WHERE source = ? AND relation = ? AND target = ? AND asserted_by = ?",
                (due, *edge),
            )
            note_edge_of(connection, edge[-1])


def relodge(connection: sqlite3.Connection) -> int:
    """Assert all that the records of model runs say once more, from their cells. Returns how many of them stand."""
    names: dict[str, bool] = {}
    rows = connection.execute(f"SELECT * FROM cells WHERE type = '{MODEL_RUN}' ORDER BY key, gen").fetchall()
    for row in rows:
        names[row["name"]] = not row["deleted"]
        said = {} if row["deleted"] else assertions(orjson.loads(row["value"] or "{}"))
        connection.executemany(
            "INSERT INTO edges (source, relation, target, asserted_by, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT"
            f" (source, relation, target, asserted_by) DO UPDATE SET at = excluded.at WHERE {EARLIER}",
            [(*assertion, row["name"], row["visible_at"]) for assertion in said],
        )
    for name in names:
        note_edge_of(connection, name)
    _set(connection, list(endings(connection, names)))
    return sum(names.values())


def endings(connection: sqlite3.Connection, names: Iterable[str]) -> Iterator[tuple[Edge, int | None, int | None]]:
    """The edges that model runs assert: each with the end that the index has, and the one that it must have."""
    wanted = sorted(names)
    for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
        marks = ",".join("?" * len(part))
        generations: defaultdict[str, list[sqlite3.Row]] = defaultdict(list)
        for row in connection.execute(
            f"SELECT name, deleted, value, visible_at FROM cells WHERE type = '{MODEL_RUN}' AND name IN ({marks})"
            " ORDER BY name, gen",
            part,
        ):
            generations[row["name"]].append(row)
        for name, rows in generations.items():
            if len(rows) > 1:
                yield from _of_run(connection, name, rows)


def changed_nodes(connection: sqlite3.Connection) -> list[str]:
    """The cells of imported things that say more, or less, than at first."""
    return [row["name"] for row in connection.execute(_CHANGED_NODES)]


def node_endings(connection: sqlite3.Connection, names: Iterable[str]) -> Iterator[tuple[Edge, int | None, int | None]]:
    """The same as :func:`endings` of imported things: their links end when the import is reverted."""
    wanted = sorted(names)
    for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
        marks = ",".join("?" * len(part))
        said: dict[str, dict[Edge, int | None]] = {}
        changed: set[str] = set()
        for row in connection.execute(
            f"SELECT name, deleted, value, visible_at FROM cells WHERE type = '{PROV_NODE}' AND name IN ({marks})"
            " ORDER BY name, gen",
            part,
        ):
            now = {} if row["deleted"] else node_assertions(row["name"], orjson.loads(row["value"] or "{}"))
            changed |= {row["name"]} & said.keys()
            standing = said.setdefault(row["name"], {})
            standing |= {e: row["visible_at"] for e, end in standing.items() if end is None and e not in now}
            standing |= dict.fromkeys(now)
        for edge, due in (pair for name in changed for pair in said[name].items()):
            found = connection.execute(
                "SELECT ended_at FROM edges WHERE source = ? AND relation = ? AND target = ? AND asserted_by = ?", edge
            ).fetchone()
            if found is not None:
                yield edge, found["ended_at"], due


def _of_run(
    connection: sqlite3.Connection, run_id: str, rows: Sequence[sqlite3.Row]
) -> Iterator[tuple[Edge, int | None, int | None]]:
    said, deleted_at = _told(rows)
    found: dict[Assertion, int | None] = {}
    for where, values in (
        ("source = ?1 AND asserted_by = ?1", [(run_id,)]),
        ("target = ?1 AND asserted_by = ?1", [(run_id,)]),
        ("source = ? AND relation = ? AND target = ? AND asserted_by = ?", [(*a, run_id) for a in said]),
    ):
        for each in values:
            for row in connection.execute(f"SELECT source, relation, target, ended_at FROM edges WHERE {where}", each):
                found[row["source"], row["relation"], row["target"]] = row["ended_at"]
    seen = _seen(connection, run_id, {a for a, end in said.items() if end is not None})
    for assertion, ended_at in found.items():
        due = None
        if assertion in said and assertion not in seen:
            due = said[assertion]
        elif run_id in (assertion[0], assertion[2]):
            due = deleted_at
        yield (*assertion, run_id), ended_at, due


def _told(rows: Sequence[sqlite3.Row]) -> tuple[dict[Assertion, int | None], int | None]:
    """What the generations of a model run say, each with when it was taken back (None: it stands); and when the
    provenance of the run was deleted (None: it was not, or was registered again).
    """
    said: dict[Assertion, int | None] = {}
    deleted_at: int | None = None
    for row in rows:
        value, at = orjson.loads(row["value"] or "{}"), row["visible_at"]
        now = {} if row["deleted"] else assertions(value)
        said |= {a: at for a, end in said.items() if end is None and a not in now}
        said |= dict.fromkeys(now)
        if not row["deleted"]:
            deleted_at = None
        elif DROPS not in value and deleted_at is None:
            deleted_at = at
    return said, deleted_at


def _seen(connection: sqlite3.Connection, run_id: str, wanted: set[Assertion]) -> set[Assertion]:
    """Those that the registry saw itself: what the run has made, and what it has read. These stand, whatever its record
    says.
    """
    made = {source for source, relation, target in wanted if (relation, target) == ("wasGeneratedBy", run_id)}
    used = {target for source, relation, target in wanted if (source, relation) == (run_id, "used")}
    found: set[Assertion] = set()
    for id_ in made:
        row = connection.execute(
            "SELECT 1 FROM datasets WHERE id = ? AND run_id = ? AND outcome = 'committed' AND member"
            " AND step = 'staged' UNION ALL"
            " SELECT 1 FROM cells WHERE tx = ? AND NOT deleted AND (type = ? AND name = ?"
            " AND json_extract(value, '$.restores') IS NULL OR type IN (?, ?) AND name = ?) LIMIT 1",
            (id_, run_id, run_id, OBJECT, id_, MODEL_VERSION, MODEL_ARTIFACT, id_[-16:]),
        ).fetchone()
        if row is not None:
            found.add((id_, "wasGeneratedBy", run_id))
    if used:
        for row in connection.execute(
            "SELECT payload FROM events WHERE record = 'usage' AND subject_id = ?", (run_id,)
        ):
            payload = orjson.loads(row["payload"] or "{}")
            for name in ("datasets", "objects"):
                found |= {(run_id, "used", id_) for id_ in payload.get(name) or () if id_ in used}
    return found
