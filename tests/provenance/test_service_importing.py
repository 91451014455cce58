"""Provenance of other systems: part of lineage by one decision, once, and out of it again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from service_support import chain, dataset, opened

from prefect_registry import Registry
from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation
from prefect_registry.provenance.service import Provenance
from prefect_registry.records.provenance import ProvNodeValue
from prefect_registry.records.types import PROV_NODE
from prefect_registry.storage.memory import MemoryStorage


def prov(*derived: tuple[str, str], **more: Any) -> str:
    """A document in which entities were derived from others."""
    names = {f"x:{name}": {} for pair in derived for name in pair}
    links = {
        f"_:d{i}": {"prov:generatedEntity": f"x:{a}", "prov:usedEntity": f"x:{b}"} for i, (a, b) in enumerate(derived)
    }
    return json.dumps({"prefix": {"x": "urn:x:"}, "entity": names, "wasDerivedFrom": links, **more})


def edges_of(registry: Registry) -> list[tuple[Any, ...]]:
    """Everything that the index says of lineage."""
    sql = "SELECT * FROM edges ORDER BY source, relation, target, asserted_by"
    return registry.catalog.ask(lambda c: [tuple(row) for row in c.execute(sql)])


def is_sound(registry: Registry) -> bool:
    return not [f for f in registry.fsck().findings if f.severity != "note"]


def runs_of(registry: Registry) -> int:
    return sum(1 for _ in registry.runs())


def test_a_foreign_document_becomes_part_of_lineage() -> None:
    """By one run, with labels and attributes; what is said again is not written again."""
    provenance = Provenance(opened(), by="ada")
    text = prov(
        ("c", "b"),
        ("b", "a"),
        activity={"x:sweep": {"prov:label": "sweeping"}},
        used={"_:u": {"prov:activity": "x:sweep", "prov:entity": "x:a"}},
    )
    made = provenance.import_prov(text, reason="from the lab")
    assert made.run_id is not None
    assert (set(made.nodes), made.links) == ({"urn:x:a", "urn:x:b", "urn:x:c", "urn:x:sweep"}, 3)
    assert provenance.registry.get_run(made.run_id).notes == "from the lab"
    assert runs_of(provenance.registry) == 1
    assert provenance.where_from("urn:x:c").paths == (("urn:x:c", "urn:x:b", "urn:x:a"),)
    broken = provenance.what_breaks("urn:x:a")
    assert (broken.runs, set(broken.datasets)) == (("urn:x:sweep",), {"urn:x:b", "urn:x:c"})
    assert broken.graph.node("urn:x:sweep").label == "sweeping"
    assert {link.record_ids for link in broken.graph.links} == {frozenset({made.run_id})}
    again = provenance.import_prov(text)
    assert (again.run_id, again.nodes, again.links) == (None, (), 0)
    assert runs_of(provenance.registry) == 1
    assert is_sound(provenance.registry)


def test_more_is_added_to_what_is_known() -> None:
    """A second document adds links and attributes; who said something first stays who says it."""
    provenance = Provenance(opened())
    first = provenance.import_prov(prov(("b", "a")))
    second = provenance.import_prov(
        prov(("b", "a"), ("b", "z"), entity={"x:b": {"prov:label": "B"}, "x:z": {}, "x:a": {}})
    )
    assert (set(second.nodes), second.links) == ({"urn:x:b", "urn:x:z"}, 1)
    graph = provenance.upstream("urn:x:b")
    assert graph.node("urn:x:b").label == "B"
    assert {link.target: link.record_ids for link in graph.links} == {
        "urn:x:a": {first.run_id}, "urn:x:z": {second.run_id},
    }  # fmt: skip
    assert is_sound(provenance.registry)


def test_lineage_moves_from_registry_to_registry() -> None:
    """What one exports, another imports: the same graph. Where it came from, nothing is new."""
    provenance = Provenance(opened())
    ds, _, _ = chain(provenance, 2)
    before = provenance.lineage(ds[1])
    text = provenance.prov(ds[1])
    other = Provenance(opened())
    other.import_prov(text)
    assert other.lineage(ds[1]) == before
    assert provenance.import_prov(text).run_id is None
    assert is_sound(other.registry)


def test_what_is_our_own_is_joined_to_what_is_imported() -> None:
    """A dataset of the registry that came from somebody else's; its own kind and label stay."""
    provenance = Provenance(opened())
    ours = dataset(provenance.registry, "reefs")
    theirs = Node.of("urn:theirs", ItemSubType.DATASET, "theirs")
    wrong = Node.of(ours, ItemSubType.DATASET, "another name")
    made = provenance.import_graph(Graph.of([wrong, theirs], [Link(ours, Relation.WAS_DERIVED_FROM, theirs.id)]))
    assert made.links == 1
    assert ("urn:theirs" in provenance.upstream(ours), provenance.upstream(ours).node(ours).label) == (True, "reefs")


@pytest.mark.parametrize("cached", [False, True])
def test_an_import_can_be_reverted_and_the_revert_too(cached: bool) -> None:
    """In every index: the one that followed, a new one, and one from a checkpoint."""
    storage = MemoryStorage(f"import-{cached}")
    registry = opened(storage)
    provenance = Provenance(registry)
    provenance.import_prov(prov(("b", "a")))
    second = provenance.import_prov(prov(("b", "z"), ("c", "b")))

    def seen(each: Registry) -> tuple[set[str], set[str]]:
        there = Provenance(each)
        return set(there.upstream("urn:x:b").by_id), set(there.downstream("urn:x:b").by_id)

    everything = ({"urn:x:b", "urn:x:a", "urn:x:z"}, {"urn:x:b", "urn:x:c"})
    assert seen(registry) == everything
    if cached:
        registry.checkpoint(unsealed=True)
    reverted = registry.revert(str(second.run_id), "a mistake")
    assert seen(registry) == ({"urn:x:b", "urn:x:a"}, {"urn:x:b"})
    registry.checkpoint(unsealed=True)
    assert edges_of(opened(storage)) == edges_of(registry)
    assert is_sound(registry)
    registry.revert(reverted.run_id)
    assert seen(registry) == everything
    assert edges_of(opened(storage)) == edges_of(registry)
    assert is_sound(opened(storage))


@pytest.mark.parametrize("first_reverted", [0, 1])
def test_imports_that_speak_of_the_same_thing_are_reverted_each_by_itself(first_reverted: int) -> None:
    """In any order: what a reverted import said is gone, what the other one said stays, and reverts can be undone."""
    storage = MemoryStorage(f"imports-{first_reverted}")
    registry = opened(storage)
    provenance = Provenance(registry)
    texts = prov(("a", "b"), entity={"x:a": {"prov:label": "A"}, "x:b": {}}), prov(("a", "d"))
    made = [str(provenance.import_prov(text).run_id) for text in texts]

    def targets() -> set[str]:
        assert edges_of(opened(storage)) == edges_of(registry)
        assert is_sound(registry)
        return {link.target for link in provenance.upstream("urn:x:a").links}

    said = [{"urn:x:b"}, {"urn:x:d"}]
    assert targets() == said[0] | said[1]
    one = registry.revert(made[first_reverted])
    assert one.kept == []
    assert targets() == said[1 - first_reverted]
    other = registry.revert(made[1 - first_reverted])
    assert targets() == set()
    assert provenance.downstream("urn:x:b").links == ()
    registry.revert(one.run_id)
    assert targets() == said[first_reverted]
    registry.revert(other.run_id)
    assert targets() == said[0] | said[1]
    assert provenance.upstream("urn:x:a").node("urn:x:a").label == "A"
    assert provenance.import_prov(texts[0]).run_id is None


def test_later_imports_add_to_what_is_known_of_a_thing_and_correct_it() -> None:
    """Labels and attributes of all that stand; when none does, what it was, deleted. Ids that go on alike differ."""
    provenance = Provenance(opened())

    def imported(id_: str, label: str, **attributes: str) -> str:
        node = Node.of(id_, ItemSubType.DATASET, label, attributes)
        other = Node.of("urn:other", ItemSubType.DATASET)
        link = Link(id_, Relation.WAS_DERIVED_FROM, other.id)
        return str(provenance.import_graph(Graph.of([node, other], [link])).run_id)

    def seen(id_: str) -> tuple[str, dict[str, object]]:
        node = provenance.upstream(id_).node(id_)
        return node.label, dict(node.attributes)

    first = imported("urn:a", "old", unit="m", height="2")
    second = imported("urn:a", "new", height="3")
    longer = f"urn:a/{first}"
    imported(longer, "another", depth="1")
    assert seen("urn:a") == ("new", {"unit": "m", "height": "3"})
    assert seen(longer) == ("another", {"depth": "1"})
    provenance.registry.revert(second)
    assert seen("urn:a") == ("old", {"unit": "m", "height": "2"})
    provenance.registry.revert(first)
    assert seen("urn:a") == ("new", {"unit": "m", "height": "3", "state": "DELETED"})
    assert is_sound(provenance.registry)


def test_imports_of_stores_of_before_are_read_and_added_to() -> None:
    """There one cell, named by the id, held what all imports said of a thing."""
    storage = MemoryStorage("imports-of-before")
    registry = opened(storage)
    now = registry.ledger.store.clock.now()
    with registry.run("import provenance") as run:
        value = ProvNodeValue(
            id="urn:x:a", subtype="DATASET", label="A", attributes={"unit": "m"},
            links=[("wasDerivedFrom", "urn:x:b", run.id)], created_at=now, changed_at=now,
        )  # fmt: skip
        registry.ledger.cells.write(PROV_NODE, "urn:x:a", value.model_dump(mode="json"), run_id=run.id)
    provenance = Provenance(registry)
    made = provenance.import_prov(prov(("a", "b"), ("a", "d")))
    assert made.links == 1
    graph = provenance.upstream("urn:x:a")
    assert {link.target: link.record_ids for link in graph.links} == {
        "urn:x:b": {run.id}, "urn:x:d": {made.run_id},
    }  # fmt: skip
    assert (graph.node("urn:x:a").label, graph.node("urn:x:a").attributes["unit"]) == ("A", "m")
    registry.revert(run.id)
    assert {link.target for link in provenance.upstream("urn:x:a").links} == {"urn:x:d"}
    assert edges_of(opened(storage)) == edges_of(registry)
    assert is_sound(registry)


def test_an_import_in_a_run_is_decided_with_it() -> None:
    """Nothing of it is lineage before, nor ever if the run fails."""
    provenance = Provenance(opened())
    registry = provenance.registry
    with pytest.raises(ValueError, match="no"), registry.run("fails"):
        provenance.import_prov(prov(("b", "a")))
        raise ValueError("no")
    assert edges_of(registry) == []
    with registry.run("imports") as run:
        assert provenance.import_prov(prov(("b", "a"))).run_id == run.id
        assert edges_of(registry) == []
    assert "urn:x:a" in provenance.upstream("urn:x:b")
    assert is_sound(registry)


def test_what_is_wrong_is_told_in_full_and_nothing_is_written() -> None:
    """Contradictions to what is known, ids that cannot be kept, and what PROV-JSON cannot be."""
    provenance = Provenance(opened())
    ours = dataset(provenance.registry)
    runs = runs_of(provenance.registry)
    nodes = [Node.of(ours, ItemSubType.PERSON), Node.of("a\nb", ItemSubType.DATASET), Node.of("c", ItemSubType.DATASET)]
    with pytest.raises(InvalidInput) as raised:
        provenance.import_graph(Graph.of(nodes, []))
    assert len(raised.value.problems) == 2
    assert raised.value.committed == "no"
    with pytest.raises(InvalidInput):
        provenance.import_prov("[]")
    assert runs_of(provenance.registry) == runs
