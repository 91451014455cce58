"""What readers see of a kind, and what is staged of it, by the index (DESIGN.md P15)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from sqlite3 import Connection
from typing import NamedTuple


class Generation(NamedTuple):
    """The generation of a dataset that counts: its run, its suffix and its number; ``released`` if its bytes are gone,
    and it only hides what it has replaced.
    """

    run_id: str
    suffix: str
    gen: int
    released: bool = False


_COUNTING = """
SELECT id, run_id, gen, mode, publication, state FROM datasets AS d WHERE kind = ? AND outcome = 'committed'
AND (state IN ('READY', 'ARCHIVED') OR state = 'DELETED' AND EXISTS (
    SELECT 1 FROM cells WHERE type = 'dataset' AND name = d.id AND json_extract(value, '$.purged')
    AND json_extract(value, '$.was') = 'READY'
    AND gen = (SELECT max(gen) FROM cells WHERE type = 'dataset' AND name = d.id)))
ORDER BY settled_at DESC, publication DESC, id DESC
"""


def publications(connection: Connection, kind: str) -> Iterator[list[Generation]]:
    """The datasets of ``kind`` that count, per publication, newest first; up to the one that replaced all before it.

    Those that are visible, and those that were released: what these have replaced stays replaced.
    """
    found = connection.execute(_COUNTING, (kind,))
    for _, group in groupby(found, key=lambda row: row["publication"]):
        rows = list(group)
        yield [Generation(row["run_id"], row["id"][-16:], row["gen"], row["state"] == "DELETED") for row in rows]
        if any(row["mode"] == "replace" for row in rows):
            return


def published_kinds(connection: Connection) -> list[str]:
    """Every kind that was ever published, sorted."""
    sql = "SELECT DISTINCT kind FROM datasets WHERE outcome = 'committed' AND member AND step = 'staged' ORDER BY kind"
    return [row["kind"] for row in connection.execute(sql)]


def staged(connection: Connection, kind: str) -> list[Generation]:
    """Datasets of ``kind`` that are staged in some run, newest first."""
    sql = "SELECT id, run_id, gen FROM datasets WHERE state = 'STAGED' AND kind = ? ORDER BY id DESC"
    return [Generation(row["run_id"], row["id"][-16:], row["gen"]) for row in connection.execute(sql, (kind,))]
