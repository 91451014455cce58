"""Every visible generation of the versions of an object, by the index: what their bytes are, and since when they are
what nobody loads any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from sqlite3 import Connection, Row

import orjson

from prefect_registry.catalog.histories import Cell
from prefect_registry.catalog.schema import moment
from prefect_registry.records.objects import PAYLOAD
from prefect_registry.records.types import OBJECT

_AT_A_TIME = 500


@dataclass(frozen=True)
class Step:
    """A visible generation of a version: ``makes`` is the generation whose content it has, None for a tombstone."""

    gen: int
    visible_at: datetime
    makes: int | None
    payload: str = ""
    size: int = 0
    purged: bool = False


@dataclass(frozen=True)
class VersionHistory:
    """A version of an object: ``id`` is ``name@version``, ``steps`` are its visible generations, oldest first."""

    id: str
    steps: list[Step] = field(default_factory=list)

    @property
    def newest(self) -> Step:
        """What it is now."""
        return self.steps[-1]

    @property
    def deleted(self) -> bool:
        """Whether the newest generation is a tombstone."""
        return self.newest.makes is None

    @property
    def current(self) -> int | None:
        """The generation whose content it has; of a deleted one, that which it would have again when restored."""
        return next((step.makes for step in reversed(self.steps) if step.makes is not None), None)

    def replaced(self) -> list[tuple[Step, datetime]]:
        """The older contents that have files, and since when each is overwritten."""
        current, since = self.current, {}
        before: int | None = None
        for step in self.steps:
            if step.makes is not None:
                if before is not None and before != step.makes:
                    since[before] = step.visible_at
                before = step.makes
        return [(s, since[s.gen]) for s in self.steps if s.makes == s.gen != current and s.payload and s.gen in since]

    def payloads(self) -> list[Step]:
        """Every content that has files of its own."""
        return [step for step in self.steps if step.makes == step.gen and step.payload]


def object_names(connection: Connection) -> list[str]:
    """The names of all objects that ever had a visible version."""
    rows = connection.execute(
        "SELECT DISTINCT substr(name, 1, instr(name, '@') - 1) AS name FROM cells WHERE type = ? ORDER BY name",
        (OBJECT,),
    )
    return [row["name"] for row in rows]


def versions_of(connection: Connection, name: str) -> list[VersionHistory]:
    """The versions of an object, in no order."""
    rows = connection.execute(
        "SELECT name, gen, deleted, value, visible_at FROM cells WHERE type = ? AND name > ? AND name < ?"
        " ORDER BY name, gen",
        (OBJECT, f"{name}@", f"{name}A"),  # "A" comes right behind "@", and versions are digits and dots
    )
    return [VersionHistory(id_, [_step(row) for row in steps]) for id_, steps in groupby(rows, key=lambda r: r["name"])]


def _step(row: Row) -> Step:
    gen, value = row["gen"], orjson.loads(row["value"]) if row["value"] else {}
    at = moment(row["visible_at"])
    if row["deleted"]:
        return Step(gen, at, None, purged=value.get("purged") is True)
    return Step(gen, at, int(value.get("restores", gen)), str(value.get("payload", "")), int(value.get("size", 0)))


def payload_cells(connection: Connection, payloads: Iterable[str]) -> dict[str, Cell]:
    """The newest visible generation of the cells of payloads, of those that have one."""
    wanted, found = list(payloads), {}
    for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
        marks = ", ".join("?" * len(part))
        rows = connection.execute(
            f"SELECT name, gen, value FROM cells AS c WHERE type = ? AND name IN ({marks})"
            " AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key)",
            (PAYLOAD, *part),
        )
        found.update({row["name"]: Cell(row["gen"], orjson.loads(row["value"] or "{}")) for row in rows})
    return found
