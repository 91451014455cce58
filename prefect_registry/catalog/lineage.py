"""Lineage: what came from what, over runs and datasets, found breadth first over the edges of the index.

An edge points from what is later to what it came from: a run ``used`` a dataset, a dataset ``wasGeneratedBy`` a run
(W3C PROV). So upstream follows edges, and downstream goes against them. A cycle ends where it began.
"""

from __future__ import annotations

from sqlite3 import Connection
from typing import Literal

from prefect_registry.catalog.results import Edge

Direction = Literal["upstream", "downstream"]


def edges_from(
    connection: Connection, start: str, direction: Direction, depth: int, as_of: int | None = None
) -> list[Edge]:
    """Every edge within ``depth`` steps of ``start``, nearest first."""
    here, there = ("source", "target") if direction == "upstream" else ("target", "source")
    condition = "AND e.at <= :as_of" if as_of is not None else ""
    found: dict[tuple[str, str, str], Edge] = {}
    reached, layer = {start}, [start]
    values = {"as_of": as_of} if as_of is not None else {}
    for level in range(1, depth + 1):
        following: list[str] = []
        for part in (layer[i : i + 500] for i in range(0, len(layer), 500)):
            names = {f"n{i}": node for i, node in enumerate(part)}
            listed = ", ".join(f":{name}" for name in names)
            sql = f"SELECT source, relation, target, asserted_by FROM edges AS e WHERE {here} IN ({listed}) {condition}"
            for row in connection.execute(sql, {**names, **values}):
                edge = Edge(row["source"], row["relation"], row["target"], row["asserted_by"], level)
                found.setdefault((edge.source, edge.relation, edge.target), edge)
                if row[there] not in reached:
                    reached.add(row[there])
                    following.append(row[there])
        if not following:
            break
        layer = following
    return list(found.values())
