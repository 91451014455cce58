"""W3C PROV: graphs as PROV-JSON, PROV-N and PROV-O and back, and other people's PROV-JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st
from prov.model import ProvDocument
from provenance_support import chain, graphs

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import CATEGORY_OF, ItemCategory, ItemSubType, Relation
from prefect_registry.provenance.standards import prov, prov_parsing
from prefect_registry.provenance.standards.prov_reading import graph_of
from prefect_registry.provenance.standards.prov_terms import local_part, text_of

HOSTILE = [
    '"; drop',
    "a b",
    "é/ü@1.0",
    "%FF",
    "%",
    "-x-",
    ".",
    "line\nbreak",
    "\x00\x07",
    "\ud800",
    "]] , 'x'",
    "\u202e",
    "<b>",
]
TURTLE = {"rdf_format": "turtle"}
ENDS = {
    ItemCategory.ACTIVITY: (ItemSubType.MODEL_RUN, ItemSubType.STUDY),
    ItemCategory.ENTITY: (ItemSubType.DATASET, ItemSubType.MODEL),
    ItemCategory.AGENT: (ItemSubType.PERSON, ItemSubType.ORGANISATION),
}
E_, A_, G_ = ItemCategory.ENTITY, ItemCategory.ACTIVITY, ItemCategory.AGENT
SIGNATURES = {
    Relation.USED: (A_, E_),
    Relation.WAS_GENERATED_BY: (E_, A_),
    Relation.WAS_INFORMED_BY: (A_, A_),
    Relation.WAS_STARTED_BY: (A_, E_),
    Relation.WAS_ENDED_BY: (A_, E_),
    Relation.WAS_INVALIDATED_BY: (E_, A_),
    Relation.WAS_ASSOCIATED_WITH: (A_, G_),
    Relation.WAS_ATTRIBUTED_TO: (E_, G_),
    Relation.ACTED_ON_BEHALF_OF: (G_, G_),
    Relation.HAD_PLAN: (A_, E_),
}


def every_relation() -> Graph:
    """Each relation once, between things of the categories that PROV asks for, each said by a record of its own."""
    nodes = [Node.of(subtype.lower(), subtype) for pair in ENDS.values() for subtype in pair]
    links = []
    for relation in Relation:
        source, target = SIGNATURES.get(relation, (E_, E_))
        ends = ENDS[source][0].lower(), ENDS[target][1].lower()
        links.append(Link(ends[0], relation, ends[1], frozenset({f"said {relation}", "r"})))
    return Graph.of(nodes, links)


def details(graph: Graph) -> Any:
    """All of a graph, with the records that its equality leaves out, and the types of values."""
    return (
        {node.id: (node.label, repr(sorted(node.attributes.items())), node.record_ids) for node in graph.nodes},
        {link.key: link.record_ids for link in graph.links},
    )


def reads(text: str, format: str) -> Graph:
    """A document as ``prov`` reads it, in our words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of rdflib's Dataset, about itself
        document = ProvDocument.deserialize(content=text, format=format, **TURTLE if format == "rdf" else {})
    problems: list[str] = []
    graph = graph_of(document, problems)
    assert not problems
    return graph


@settings(max_examples=40)
@given(graphs())
def test_own_prov_json_comes_back(graph: Graph) -> None:
    """Whatever a graph has comes back from its PROV-JSON: labels, typed attributes, every record that speaks of it."""
    text = prov.to_prov_json(graph)
    back = prov.from_prov_json(text)
    assert back == graph
    assert details(back) == details(graph)
    assert prov.to_prov_json(graph) == text
    assert prov.from_prov_json(text.encode()) == graph


def test_every_relation_comes_back_in_every_format() -> None:
    """All 18 relations, with their records, from PROV-JSON, PROV-N and PROV-O, as prov itself reads them."""
    graph = every_relation()
    assert len(graph.links) == len(Relation)
    assert details(prov.from_prov_json(prov.to_prov_json(graph))) == details(graph)
    for text, format in ((prov.to_prov_n(graph), "provn"), (prov.to_prov_o(graph), "rdf")):
        back = reads(text, format)
        assert set(back.links) == set(graph.links)
        assert {node.id: node.subtype for node in back.nodes} == {node.id: node.subtype for node in graph.nodes}
        if format == "provn":  # of RDF, prov reads prov:wasRevisionOf once more, as an attribute
            assert details(back) == details(graph)
    assert ProvDocument.deserialize(content=prov.to_prov_n(graph), format="provn") == prov.document(graph)


def test_prov_o_can_be_asked() -> None:
    """Each relation is a triple of PROV-O's own property, and each thing has PROV's class and ours."""
    triples = rdflib.Graph().parse(data=prov.to_prov_o(every_relation()), format="turtle")
    space = rdflib.Namespace("http://www.w3.org/ns/prov#")
    for relation in Relation:
        found = list(triples.triples((None, space[relation.value], None)))
        assert len(found) == 1, relation
    people = list(triples.subjects(rdflib.RDF.type, space["Person"]))
    assert people == [rdflib.URIRef("urn:prefect-registry:item:person")]
    assert (people[0], rdflib.RDF.type, space["Agent"]) in triples
    ours = rdflib.URIRef("urn:prefect-registry:term:PERSON")
    assert (people[0], rdflib.RDF.type, ours) in triples


def hostile() -> Graph:
    """Names that mean something to every format, everywhere a name can stand."""
    nodes = [
        Node.of(name, ItemSubType.DATASET, label=name, attributes={name: name, "list": [name]}, record_ids=[name])
        for name in HOSTILE
    ]
    return Graph.of(nodes, [Link(HOSTILE[0], Relation.WAS_DERIVED_FROM, name, frozenset({name})) for name in HOSTILE])


def test_hostile_names_come_back() -> None:
    """Names with quotes, line breaks, control characters and half surrogates survive, and end nothing early."""
    graph = hostile()
    assert details(prov.from_prov_json(prov.to_prov_json(graph))) == details(graph)
    text = prov.to_prov_n(graph)
    assert text.isprintable() is False
    assert details(reads(text, "provn")) == details(graph)
    turtle = prov.to_prov_o(graph)
    turtle.encode()
    back = reads(turtle, "rdf")
    assert back == graph
    assert {node.id: node.record_ids for node in back.nodes} == {node.id: node.record_ids for node in graph.nodes}


@settings(max_examples=200)
@given(st.text(max_size=12))
def test_every_id_is_a_name(id: str) -> None:
    """Any text is spelt with characters that all formats take as they are, and read again."""
    local = local_part(id)
    assert text_of(local) == id
    assert local
    assert set(local) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.%")
    assert local[0] not in "-."
    assert local[-1] != "."


@pytest.mark.parametrize(
    "time", ["2026-01-02T03:04:05.000000+00:00", "2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05", "soon", 1735780000]
)
def test_times(time: Any) -> None:
    """A time with an offset is PROV's startTime; whatever stood in the attribute comes back as it was."""
    graph = Graph.of([Node.of("run", ItemSubType.MODEL_RUN, attributes={"start_time": time, "end_time": None})], [])
    text = prov.to_prov_json(graph)
    assert details(prov.from_prov_json(text)) == details(graph)
    told = json.loads(text)["activity"]["item:run"].get("prov:startTime")
    assert (told is not None) == (isinstance(time, str) and "+" in time)
    if told:
        assert datetime.fromisoformat(told) == datetime.fromisoformat(time).astimezone(UTC)


FOREIGN = {
    "prefix": {"ex": "http://example.org/", "default": "http://example.org/d#"},
    "entity": {
        "ex:report": {
            "prov:label": [{"$": "Bericht", "lang": "de"}, {"$": "report", "lang": "en-GB"}],
            "prov:type": [{"$": "ex:Document", "type": "xsd:QName"}, "draft"],
            "ex:size": {"$": "12", "type": "xsd:int"},
            "ex:on": {"$": "2026-01-01", "type": "xsd:date"},
            "prov:location": {"$": "http://example.org/there", "type": "xsd:anyURI"},
        },
        "ex:how": {"prov:type": {"$": "prov:Plan", "type": "xsd:QName"}},
        "plain": {},
    },
    "activity": {"ex:write": {"prov:startTime": "2026-01-02T03:04:05Z", "prov:label": "writing"}},
    "agent": {"ex:ada": {"prov:type": {"$": "prov:Person", "type": "xsd:QName"}}, "ex:bot": {}},
    "used": {
        "_:u1": {"prov:activity": "ex:write", "prov:entity": "ex:notes", "prov:time": "2026-01-02T03:04:06Z"},
        "ex:u2": {"prov:activity": "ex:write", "prov:entity": "plain", "prov:role": "input"},
    },
    "wasGeneratedBy": {"_:g1": {"prov:entity": "ex:report", "prov:time": "2026-01-03T00:00:00Z"}},
    "wasAssociatedWith": {
        "_:a1": {"prov:activity": "ex:write", "prov:agent": "ex:ada", "prov:plan": "ex:how"},
        "_:a2": {"prov:activity": "ex:write", "prov:agent": "ex:bot"},
    },
    "wasDerivedFrom": {
        "_:d1": {
            "prov:generatedEntity": "ex:report",
            "prov:usedEntity": "plain",
            "prov:activity": "ex:write",
            "prov:type": {"$": "prov:Revision", "type": "xsd:QName"},
        }
    },
    "hadMember": {"_:m1": {"prov:collection": "plain", "prov:entity": ["ex:report", "ex:notes"]}},
}


def test_foreign_documents() -> None:
    """Another's document is read as far as our words go; what they cannot say is kept beside."""
    graph = prov.from_prov_json(json.dumps(FOREIGN))
    ex, plain = "http://example.org/", "http://example.org/d#plain"
    subtypes = {node.id: node.subtype for node in graph.nodes}
    assert subtypes == {
        f"{ex}report": ItemSubType.DATASET,
        f"{ex}how": ItemSubType.WORKFLOW_TEMPLATE,
        plain: ItemSubType.DATASET,
        f"{ex}write": ItemSubType.WORKFLOW_RUN,
        f"{ex}ada": ItemSubType.PERSON,
        f"{ex}bot": ItemSubType.ORGANISATION,
        f"{ex}notes": ItemSubType.DATASET,
    }
    assert {link.key for link in graph.links} == {
        (f"{ex}write", "used", f"{ex}notes"),
        (f"{ex}write", "used", plain),
        (f"{ex}write", "wasAssociatedWith", f"{ex}ada"),
        (f"{ex}write", "hadPlan", f"{ex}how"),
        (f"{ex}write", "wasAssociatedWith", f"{ex}bot"),
        (f"{ex}report", "wasRevisionOf", plain),
        (plain, "hadMember", f"{ex}report"),
        (plain, "hadMember", f"{ex}notes"),
    }
    report, write = graph.node(f"{ex}report"), graph.node(f"{ex}write")
    assert report.label == "report"
    assert report.attributes == {
        "prov:label": [{"value": "Bericht", "language": "de"}, {"value": "report", "language": "en-GB"}],
        "prov:type": ["draft", f"{ex}Document"],
        f"{ex}size": 12,
        f"{ex}on": {"value": "2026-01-01", "type": "http://www.w3.org/2001/XMLSchema#date"},
        "prov:location": f"{ex}there",
        "prov:wasGeneratedBy": [{"prov:time": "2026-01-03T00:00:00+00:00"}],
        "prov:wasDerivedFrom": [{"prov:activity": f"{ex}write", "prov:usedEntity": plain}],
    }
    assert (write.label, write.attributes["start_time"]) == ("writing", "2026-01-02T03:04:05.000000+00:00")
    assert write.attributes["prov:used"] == [
        {"prov:time": "2026-01-02T03:04:06+00:00", "prov:entity": f"{ex}notes"},
        {"id": f"{ex}u2", "prov:role": "input", "prov:entity": plain},
    ]
    assert write.attributes["prov:wasAssociatedWith"] == [{"prov:agent": f"{ex}ada", "prov:plan": f"{ex}how"}]
    assert details(prov.from_prov_json(prov.to_prov_json(graph))) == details(graph)


def test_wrong_documents_are_told_in_full() -> None:
    """Every record that cannot be read is named, not only the first one."""
    wrong = {
        "prefix": {"ex": "http://example.org/"},
        "entity": {"ex:a": {"ex:x": {"type": "xsd:int"}}, "nowhere:b": {}, "ex:both": {}, "ex:c": 7},
        "agent": {"ex:both": {}},
        "activity": {"ex:run": {"prov:startTime": "yesterday"}},
        "used": {"_:1": {"prov:activity": ["ex:run", "ex:a"], "prov:entity": "ex:a"}, "_:2": {"prov:entity": "ex:a"}},
        "wasInfluencedBy": {"_:3": {"prov:influencee": "ex:a", "prov:influencer": "ex:unknown"}},
        "bundle": {"ex:bundle": {}},
        "ate": {"_:4": {}},
        "wasEndedBy": [],
    }
    with pytest.raises(InvalidInput) as raised:
        prov.from_prov_json(json.dumps(wrong))
    told = "\n".join(raised.value.problems)
    for part in ("'ex:a'", "nowhere:b", "'http://example.org/both'", "'ex:c'", "yesterday", "'_:1'", "prov:activity",
                 "http://example.org/unknown", "bundle", "ate", "wasEndedBy"):  # fmt: skip
        assert part in told, part


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"prefix": {"a": 1}}',
        '{"entity": {}, "entity": {}}',
        '{"entity": NaN}',
        b"\xff",
        "[" * 100_000,
        7,
    ],
)
def test_what_is_no_prov_json_is_refused(text: Any) -> None:
    """No JSON, JSON of another shape, repeated keys and depth end in our error."""
    with pytest.raises(InvalidInput):
        prov.from_prov_json(text)


def test_our_own_words_are_checked() -> None:
    """Names under our prefixes that we never write are refused."""
    good = json.loads(prov.to_prov_json(hostile()))
    for section, id, name, value in (
        ("entity", "item:x", "prov:type", {"$": "reg:SHOE", "type": "xsd:QName"}),
        ("entity", "item:%FF%FE", "reg:record", "r"),
        ("entity", "item:x", "reg:record", 7),
        ("entity", "item:x", "reg:linkRecords", {"$": "[7]", "type": "rdf:JSON"}),
        ("entity", "item:x", "att:y", {"$": "[7", "type": "rdf:JSON"}),
        ("agent", "item:x", "prov:type", {"$": "reg:DATASET", "type": "xsd:QName"}),
    ):
        with pytest.raises(InvalidInput):
            prov.from_prov_json(json.dumps({"prefix": good["prefix"], section: {id: {name: value}}}))


def test_long_documents_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than the limit is not even parsed."""
    monkeypatch.setattr(prov_parsing, "MOST_BYTES", 10)
    with pytest.raises(InvalidInput, match="at most 10"):
        prov.from_prov_json('{"a": "é€é€"}')


def test_large_documents_take_no_longer_for_each_part() -> None:
    """A key that stands twice, and an attribute with many values: five times the text, not 25 times the time."""

    def twice(count: int) -> None:
        keys = ",".join(f'"e:{n}":{{}}' for n in range(count))
        with pytest.raises(InvalidInput, match=f"'e:{count - 1}' stands twice"):
            prov.from_prov_json(f'{{"prefix":{{"e":"http://e/"}},"entity":{{{keys},"e:{count - 1}":{{}}}}}}')

    def values(count: int) -> None:
        records = [{"e:k": [n, str(n)]} for n in range(count // 2)]
        text = json.dumps({"prefix": {"e": "http://e/"}, "entity": {"e:a": records}})
        [node] = prov.from_prov_json(text).nodes
        assert len(node.attributes["http://e/k"]) == count  # type: ignore[arg-type]

    def seconds(call: Any, count: int) -> float:
        began = time.process_time()
        call(count)
        return time.process_time() - began

    for call, count in ((twice, 5_000), (values, 4_000)):
        seconds(call, 10)
        assert min(seconds(call, 5 * count) for _ in range(2)) < 14 * max(seconds(call, count), 0.01)


def test_values_are_told_once_and_true_is_not_1() -> None:
    """Across the records of one thing too."""
    records = [{"e:k": [1, True, 1, "1"]}, {"e:k": [True, 1.0, {"$": "1", "lang": "en"}]}]
    [node] = prov.from_prov_json(json.dumps({"prefix": {"e": "http://e/"}, "entity": {"e:a": records}})).nodes
    found = node.attributes["http://e/k"]
    assert isinstance(found, list)
    assert sorted(map(repr, found)) == sorted(["1", "True", "'1'", "1.0", "{'value': '1', 'language': 'en'}"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_that_forks_while_a_document_is_read_can_read_another() -> None:
    """The lock that another thread of the parent held is free in the child."""
    text = prov.to_prov_json(Graph.of([Node.of("urn:x", ItemSubType.DATASET)], []))
    with prov_parsing._WARNINGS:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            os._exit(0 if prov.from_prov_json(text).nodes else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("module", "call"), [("prov.model", prov.to_prov_json), ("rdflib", prov.to_prov_o)])
def test_without_the_library(monkeypatch: pytest.MonkeyPatch, module: str, call: Any) -> None:
    """Where it is not installed, the error names the extra."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"prefect-registry\[prov\]"):
        call(chain())


def test_subtypes_come_back() -> None:
    """Each subtype is told, whatever PROV's class for it."""
    nodes = [Node.of(subtype, subtype) for subtype in ItemSubType]
    back = prov.from_prov_json(prov.to_prov_json(Graph.of(nodes, [])))
    assert {node.id: node.subtype for node in back.nodes} == {node.id: node.subtype for node in nodes}
    assert all(node.category is CATEGORY_OF[node.subtype] for node in back.nodes)
    assert replace(back.nodes[0]) in nodes


def test_a_byte_order_mark_is_no_part_of_a_document() -> None:
    """Editors write one; text that was read from such a file has it as well."""
    text = prov.to_prov_json(Graph.of([Node.of("urn:x", ItemSubType.DATASET)], []))
    assert prov.from_prov_json(f"\ufeff{text}") == prov.from_prov_json(text.encode("utf-8-sig")) != Graph()
