"""What lies upstream and downstream, held against networkx."""

from __future__ import annotations

from collections.abc import Callable

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provenance_support import chain, graphs

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.provenance.exploring import (
    affected_agents,
    affected_datasets,
    contributing_agents,
    contributing_datasets,
)
from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.relations import ItemCategory, ItemSubType

Question = Callable[[Graph, str, int], Graph]


def started(graphs_: st.SearchStrategy[Graph]) -> st.SearchStrategy[tuple[Graph, str]]:
    """A graph and one of its nodes."""
    return graphs_.filter(lambda graph: graph.nodes).flatmap(
        lambda graph: st.tuples(st.just(graph), st.sampled_from([node.id for node in graph.nodes]))
    )


@settings(max_examples=50)
@given(started(graphs()), st.integers(1, 6))
def test_what_is_reached(case: tuple[Graph, str], depth: int) -> None:
    """Nodes are those that networkx finds within as many steps, links those that leave a node before the last one."""
    graph, start = case
    whole = graph.to_networkx()
    for found, ways in ((graph.upstream(start, depth), whole), (graph.downstream(start, depth), whole.reverse())):
        steps = networkx.single_source_shortest_path_length(ways, start, cutoff=depth)
        assert set(found.by_id) == set(steps)
        assert [steps[node.id] for node in found.nodes] == sorted(steps.values())
        here = "source" if ways is whole else "target"
        assert set(found.links) == {link for link in graph.links if steps.get(getattr(link, here), depth) < depth}


@settings(max_examples=50)
@given(started(graphs()), st.integers(1, 5), st.booleans())
def test_what_contributes(case: tuple[Graph, str], depth: int, agents: bool) -> None:
    """A node is in the answer if one of the walks of at most so many links, to what is asked for, passes it."""
    graph, start = case
    links = {(link.source, link.target) for link in graph.links}

    def asked_for(id: str) -> bool:
        node = graph.by_id[id]
        return node.category is ItemCategory.AGENT if agents else node.subtype is ItemSubType.DATASET

    for found, pairs in (
        ((contributing_agents if agents else contributing_datasets)(graph, start, depth), links),
        (None if agents else affected_datasets(graph, start, depth), {(b, a) for a, b in links}),
    ):
        walks, passed = {(start,)}, {start}
        for _ in range(depth):
            walks = {(*walk, b) for walk in walks for a, b in pairs if walk[-1] == a}
            walks = set(list(walks)[:2000]) if len(walks) > 2000 else walks
            passed |= {id for walk in walks if asked_for(walk[-1]) for id in walk}
        if found is not None and len(walks) < 2000:
            assert set(found.by_id) == passed


@pytest.mark.parametrize(
    ("question", "start", "depth", "count"),
    [
        (contributing_datasets, "ds1", 3, 3),
        (contributing_datasets, "ds3", 6, 7),
        (affected_datasets, "ds0", 2, 3),
        (contributing_agents, "ds1", 2, 4),
        (contributing_agents, "ds3", 6, 12),
        (affected_agents, "ds0", 2, 5),
    ],
)
def test_chain(question: Question, start: str, depth: int, count: int) -> None:
    """PV-15: the numbers of the reference system's own test."""
    assert question(chain(), start, depth).record_count == count


@pytest.mark.parametrize("question", [Graph.upstream, Graph.downstream, contributing_agents, affected_agents])
def test_depth_and_start(question: Question) -> None:
    """PV-26, PV-27: depth is 1 to 100; an unknown start is not found; a start without links is the answer."""
    for depth in (0, -1, 101, True, 1.5, None):
        with pytest.raises(InvalidInput, match="whole number from 1 to 100"):
            question(chain(), "ds0", depth)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        question(chain(), "nowhere", 3)
    alone = Graph.of([chain().node("ds0")], [])
    assert question(alone, "ds0", 3) == alone


def test_depth_is_100_unless_said() -> None:
    """PV-26: the default reaches fifty runs back, and no further."""
    assert len([id for id in chain(60).upstream("ds60").by_id if id.startswith("run")]) == 50
