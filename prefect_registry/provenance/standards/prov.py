"""W3C PROV: PROV-JSON, PROV-N and PROV-O of a lineage graph, and the graph of PROV-JSON (extra ``prov``).

Everything that a graph has is in each of them: subtypes as types of ours beside PROV's, labels, attributes with their
types, and the ids of the records that say so (``reg:record``).
"""

from __future__ import annotations

from prefect_registry.provenance.graph import Graph
from prefect_registry.provenance.libraries import library
from prefect_registry.provenance.relations import Relation
from prefect_registry.provenance.standards.prov_parsing import MOST_BYTES
from prefect_registry.provenance.standards.prov_reading import read
from prefect_registry.provenance.standards.prov_terms import ITEM, PROV, local_part
from prefect_registry.provenance.standards.prov_writing import document

__all__ = ["MOST_BYTES", "document", "from_prov_json", "to_prov_json", "to_prov_n", "to_prov_o"]


def to_prov_json(graph: Graph, *, indent: int | None = 2) -> str:
    """PROV-JSON (https://www.w3.org/submissions/prov-json/); the same graph in the same order is the same text.

    Raises:
        ConfigurationError: ``prov`` is not installed.
    """
    return str(document(graph).serialize(format="json", indent=indent))


def to_prov_n(graph: Graph) -> str:
    """PROV-N (https://www.w3.org/TR/prov-n/); errors as of :func:`to_prov_json`."""
    return str(document(graph).get_provn())


def to_prov_o(graph: Graph) -> str:
    """PROV-O (https://www.w3.org/TR/prov-o/) as Turtle; errors as of :func:`to_prov_json`, also without rdflib.

    Relations stand there qualified, which is where their records are, and plain (``prov:used``), which is how people
    ask for them: ``prov`` by itself writes only the first of most.
    """
    rdflib = library("rdflib", "prov")
    model = document(graph)
    # Its serializer writes through rdflib's Dataset, which warns of itself; a single graph is all there is to write.
    triples = library("prov.serializers.provrdf", "prov").ProvRDFSerializer(model).encode_container(model)
    for link in graph.links:
        if link.relation is not Relation.HAD_PLAN:  # in PROV-O the plan of an association, and nothing else
            source, target = (rdflib.URIRef(ITEM + local_part(id)) for id in (link.source, link.target))
            triples.add((source, rdflib.URIRef(PROV + link.relation.value), target))
    return str(triples.serialize(format="turtle"))


def from_prov_json(text: str | bytes) -> Graph:
    """The graph of PROV-JSON: of our own, exactly the graph that was written; of others', what our words can say.

    Of a foreign document:

    - entities are datasets, or workflow templates if they are a ``prov:Plan``; activities are workflow runs; agents are
      people if they are a ``prov:Person``, else organisations. Their types stay in the attribute ``prov:type``.
    - ids are IRIs, and so are keys of attributes, except those of PROV (``prov:location``). Several values are a list,
      literals of types that JSON lacks objects with ``value`` and ``type`` or ``language``.
    - what a relation says beyond its two ends (time, role, plan's agent, activity of a derivation …), and one with an
      end left open, is kept at its source, in the attribute ``prov:used`` and the like: a list of objects.
    - things that only relations name are added as what the relation takes them for.
    - refused: bundles, ``mentionOf``, things that are of two categories, elements without a name, influences of
      things that nobody declares, names of unknown prefixes, and all that ``prov`` itself would drop.

    Args:
        text: At most :data:`MOST_BYTES`. Nothing that it names is ever fetched.

    Raises:
        InvalidInput: It is no such document; every problem is listed.
        ConfigurationError: ``prov`` is not installed.
    """
    return read(text)
