"""Graphs that the tests of provenance have in common."""

from __future__ import annotations

from hypothesis import strategies as st

from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation

IDS = "abcdefgh"
record_ids = st.frozensets(st.sampled_from(["r1", "r2", "r3"]), max_size=3)
texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def graphs(draw: st.DrawFn, described: bool = False) -> Graph:
    """Up to eight nodes with any links, cycles and several relations between the same two included.

    A node of one id is the same in all of them, unless they are ``described``: then labels and attributes are any.
    """
    ids = draw(st.lists(st.sampled_from(IDS), unique=True, max_size=len(IDS)))
    subtypes = list(ItemSubType)
    nodes = [
        Node.of(
            id,
            subtypes[IDS.index(id)],
            label=draw(texts) if described else "",
            attributes=draw(st.dictionaries(texts, json_values, max_size=2)) if described else {},
            record_ids=draw(record_ids),
        )
        for id in ids
    ]
    ends = st.sampled_from(ids) if ids else st.nothing()
    link = st.builds(Link, ends, st.sampled_from(list(Relation)[:4]), ends, record_ids)
    return Graph.of(nodes, draw(st.lists(link, max_size=12)) if ids else [])


def chain(runs: int = 3) -> Graph:
    """PV-15: ds0, run0, ds1, run1 … where each run has a modeller and an organisation of its own."""
    nodes, links = [Node.of("ds0", ItemSubType.DATASET)], []
    for i in range(runs):
        run, made, person, organisation = f"run{i}", f"ds{i + 1}", f"person{i}", f"organisation{i}"
        nodes += [
            Node.of(run, ItemSubType.MODEL_RUN, f"Run {i}"),
            Node.of(made, ItemSubType.DATASET),
            Node.of(person, ItemSubType.PERSON, "Ada"),
            Node.of(organisation, ItemSubType.ORGANISATION),
        ]
        links += [
            Link(run, Relation.USED, f"ds{i}", frozenset({run})),
            Link(made, Relation.WAS_GENERATED_BY, run, frozenset({run})),
            Link(run, Relation.WAS_ASSOCIATED_WITH, person, frozenset({run})),
            Link(run, Relation.WAS_ASSOCIATED_WITH, organisation, frozenset({run})),
            Link(made, Relation.WAS_ATTRIBUTED_TO, person, frozenset({run})),
        ]
    return Graph.of(nodes, links)


def datasets(pairs: list[tuple[str, str]], *more: str) -> Graph:
    """Datasets, each first one of a pair derived from the second."""
    ids = dict.fromkeys([*(id for pair in pairs for id in pair), *more])
    return Graph.of(
        [Node.of(id, ItemSubType.DATASET) for id in ids],
        [Link(source, Relation.WAS_DERIVED_FROM, target) for source, target in pairs],
    )


def fan(leaves: int) -> Graph:
    """One run that used many datasets."""
    nodes = [Node.of("run", ItemSubType.MODEL_RUN), *(Node.of(f"d{i}", ItemSubType.DATASET) for i in range(leaves))]
    return Graph.of(nodes, [Link("run", Relation.USED, f"d{i}") for i in range(leaves)])
