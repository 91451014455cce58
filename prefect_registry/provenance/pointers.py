"""What points at things from outside lineage: aliases, and the scheduled publications that have published them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from sqlite3 import Connection

import orjson

from prefect_registry.records.types import ALIAS, MODEL_ALIAS

JOB = "job"
"""The type of the cells of scheduled jobs, ``<publication>/<number>`` by name; ``run`` is what published one."""
_OBJECT, _VERSION, _MODEL, _RUN, _MODEL_NAME, _ALIAS = (
    f"json_extract(value, '$.{name}')" for name in ("object", "version", "model", "run", "model_name", "alias")
)


@dataclass(frozen=True)
class Pointers:
    """What points at some things, by name, sorted.

    Attributes:
        aliases: ``object@alias`` and ``model@alias``.
        publications: Those whose jobs have made one of the things.
    """

    aliases: tuple[str, ...]
    publications: tuple[str, ...]


def pointers_to(connection: Connection, ids: Collection[str], as_of: int | None = None) -> Pointers:
    """What points at some things now, or pointed at them at a time. SQLite looks through all aliases and jobs."""
    wanted = orjson.dumps(list(ids)).decode()
    then = "AND visible_at <= :as_of" if as_of is not None else ""

    def named(type_: str, name: str, values: Sequence[str]) -> set[str]:
        among = " OR ".join(f"{value} IN (SELECT value FROM json_each(:ids))" for value in values)
        rows = connection.execute(
            f"SELECT {name} AS found FROM cells AS c WHERE type = :type AND NOT deleted AND ({among})"
            f" AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key {then})",
            {"type": type_, "ids": wanted, "as_of": as_of},
        )
        return {str(row["found"]) for row in rows}

    aliases = named(ALIAS, "name", [f"{_OBJECT} || '@' || {_VERSION}"])
    aliases |= named(MODEL_ALIAS, f"{_MODEL_NAME} || '@' || {_ALIAS}", [_VERSION, _MODEL])
    jobs = named(JOB, "name", [_RUN])
    return Pointers(tuple(sorted(aliases)), tuple(sorted({job.rpartition("/")[0] for job in jobs})))
