"""Versions of objects that were overwritten, in registries that allow it: an id that stays, and says something else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection

import orjson

from prefect_registry.catalog.schema import micros
from prefect_registry.records.types import OBJECT

_AT_A_TIME = 500


def contents_since(connection: Connection, ids: Sequence[str], then: datetime) -> dict[str, tuple[str, ...]]:
    """The digests of what versions of objects held at a time, and of all that they have held since, oldest first.

    Args:
        ids: ``name@version``; others are left out.
        then: Aware.
    """
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    digests: dict[tuple[str, int], str] = {}
    wanted = [id_ for id_ in ids if "@" in id_]
    for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
        sql = (
            "SELECT name, gen, coalesce(visible_at, at) AS at, value FROM cells"
            f" WHERE type = ? AND name IN ({', '.join('?' * len(part))}) AND NOT deleted ORDER BY gen"
        )
        for row in connection.execute(sql, [OBJECT, *part]):
            value = orjson.loads(row["value"] or "{}")
            shown = row["name"], int(value.get("restores", row["gen"]))
            digest = digests.get(shown) or str(value.get("digest") or "")
            digests[row["name"], row["gen"]] = digest
            found[row["name"]].append((row["at"], digest))
    return {id_: _since(steps, micros(then)) for id_, steps in found.items()}


def _since(steps: Sequence[tuple[int, str]], then: int) -> tuple[str, ...]:
    first = max((i for i, (at, _) in enumerate(steps) if at <= then), default=0)
    return tuple(dict.fromkeys(digest for _, digest in steps[first:] if digest))
