"""Lineage over the edges of an index: every step, nearest first, whatever the ids are."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

import pytest

from prefect_registry.catalog import lineage
from prefect_registry.catalog.database import Database
from prefect_registry.catalog.lineage import Direction, edges_from

PLAIN = [f"n{i:02d}" for i in range(40)]
HOSTILE = ["", ",", "a,b", "a", "b", "\n", "'", '"', "\\", "é", "😀", "a b", "NULL"]

Row = tuple[str, str, str, str | None, int]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An index in memory without edges."""
    with Database(None).writing() as connection:
        yield connection


def filled(connection: sqlite3.Connection, names: list[str], seed: int) -> list[Row]:
    """Random edges between all of ``names``, cycles included."""
    chance = random.Random(seed)
    made = {
        (chance.choice(names), chance.choice(["used", "wasGeneratedBy"]), chance.choice(names)): chance.randrange(100)
        for _ in range(3 * len(names))
    }
    rows: list[Row] = [(s, r, t, chance.choice([s, t, "x"]), at) for (s, r, t), at in made.items()]
    connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?, NULL)", rows)
    return rows


def walked(rows: list[Row], start: str, upstream: bool, depth: int, as_of: int | None) -> list[tuple[object, ...]]:
    """The same steps by looking at every edge once per layer."""
    here, there = (0, 2) if upstream else (2, 0)
    known = [row for row in rows if as_of is None or row[4] <= as_of]
    found: list[tuple[object, ...]] = []
    reached, layer = {start}, {start}
    for level in range(1, depth + 1):
        step = sorted((r for r in known if r[here] in layer), key=lambda r: (r[here], r[1], r[there]))
        found += [(*row[:4], level) for row in step]
        layer = {str(row[there]) for row in step} - reached
        reached |= layer
    return found


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
@pytest.mark.parametrize("names", [PLAIN, HOSTILE], ids=["plain", "hostile"])
@pytest.mark.parametrize("at_a_time", [1, 3, 5_000])
def test_every_step_is_found_once_and_in_order(
    connection: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    direction: Direction,
    at_a_time: int,
) -> None:
    """Also where ids have in them what the columns are joined by."""
    monkeypatch.setattr(lineage, "NODES_AT_A_TIME", at_a_time)
    rows = filled(connection, names, seed=1)
    for start in names:
        for depth, as_of in ((1, None), (3, None), (1_000, None), (1_000, 50)):
            expected = walked(rows, start, direction == "upstream", min(depth, 60), as_of)
            assert [tuple(e) for e in edges_from(connection, start, direction, depth, as_of)] == expected


def test_a_layer_too_long_for_one_text_is_read_row_by_row(connection: sqlite3.Connection) -> None:
    rows = filled(connection, PLAIN, seed=2)
    expected = walked(rows, PLAIN[0], True, 60, None)
    assert len(expected) > 60
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 200)
    assert [tuple(e) for e in edges_from(connection, PLAIN[0], "upstream", 1_000)] == expected


def test_an_edge_of_which_nobody_says_that_it_is_has_no_run(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO edges VALUES ('a', 'used', 'b', '', 0, NULL), ('a', 'used', 'c', 'x,y', 0, NULL)")
    assert [e.asserted_by for e in edges_from(connection, "a", "upstream", 1)] == ["", "x,y"]


def test_an_edge_that_has_ended_is_seen_only_as_of_before(connection: sqlite3.Connection) -> None:
    """And stays there for whoever else says so."""
    connection.execute(
        "INSERT INTO edges VALUES ('a', 'used', 'b', 'x', 10, 20), ('a', 'used', 'b', 'y', 15, NULL),"
        " ('a', 'used', 'c', 'x', 10, NULL)"
    )

    def seen(as_of: int | None, start: str, direction: Direction) -> list[tuple[str, str]]:
        return [(e.target, e.asserted_by) for e in edges_from(connection, start, direction, 1, as_of)]

    assert seen(None, "a", "upstream") == [("b", "y"), ("c", "x")]
    assert seen(9, "a", "upstream") == []
    assert seen(19, "a", "upstream") == [("b", "x"), ("b", "y"), ("c", "x")]
    assert seen(20, "a", "upstream") == [("b", "y"), ("c", "x")]
    assert seen(12, "b", "downstream") == [("b", "x")]
