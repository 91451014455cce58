"""A lineage graph as a PROV document (https://www.w3.org/TR/prov-dm/) of the library ``prov``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prefect_registry.provenance.drawing.texts import LONGEST_TITLE, shown
from prefect_registry.provenance.graph import JSON, Graph, Link, Node
from prefect_registry.provenance.libraries import library
from prefect_registry.provenance.relations import ItemCategory, Relation
from prefect_registry.provenance.standards.prov_terms import (
    BARE,
    END_TIME,
    PREFIXES,
    PROV_TYPES,
    START_TIME,
    clean,
    instant,
    iso,
    json_text,
    local_part,
)

if TYPE_CHECKING:
    from prov.model import ProvDocument

Pairs = list[tuple[Any, Any]]


def document(graph: Graph) -> ProvDocument:
    """The graph as the model of ``prov``, from which it writes every format it knows.

    Raises:
        ConfigurationError: ``prov`` is not installed.
    """
    written: ProvDocument = _Writing(library("prov.model", "prov")).document(graph)
    return written


class _Writing:
    """One document being written.

    Args:
        model: The module ``prov.model``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.target = model.ProvDocument()
        self.spaces = {prefix: self.target.add_namespace(prefix, uri) for prefix, uri in PREFIXES.items()}
        self.json_type = self.spaces["rdf"]["JSON"]
        self.relations = self._relations(self.target)

    def document(self, graph: Graph) -> Any:
        said_of_bare: defaultdict[str, list[JSON]] = defaultdict(list)
        for link in graph.links:
            if link.relation in BARE and link.record_ids:
                said_of_bare[link.source].append([link.relation.value, link.target, sorted(link.record_ids)])
        for node in graph.nodes:
            self._node(node, said_of_bare.get(node.id, []))
        for link in graph.links:
            self._link(link)
        return self.target

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _node(self, node: Node, said: list[JSON]) -> None:
        pairs: Pairs = [(self.model.PROV["type"], self._term(node.subtype.value))]
        if node.subtype in PROV_TYPES:
            pairs.append((self.model.PROV["type"], self.model.PROV[PROV_TYPES[node.subtype]]))
        pairs += self._label(node.label)
        times = self._times(node)
        for key, value in node.attributes.items():
            if key not in times or iso(times[key]) != value:
                pairs.append((self.spaces["att"][local_part(key)], self._value(value)))
        pairs += self._records(node.record_ids)
        if said:
            pairs.append((self._term("linkRecords"), self._json(said)))
        name = self._name(node.id)
        if node.category is ItemCategory.ACTIVITY:
            self.target.activity(name, times.get(START_TIME), times.get(END_TIME), pairs)
        elif node.category is ItemCategory.AGENT:
            self.target.agent(name, pairs)
        else:
            self.target.entity(name, pairs)

    def _times(self, node: Node) -> Mapping[str, Any]:
        """PROV's times of an activity. What they do not tell to the letter stands in the attribute as well."""
        if node.category is not ItemCategory.ACTIVITY:
            return {}
        times = {key: instant(node.attributes.get(key)) for key in (START_TIME, END_TIME)}
        return {key: time for key, time in times.items() if time is not None}

    def _label(self, label: str) -> Iterable[tuple[Any, Any]]:
        if not label:
            return
        yield self.model.PROV["label"], label if clean(label) else shown(label, LONGEST_TITLE)
        if not clean(label):
            yield self._term("label"), self._json(label)

    def _records(self, ids: Iterable[str]) -> Pairs:
        return [(self._term("record"), self._value(id)) for id in sorted(ids)]

    # -- values ----------------------------------------------------------------------------------------------------

    def _name(self, id: str) -> Any:
        return self.spaces["item"][local_part(id)]

    def _term(self, word: str) -> Any:
        return self.spaces["reg"][word]

    def _value(self, value: JSON) -> Any:
        """Truth, numbers and texts as what they are; null, lists, objects and texts with what some format cannot hold
        as ``rdf:JSON``.
        """
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and clean(value)):
            return value
        return self._json(value)

    def _json(self, value: JSON) -> Any:
        return self.model.Literal(json_text(value), self.json_type)

    # -- links -----------------------------------------------------------------------------------------------------

    def _link(self, link: Link) -> None:
        source, target = self._name(link.source), self._name(link.target)
        more = {} if link.relation in BARE else {"other_attributes": self._records(link.record_ids)}
        self.relations[link.relation](source, target, **more)

    def _relations(self, to: Any) -> dict[Relation, Callable[..., Any]]:
        """What writes each relation of a source and a target."""
        return {
            Relation.USED: to.usage,
            Relation.WAS_GENERATED_BY: to.generation,
            Relation.WAS_INFORMED_BY: to.communication,
            Relation.WAS_STARTED_BY: to.start,
            Relation.WAS_ENDED_BY: to.end,
            Relation.WAS_INVALIDATED_BY: to.invalidation,
            Relation.WAS_ASSOCIATED_WITH: to.association,
            Relation.WAS_ATTRIBUTED_TO: to.attribution,
            Relation.ACTED_ON_BEHALF_OF: to.delegation,
            Relation.WAS_INFLUENCED_BY: to.influence,
            Relation.WAS_DERIVED_FROM: to.derivation,
            Relation.WAS_REVISION_OF: to.revision,
            Relation.WAS_QUOTED_FROM: to.quotation,
            Relation.HAD_PRIMARY_SOURCE: to.primary_source,
            Relation.SPECIALIZATION_OF: to.specialization,
            Relation.ALTERNATE_OF: to.alternate,
            Relation.HAD_MEMBER: to.membership,
            Relation.HAD_PLAN: self._plan,
        }

    def _plan(self, activity: Any, plan: Any, other_attributes: Pairs) -> None:
        """PROV has plans only as a part of an association; its agent may be left open."""
        self.target.association(activity, None, plan, other_attributes=other_attributes)
