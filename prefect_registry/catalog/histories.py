"""Everything that was ever published of a kind, by the index: what a table was, and what it may become again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from sqlite3 import Connection, Row
from typing import Any

import orjson

from prefect_registry.catalog.lineage import edges_from
from prefect_registry.catalog.schema import moment
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.records.datasets import LATER_STATES
from prefect_registry.records.objects import PAYLOAD
from prefect_registry.records.types import ALIAS, MODEL_ARTIFACT, MODEL_TYPES, OBJECT, PROV_BATCH, PROV_ITEM, PROV_NODE

_GIVEN_UP = ("MARKED_FOR_DELETION", "DELETED", "ABANDONED")
"""States of an artifact in which its files may go."""
MOST_STEPS = 10_000
"""How far lineage is followed."""
NO_DESCENDANTS = (
    LATER_STATES, "retention", "object_retention", PAYLOAD, FLOW_RUN, *MODEL_TYPES, PROV_ITEM, PROV_BATCH, PROV_NODE,
)  # fmt: skip
"""Types of cells that nobody makes from data."""


@dataclass(frozen=True)
class Published:
    """A dataset that a decision has published, whatever became of it since.

    Attributes:
        gen: The generation that the decision lists.
        publication: The root run that published it.
        published_at: When that was decided.
        cell_gen: The newest visible generation of the dataset's cell; None if it has none.
        later: What that one says.
        later_at: Since when it says so.
    """

    id: str
    run_id: str
    gen: int
    mode: str
    partition: Mapping[str, Any] | None
    bytes: int
    external: bool
    publication: str
    published_at: datetime
    cell_gen: int | None
    later: Mapping[str, Any] = field(default_factory=dict)
    later_at: datetime | None = None

    @property
    def purged(self) -> bool:
        """Whether its bytes were released."""
        return self.later.get("purged") is True

    @property
    def state(self) -> str:
        """READY, ARCHIVED, DELETED; or RELEASED: bytes gone, and still hiding what it has replaced."""
        if self.purged and self.later.get("was") == "READY":
            return "RELEASED"
        if self.cell_gen is None:
            return "READY"
        state = self.later.get("state")
        return str(state) if state in ("READY", "ARCHIVED") else "DELETED"

    def in_state(self, state: str) -> Published:
        """The same after a revert: DELETED or READY."""
        later = {**self.later, "state": state, "was": "DELETED"}
        return replace(self, cell_gen=self.cell_gen if self.cell_gen is not None else 0, later=later)


@dataclass(frozen=True)
class Cell:
    """The newest visible generation of a cell: its number and value; None and nothing where it has none."""

    gen: int | None = None
    value: Mapping[str, Any] = field(default_factory=dict)


_HISTORY = """
SELECT d.id, d.run_id, d.gen, d.mode, d.partition, d.bytes, d.external, d.publication, d.settled_at,
       c.gen AS cell_gen, c.value AS later, c.visible_at AS later_at
FROM datasets AS d LEFT JOIN cells AS c ON c.type = 'dataset' AND c.name = d.id
     AND c.gen = (SELECT max(gen) FROM cells WHERE type = 'dataset' AND name = d.id)
WHERE d.kind = ? AND d.outcome = 'committed' AND d.member AND d.step = 'staged'
ORDER BY d.settled_at DESC, d.publication DESC, d.id DESC
"""


def history(connection: Connection, kind: str) -> Iterator[Published]:
    """Every dataset of ``kind`` that was ever published, newest publication first."""
    for row in connection.execute(_HISTORY, (kind,)):
        yield Published(
            id=row["id"],
            run_id=row["run_id"],
            gen=row["gen"],
            mode=row["mode"],
            partition=orjson.loads(row["partition"]) if row["partition"] is not None else None,
            bytes=row["bytes"],
            external=bool(row["external"]),
            publication=row["publication"],
            published_at=moment(row["settled_at"]),
            cell_gen=row["cell_gen"],
            later=orjson.loads(row["later"]) if row["later"] is not None else {},
            later_at=moment(row["later_at"]) if row["later_at"] is not None else None,
        )


def newest_cells(connection: Connection, type_: str) -> dict[str, Cell]:
    """The newest visible generation of every cell of a type, by name; tombstones have an empty value."""
    found = connection.execute(
        "SELECT name, gen, deleted, value FROM cells AS c WHERE type = ?"
        " AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key) ORDER BY name",
        (type_,),
    )
    return {
        row["name"]: Cell(row["gen"], {} if row["deleted"] or row["value"] is None else orjson.loads(row["value"]))
        for row in found
    }


def newest_rows(connection: Connection, type_: str) -> list[Row]:
    """The newest visible generation of every cell of a type that is not deleted, by name, as the index has it."""
    return connection.execute(
        "SELECT name, gen, tx, at, value FROM cells AS c WHERE type = ? AND NOT deleted"
        " AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key) ORDER BY name",
        (type_,),
    ).fetchall()


def named(connection: Connection) -> frozenset[str]:
    """What a name keeps: versions of objects (``name@version``) that an alias points at, and the objects and datasets
    that artifacts of registered models refer to now.
    """
    aliases = (cell.value for cell in newest_cells(connection, ALIAS).values())
    found = {f"{value.get('object')}@{value.get('version')}" for value in aliases if value}
    for cell in newest_cells(connection, MODEL_ARTIFACT).values():
        kept = cell.value.get("object") or cell.value.get("dataset")
        if kept is not None and cell.value.get("state") not in _GIVEN_UP:
            found.add(str(kept))
    return frozenset(found)


def made_from(connection: Connection, id_: str) -> list[str]:
    """Everything that was made from a dataset or a version of an object, at any distance: runs, datasets, versions."""
    found = dict.fromkeys(edge.source for edge in edges_from(connection, id_, "downstream", MOST_STEPS))
    return [source for source in found if source != id_]


def visible_descendant(connection: Connection, found: list[str], besides: tuple[str, ...], but: str = "") -> str | None:
    """Something visible among what :func:`made_from` found: a dataset, or a cell as ``type/name``.

    Cells of the types ``besides`` do not count, nor does the cell of the name ``but``.
    """
    for part in (found[i : i + 500] for i in range(0, len(found), 500)):
        marks = ", ".join("?" * len(part))
        row = connection.execute(
            f"SELECT id FROM datasets WHERE id IN ({marks}) AND state IN ('READY', 'ARCHIVED') LIMIT 1", part
        ).fetchone()
        if row is not None:
            return str(row["id"])
        no_types = ", ".join("?" * len(besides))
        row = connection.execute(
            f"SELECT type || '/' || name AS id FROM cells AS c WHERE (tx IN ({marks})"
            f" OR type = '{OBJECT}' AND name IN ({marks})) AND NOT deleted AND type NOT IN ({no_types}) AND name != ?"
            " AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key) LIMIT 1",
            [*part, *part, *besides, but],
        ).fetchone()
        if row is not None:
            return str(row["id"])
    return None


def kept_by_lineage(
    connection: Connection, id_: str, used: bool, aliases: frozenset[str], besides: tuple[str, ...]
) -> str | None:
    """What keeps a dataset or a version: ``alias`` if it is one of ``aliases``, or one of them was made from it,
    ``keep_used`` if anything visible was and that counts (``used``), else None.
    """
    if not used and not aliases:
        return None
    found = made_from(connection, id_)
    if id_ in aliases or not aliases.isdisjoint(found):
        return "alias"
    return "keep_used" if used and visible_descendant(connection, found, besides, id_) is not None else None
