"""Lineage: what came from what, over runs and datasets, found breadth first over the edges of the index.

An edge points from what is later to what it came from: a run ``used`` a dataset, a dataset ``wasGeneratedBy`` a run
(W3C PROV). So upstream follows edges, and downstream goes against them. A cycle ends where it began.

A layer at a time, and not by one recursive query: SQLite's recursion cannot tell how deep a node lies without visiting
it once for every depth at which it is met, and without that it takes as long as this (decision 0020).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from sqlite3 import Connection
from typing import Literal

import orjson

from prefect_registry.catalog.results import Edge

Direction = Literal["upstream", "downstream"]

NODES_AT_A_TIME = 5_000


def edges_from(
    connection: Connection, start: str, direction: Direction, depth: int, as_of: int | None = None
) -> list[Edge]:
    """Every edge within ``depth`` steps of ``start``, nearest first."""
    here, there = ("source", itemgetter(2)) if direction == "upstream" else ("target", itemgetter(0))
    sql = (
        "SELECT source, relation, target, asserted_by, :level FROM json_each(:nodes) AS node"
        f" CROSS JOIN edges ON {here} = node.value {'WHERE at <= :as_of' if as_of is not None else ''}"
    )
    cursor = connection.cursor()
    cursor.row_factory = None
    found: list[Edge] = []
    reached, layer, level = {start}, [start], 0
    with _no_collection():
        while layer and level < depth:
            level += 1
            met: set[str] = set()
            for part in (layer[i : i + NODES_AT_A_TIME] for i in range(0, len(layer), NODES_AT_A_TIME)):
                values = {"nodes": orjson.dumps(part).decode(), "level": level, "as_of": as_of}
                rows = cursor.execute(sql, values).fetchall()
                found += map(Edge._make, rows)
                met.update(map(there, rows))
            layer = sorted(met - reached)  # in the order in which they lie in the index
            reached |= met
    return found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python looks for no cycles meanwhile: among very many new objects without any, that takes as long as all else."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
