"""What changes when a record says something else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provenance_support import graphs

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.differences import Action, Change, apply, diff
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation


def said(graph: Graph, record_id: str, by: bool) -> tuple[dict[object, object], dict[object, object]]:
    """The nodes and links of a record; or, of all, the other records that speak of them."""
    items = [(node.id, node) for node in graph.nodes], [(link.key, link) for link in graph.links]
    if by:
        return tuple({key: item for key, item in kind if record_id in item.record_ids} for kind in items)
    others = ({key: item.record_ids - {record_id} for key, item in kind} for kind in items)  # type: ignore[attr-defined]
    return tuple({key: records for key, records in kind.items() if records} for kind in others)


def consistent(graph: Graph) -> Graph:
    """A graph in which a record that speaks of a link speaks of its ends, as every record does; none is spoken of by
    nobody.
    """
    links = [Link(*link.key, link.record_ids or frozenset({"r2"})) for link in graph.links]
    nodes = [
        Node.of(
            node.id,
            node.subtype,
            record_ids=(node.record_ids or frozenset({"r3"})).union(
                *(link.record_ids for link in links if node.id in (link.source, link.target))
            ),
        )
        for node in graph.nodes
    ]
    return Graph.of(nodes, links)


@settings(max_examples=80)
@given(graphs(), graphs(), st.randoms(use_true_random=False))
def test_applied(old: Graph, new: Graph, chance: random.Random) -> None:
    """After the changes the record says what the new graph says, others what they said, and nothing is left over."""
    old = consistent(old)
    changes = diff(old, new, "r1")
    shuffled = chance.sample(changes, len(changes))
    after = apply(old, shuffled)
    nodes, links = said(after, "r1", by=True)
    assert set(nodes) == set(new.by_id)
    assert set(links) == {link.key for link in new.links}
    assert said(after, "r1", by=False) == said(old, "r1", by=False)
    assert all(item.record_ids for item in (*after.nodes, *after.links))
    assert diff(after, new, "r1") == []
    assert [change.action for change in changes] == sorted((c.action for c in changes), key=list(Action).index)


def loop(record_id: str) -> Graph:
    node = Node.of("a", ItemSubType.DATASET, record_ids=[record_id])
    return Graph.of([node], [Link("a", Relation.USED, "a", node.record_ids)])


def line(record_id: str, *pairs: str) -> Graph:
    record = frozenset({record_id})
    nodes = [Node("abc"[i], loop("").nodes[0].category, ItemSubType.DATASET, record_ids=record) for i in range(3)]
    used = {id for pair in pairs for id in pair}
    return Graph.of((n for n in nodes if n.id in used), (Link(p[0], Relation.USED, p[1], record) for p in pairs))


@pytest.mark.parametrize(
    ("old", "new", "actions"),
    [
        (Graph(), loop("r"), ["ADD_NEW_NODE", "ADD_NEW_LINK"]),
        (loop("r"), Graph(), ["REMOVE_LINK", "REMOVE_NODE"]),
        (loop("other"), Graph(), []),
        (line("r", "ab", "bc"), line("r", "ab", "bc", "ac"), ["ADD_NEW_LINK"]),
        (line("r", "ab", "bc", "ac"), line("r", "ab", "bc"), ["REMOVE_LINK"]),
        (line("other", "ab"), line("r", "ab"), ["ADD_RECORD_ID_TO_NODE"] * 2 + ["ADD_RECORD_ID_TO_LINK"]),
        (
            line("other", "ab") + line("r", "ab"),
            Graph(),
            ["REMOVE_RECORD_ID_FROM_LINK"] + ["REMOVE_RECORD_ID_FROM_NODE"] * 2,
        ),
    ],
)
def test_actions(old: Graph, new: Graph, actions: list[str]) -> None:
    """PV-19: the actions of the reference system's own tests."""
    changes = diff(old, new, "r")
    assert [change.action for change in changes] == actions
    assert all(change.as_dict()["action_type"] == change.action for change in changes)


def test_changes_as_json() -> None:
    """A change tells its record, and the node or link that it concerns."""
    node, link = diff(Graph(), loop("r"), "r")
    assert node.as_dict() == {
        "action_type": "ADD_NEW_NODE",
        "record_id": "r",
        "node_id": "a",
        "item_category": "ENTITY",
        "item_subtype": "DATASET",
    }
    assert link.as_dict()["link"] == {"source": "a", "type": "used", "target": "a"}


def test_a_node_keeps_its_subtype() -> None:
    """An id that means something else in the new graph is an error, not two actions on one node."""
    other = Graph.of([Node.of("a", ItemSubType.MODEL)], [])
    with pytest.raises(InvalidInput, match="'a' is DATASET in the old graph and MODEL in the new one"):
        diff(loop("r"), other, "r")


def test_changes_that_do_not_fit_are_refused_together() -> None:
    """Nothing is changed when one of the changes cannot be made, and all that cannot are told."""
    graph = loop("r") + line("other", "ab")
    node, link = graph.node("a"), graph.links[0]
    wrong = [
        (Change(Action.ADD_NEW_NODE, "r", node), "it is there"),
        (Change(Action.REMOVE_NODE, "r", node), "other records speak of it"),
        (Change(Action.REMOVE_LINK, "x", Link("b", Relation.USED, "a")), "it is not there"),
        (Change(Action.REMOVE_RECORD_ID_FROM_NODE, "x", node), "'x' does not speak of it"),
        (Change(Action.ADD_RECORD_ID_TO_LINK, "x", node), "it concerns a Node"),
    ]
    for change, problem in wrong:
        with pytest.raises(InvalidInput, match=problem):
            apply(graph, [change])
    with pytest.raises(InvalidInput) as raised:
        apply(graph, [change for change, _ in wrong])
    assert len(raised.value.problems) == len(wrong)
    with pytest.raises(InvalidInput, match="there is no node"):
        apply(loop("r"), [Change(Action.REMOVE_NODE, "r", node)])
    assert apply(graph, [Change(Action.ADD_RECORD_ID_TO_LINK, "x", link)]).links[0].record_ids == {"r", "x"}
