"""Where something is from: sources and paths, in graphs with many ways and with cycles."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from service_support import dataset, opened

from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.notebooks import origin_html
from prefect_registry.provenance.origins import MOST_PATHS, Ways
from prefect_registry.provenance.questions import Origin
from prefect_registry.provenance.relations import ItemSubType, Relation
from prefect_registry.provenance.service import Provenance


def ways(links: Iterable[tuple[str, str]], start: str = "start", runs: str = "r") -> Ways:
    """Ways over nodes of which those that begin with ``runs`` are runs."""
    pairs = list(links)
    ids = dict.fromkeys(end for pair in pairs for end in pair)
    kinds = {id_: ItemSubType.WORKFLOW_RUN if id_.startswith(runs) else ItemSubType.DATASET for id_ in ids}
    relation = {True: Relation.USED, False: Relation.WAS_DERIVED_FROM}
    return Ways.of(
        Graph.of(
            [Node.of(id_, kind) for id_, kind in kinds.items()],
            [Link(a, relation[kinds[a] is ItemSubType.WORKFLOW_RUN], b) for a, b in pairs],
        ),
        start,
    )


def ladder(layers: int, width: int, last: str = "A") -> list[tuple[str, str]]:
    """Every node of a layer comes from every one of the next."""
    rows = [["start"], *([f"l{i}_{k}" for k in range(width)] for i in range(layers)), [last]]
    return [(a, b) for here, there in pairwise(rows) for a in here for b in there]


def every_path(before: dict[str, list[str]], path: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    following = [id_ for id_ in before.get(path[-1], []) if id_ not in path]
    if not following:
        yield path
    for id_ in following:
        yield from every_path(before, (*path, id_))


def test_a_source_behind_more_paths_than_are_told_is_told() -> None:
    """Two thousand short ways to one source do not hide a longer one to another, and it is said that more exist."""
    line = ["start", *(f"b{k}" for k in range(14)), "B"]
    found = ways([*ladder(11, 2), *pairwise(line)])
    paths, complete = found.paths()
    assert (len(paths), complete) == (MOST_PATHS, False)
    assert set(found.sources()) == {"A", "B"}
    assert {found.source(path) for path in paths} == {"A"}


def test_where_from_tells_every_source_and_whether_paths_are_left_out() -> None:
    """Of a registry, too: behind 2,048 paths to one source there is a longer one to another."""
    registry = opened()
    provenance = Provenance(registry)
    near, far = dataset(registry, "near"), dataset(registry, "far")
    for name, source, widths in (("near", near, [2] * 11), ("far", far, [1] * 13)):
        below: list[str] = []
        for layer, width in enumerate(widths):
            with registry.run("step"):
                if not below:
                    registry.get_dataset(source).to_table()
                for each in below:
                    registry.load(each)
                below = [f"{name}-{layer}-{k}" for k in range(width)]
                for each in below:
                    registry.save(each, layer)
    found = provenance.where_from("near-0-0@1")
    assert (found.sources, found.complete) == ((near,), True)
    with registry.run("join"):
        for each in ("near-10-0", "near-10-1", "far-12-0"):
            registry.load(each)
        registry.save("joined", 1)
    found = provenance.where_from("joined@1")
    assert (set(found.sources), len(found.paths), found.complete) == ({near, far}, MOST_PATHS, False)
    assert "longer paths are left out" in origin_html(found)


def test_wide_layers_take_no_more_memory_than_the_paths_that_are_told() -> None:
    """Four layers of 300 have eight billion paths: a thousand are told, in a few megabytes beside the graph."""
    found = ways(ladder(4, 300))
    found.sources()
    tracemalloc.start()
    paths, complete = found.paths()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(paths), len(set(paths)), complete) == (MOST_PATHS, MOST_PATHS, False)
    assert peak < 20_000_000


@pytest.mark.parametrize("seed", range(40))
def test_paths_and_sources_are_those_of_all_simple_paths(seed: int) -> None:
    """Shortest first, each once; without cycles sources are what these go back to, with cycles none is lost."""
    chance = random.Random(seed)
    names = ["start", *(f"{chance.choice('rd')}{i}" for i in range(7))]
    cycles = seed % 2 == 0
    links = {tuple(chance.sample(names, 2)) for _ in range(14)} | {("start", names[1])}
    pairs = sorted((a, b) if cycles or names.index(a) < names.index(b) else (b, a) for a, b in links)
    found = ways(pairs)
    before: dict[str, list[str]] = {}
    for a, b in dict.fromkeys(pairs):
        before.setdefault(a, []).append(b)
    expected = sorted(every_path(before, ("start",)))
    paths, complete = found.paths()
    assert complete
    assert sorted(paths) == expected
    assert [len(path) for path in paths] == sorted(len(path) for path in paths)
    there = {found.source(path) for path in paths}
    if cycles:
        assert {path[-1] for path in paths if path[-1] not in before} & found.data <= set(found.sources())
        assert found.sources()
    else:
        assert set(found.sources()) == there


def test_a_cycle_that_nothing_leads_out_of_has_a_source() -> None:
    """The dataset from which the way leads back to where it has been."""
    found = ways([("start", "r1"), ("r1", "b"), ("b", "r2"), ("r2", "start")])
    assert found.paths() == ([("start", "r1", "b", "r2")], True)
    assert found.sources() == ["b"]


def test_among_many_cycles_some_paths_are_told() -> None:
    """Where everything comes from everything all paths are long, and more than anybody can look at."""
    ids = ["start", *(f"d{i}" for i in range(30))]
    found = ways([(a, b) for a in ids for b in ids if a != b])
    paths, complete = found.paths()
    assert (len(set(paths)), complete) == (MOST_PATHS, False)
    assert {len(path) for path in paths} == {31}
    assert found.sources()


def test_an_origin_is_complete_unless_it_says_otherwise() -> None:
    """Those who make one by themselves need not say it."""
    assert Origin(("a",), (("a",),), Graph()).complete
