"""Lineage graphs as values: words, equality, unions, parts, node-link JSON."""

from __future__ import annotations

import json
import pickle
import sys

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provenance_support import chain, datasets, graphs

from prefect_registry.errors import ConfigurationError, InvalidInput, NotFound
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import CATEGORY_OF, ItemCategory, ItemSubType, Relation


@pytest.mark.parametrize("relation", Relation)
def test_relations_are_recognised_however_they_are_spelt(relation: Relation) -> None:
    """PV-21: camel case, words and constants name the same relation."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in relation)
    for text in (relation.value, words, words.replace(" ", "_").upper(), words.replace(" ", "-"), f"prov:{relation}"):
        assert Relation.parse(text) is relation


@pytest.mark.parametrize("text", ["invalid_relation", "", "was", "use d!", None, 7])
def test_other_words_are_no_relations(text: str) -> None:
    """PV-21: what is none is refused, with the words that there are."""
    with pytest.raises(ValueError, match=r"no relation is called .* there are used, wasGeneratedBy"):
        Relation.parse(text)


def test_each_subtype_has_a_category() -> None:
    """Runs, studies and registrations are activities; people and organisations agents; the rest entities."""
    assert {subtype for subtype, category in CATEGORY_OF.items() if category is ItemCategory.AGENT} == {
        "PERSON",
        "ORGANISATION",
    }
    assert CATEGORY_OF[ItemSubType.STUDY] is ItemCategory.ACTIVITY
    assert CATEGORY_OF[ItemSubType.DATASET_TEMPLATE] is ItemCategory.ENTITY
    assert set(CATEGORY_OF) == set(ItemSubType)


def test_nodes_and_links_are_equal_whoever_speaks_of_them() -> None:
    """PV-18: record ids do not count."""
    node = Node.of("a", ItemSubType.DATASET, attributes={"x": [1]})
    assert node == Node.of("a", ItemSubType.DATASET, attributes={"x": [1]}, record_ids=["r"])
    assert len({node, Node.of("a", ItemSubType.DATASET, attributes={"x": [1]}, record_ids=["r"])}) == 1
    assert node != Node.of("a", ItemSubType.DATASET)
    assert Link("a", Relation.USED, "b") == Link("a", Relation.USED, "b", frozenset({"r"}))


def test_dangling_nodes() -> None:
    """PV-17: a node without a link is refused where that is asked for, and fine elsewhere."""
    graph = datasets([("a", "b")], "c")
    with pytest.raises(ValueError, match=r"Dangling nodes found\. .*'c'"):
        Graph.of(graph.nodes, graph.links, strict=True)
    assert Graph.of(graph.nodes[:2], graph.links, strict=True).record_count == 2


def test_every_problem_is_listed() -> None:
    """Unknown ends, ids of two meanings and wrong categories are told together."""
    nodes = [
        Node.of("a", ItemSubType.DATASET),
        Node.of("a", ItemSubType.MODEL),
        Node("b", ItemCategory.AGENT, ItemSubType.MODEL),
        Node.of("", ItemSubType.MODEL),
    ]
    with pytest.raises(InvalidInput) as raised:
        Graph.of(nodes, [Link("a", Relation.USED, "x"), Link("y", Relation.USED, "y")])
    assert raised.value.problems == [
        "'a' is DATASET in one place and MODEL in another",
        "'b' is MODEL, which is not of the category AGENT",
        "the id of a node is '', and must be a text",
        "'a' used 'x': there is no node 'x'",
        "'y' used 'y': there is no node 'y'",
    ]


@settings(max_examples=30)
@given(graphs(described=True), graphs(described=True))
def test_unions(one: Graph, other: Graph) -> None:
    """A union has what either has, and every record that speaks of it."""
    union = one + other
    assert set(union.by_id) == set(one.by_id) | set(other.by_id)
    assert set(union.links) == set(one.links) | set(other.links)
    for node in union.nodes:
        known = [graph.by_id[node.id] for graph in (one, other) if node.id in graph]
        assert node.record_ids == frozenset().union(*(each.record_ids for each in known))
        assert node.label == (known[0].label or known[-1].label)
    for link in union.links:
        known_links = [each for graph in (one, other) for each in graph.links if each == link]
        assert link.record_ids == frozenset().union(*(each.record_ids for each in known_links))
    assert one + one == one
    assert pickle.loads(pickle.dumps(union)) == union
    assert hash(Graph.of(reversed(union.nodes), reversed(union.links))) == hash(union)


def test_parts() -> None:
    """A subgraph has the links between its nodes; what is not there is not found."""
    graph = chain()
    part = graph.subgraph(["ds0", "run0", "ds2"])
    assert [link.key for link in part.links] == [("run0", Relation.USED, "ds0")]
    assert "ds2" in part
    assert repr(part) == "<Graph of 3 nodes (2 DATASET, 1 MODEL_RUN) and 1 links>"
    for call in (lambda: graph.subgraph(["ds0", "nowhere"]), lambda: part.node("ds3")):
        with pytest.raises(NotFound):
            call()


def test_without_runs() -> None:
    """Datasets derive from datasets, and are attributed to the agents of the runs between; outer runs influence."""
    graph = chain(2) + Graph.of(
        [Node.of("run1", ItemSubType.MODEL_RUN), Node.of("outer", ItemSubType.WORKFLOW_RUN), *datasets([], "c").nodes],
        [Link("run1", Relation.WAS_INFORMED_BY, "outer"), Link("outer", Relation.USED, "c")],
    )
    bare = graph.without_runs()
    assert {link.key for link in bare.links if link.source == "ds1"} == {
        ("ds1", Relation.WAS_DERIVED_FROM, "ds0"),
        ("ds1", Relation.WAS_ATTRIBUTED_TO, "person0"),
        ("ds1", Relation.WAS_ATTRIBUTED_TO, "organisation0"),
    }
    assert Link("ds2", Relation.WAS_INFLUENCED_BY, "c") in bare.links
    assert not any("run" in id or id == "outer" for id in bare.by_id)
    assert all(link.record_ids for link in bare.links if link.target != "c")


# -- node-link JSON ----------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(graphs(described=True), st.booleans(), st.sampled_from(["links", "edges"]))
def test_node_link_json_comes_back(graph: Graph, multigraph: bool, edges: str) -> None:
    """PV-29: through JSON and through networkx, in every form, all that the graph has comes back."""
    data = json.loads(json.dumps(graph.node_link(multigraph=multigraph, edges=edges)))  # type: ignore[arg-type]
    through = networkx.node_link_data(networkx.node_link_graph(data, edges=edges), edges="edges")
    for back in (Graph.from_node_link(data), Graph.from_node_link(json.loads(json.dumps(through)))):
        assert back == graph
        assert {node.id: node.record_ids for node in back.nodes} == {node.id: node.record_ids for node in graph.nodes}
        records = {link.key: link.record_ids for link in graph.links}
        assert {link.key: link.record_ids for link in back.links} == records


@settings(max_examples=30)
@given(graphs())
def test_networkx(graph: Graph) -> None:
    """PV-29: networkx has the same nodes and links, each relation under its own key or in a list."""
    plain, multi = graph.to_networkx(), graph.to_networkx(multigraph=True)
    assert plain.is_directed()
    assert (plain.is_multigraph(), multi.is_multigraph()) == (False, True)
    assert len(plain) == len(multi) == graph.record_count == len(graph.node_link()["nodes"])
    assert set(multi.edges(keys=True)) == {(link.source, link.target, link.relation.value) for link in graph.links}
    listed = {(a, b, type_) for a, b, types in plain.edges(data="types") for type_ in types}
    assert listed == set(multi.edges(keys=True))
    assert all(data["item_subtype"] == graph.by_id[id].subtype for id, data in plain.nodes(data=True))


def test_the_reference_form_is_read() -> None:
    """Nodes, links and record ids as the reference system writes them; no links is an empty list."""
    data = {
        "directed": True,
        "multigraph": False,
        "graph": {},
        "nodes": [
            {"id": "run", "item_category": "ACTIVITY", "item_subtype": "MODEL_RUN", "record_ids": "r1,r2"},
            {"id": "ds", "item_subtype": "DATASET"},
        ],
    }
    assert Graph.from_node_link(data).node("run").record_ids == {"r1", "r2"}
    data["links"] = [{"type": "used", "source": "run", "target": "ds"}]
    assert Graph.from_node_link(data).links == (Link("run", Relation.USED, "ds"),)


def test_wrong_json_is_told_in_full() -> None:
    """Each problem comes with the place where it is."""
    data = {
        "directed": False,
        "nodes": [7, {"id": 1, "item_subtype": "DATASET"}, {"id": "a", "item_subtype": "SHOE", "item_category": "X"}],
        "edges": [{"source": "a", "target": "", "type": "ate"}, {"source": "a", "target": "a", "types": []}],
    }
    with pytest.raises(InvalidInput) as raised:
        Graph.from_node_link(data)
    places = [problem.partition(":")[0] for problem in raised.value.problems]
    assert places == [
        "directed must be true",
        "nodes[0]",
        "nodes[1].id",
        "nodes[2].item_subtype",
        "nodes[2].item_category",
        "edges[0].target",
        "edges[0].type",
        "edges[1].types",
    ]
    twice = [{"id": "a", "item_subtype": "DATASET"}] * 2
    for wrong in ([], {"nodes": twice}, {"nodes": {}, "links": []}, {"links": [], "edges": []}, {"links": [{}]}):
        with pytest.raises(InvalidInput):
            Graph.from_node_link(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="'links' or 'edges'"):
        chain().node_link(edges="arcs")  # type: ignore[arg-type]


def test_without_networkx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the error says how to install it; nothing else needs it."""
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert Graph.from_node_link(chain().node_link()) == chain()
    with pytest.raises(ConfigurationError, match=r"prefect-registry\[graph\]"):
        chain().to_networkx()
