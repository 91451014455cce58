"""Lineage: what came from what, over runs and datasets, found breadth first over the edges of the index.

An edge points from what is later to what it came from: a run ``used`` a dataset, a dataset ``wasGeneratedBy`` a run
(W3C PROV). So upstream follows edges, and downstream goes against them. A cycle ends where it began.

A layer at a time, and not by one recursive query: SQLite's recursion cannot tell how deep a node lies without visiting
it once for every depth at which it is met, and without that it takes as long as this (decision 0020).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Literal, cast

import orjson

from prefect_registry.catalog.results import Edge
from prefect_registry.interpreter import no_collection

Direction = Literal["upstream", "downstream"]

NODES_AT_A_TIME = 5_000
_COLUMNS = ("source", "relation", "target", "coalesce(asserted_by, '')")
_edge = cast("Callable[[Iterable[Any]], Edge]", partial(tuple.__new__, Edge))
"""``Edge._make`` without its check, which takes as long as all else of it: there are five columns."""


def edges_from(
    connection: sqlite3.Connection, start: str, direction: Direction, depth: int, as_of: int | None = None
) -> list[Edge]:
    """Every edge within ``depth`` steps of ``start``, nearest first; of those that several assert, one for each."""
    here, there = ("source", 2) if direction == "upstream" else ("target", 0)
    cursor = connection.cursor()
    cursor.row_factory = None
    found: list[Edge] = []
    reached, layer, level = {start}, [start], 0
    with no_collection():
        while layer and level < depth:
            level += 1
            met: set[str] = set()
            for part in (layer[i : i + NODES_AT_A_TIME] for i in range(0, len(layer), NODES_AT_A_TIME)):
                columns = _columns(cursor, part, here, as_of)
                met.update(columns[there])
                found += map(_edge, zip(*columns, repeat(level)))
            met -= reached
            reached |= met
            layer = sorted(met)  # in the order in which they lie in the index
    return found


def _columns(cursor: sqlite3.Cursor, nodes: list[str], here: str, as_of: int | None) -> Sequence[Sequence[str]]:
    """The edges of some nodes, column by column.

    SQLite joins each column to one text: that takes half as long as to hand over every value by itself. Row by row
    where the texts cannot be taken apart again, because an id that others have made has a comma in it, or are longer
    than SQLite's longest.
    """
    values = {"nodes": orjson.dumps(nodes).decode(), "as_of": as_of}
    then = "at <= :as_of AND (ended_at IS NULL OR ended_at > :as_of)" if as_of is not None else "ended_at IS NULL"
    edges = f"FROM json_each(:nodes) AS node CROSS JOIN edges ON {here} = node.value WHERE {then}"
    joined = ", ".join(f"group_concat({name})" for name in _COLUMNS)
    try:
        count, *texts = cursor.execute(f"SELECT count(*), {joined} {edges}", values).fetchone()
        columns = [text.split(",") for text in texts] if count else [[]] * len(_COLUMNS)
        if all(len(column) == count for column in columns):
            return columns
    except sqlite3.DataError:  # longer
        pass
    rows = cursor.execute(f"SELECT {', '.join(_COLUMNS)} {edges}", values).fetchall()
    return list(zip(*rows, strict=True))
