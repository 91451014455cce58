"""The lineage graph of a PROV document: our own, or what our words can say of another's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.graph import JSON, Graph, Link, Node
from prefect_registry.provenance.libraries import library
from prefect_registry.provenance.relations import CATEGORY_OF, ItemCategory, ItemSubType, Relation
from prefect_registry.provenance.standards.prov_parsing import parsed
from prefect_registry.provenance.standards.prov_terms import DERIVATIONS, END_TIME, PROV, START_TIME, TERM, iso
from prefect_registry.provenance.standards.prov_values import Attributes, Values

_ENTITY, _ACTIVITY, _AGENT = ItemCategory.ENTITY, ItemCategory.ACTIVITY, ItemCategory.AGENT
_ENDS = {
    "Usage": (Relation.USED, "activity", "entity"),
    "Generation": (Relation.WAS_GENERATED_BY, "entity", "activity"),
    "Communication": (Relation.WAS_INFORMED_BY, "informed", "informant"),
    "Start": (Relation.WAS_STARTED_BY, "activity", "trigger"),
    "End": (Relation.WAS_ENDED_BY, "activity", "trigger"),
    "Invalidation": (Relation.WAS_INVALIDATED_BY, "entity", "activity"),
    "Association": (Relation.WAS_ASSOCIATED_WITH, "activity", "agent"),
    "Attribution": (Relation.WAS_ATTRIBUTED_TO, "entity", "agent"),
    "Delegation": (Relation.ACTED_ON_BEHALF_OF, "delegate", "responsible"),
    "Influence": (Relation.WAS_INFLUENCED_BY, "influencee", "influencer"),
    "Derivation": (Relation.WAS_DERIVED_FROM, "generatedEntity", "usedEntity"),
    "Specialization": (Relation.SPECIALIZATION_OF, "specificEntity", "generalEntity"),
    "Alternate": (Relation.ALTERNATE_OF, "alternate1", "alternate2"),
    "Membership": (Relation.HAD_MEMBER, "collection", "entity"),
}
"""By PROV's name of a relation: ours, and the formal attributes that are its source and target."""
_CATEGORIES = {
    **dict.fromkeys(("activity", "informed", "informant"), _ACTIVITY),
    **dict.fromkeys(("agent", "delegate", "responsible"), _AGENT),
    **dict.fromkeys(("entity", "trigger", "plan", "collection", "generatedEntity", "usedEntity"), _ENTITY),
    **dict.fromkeys(("specificEntity", "generalEntity", "alternate1", "alternate2"), _ENTITY),
}
"""What a formal attribute takes a thing for. Nobody knows what takes part in an influence."""
_USUAL = {_ENTITY: ItemSubType.DATASET, _ACTIVITY: ItemSubType.WORKFLOW_RUN, _AGENT: ItemSubType.ORGANISATION}
_BY_TYPE = {
    (_ENTITY, f"{PROV}Plan"): ItemSubType.WORKFLOW_TEMPLATE,
    (_AGENT, f"{PROV}Person"): ItemSubType.PERSON,
}
_TYPE, _LABEL = f"{PROV}type", f"{PROV}label"
_TIMES = {f"{PROV}startTime": START_TIME, f"{PROV}endTime": END_TIME}


def read(text: str | bytes) -> Graph:
    """See :func:`prefect_registry.provenance.standards.prov.from_prov_json`."""
    problems: list[str] = []
    document = parsed(text, problems)
    graph = graph_of(document, problems)
    if problems:
        raise InvalidInput.of("the PROV-JSON", problems)
    return graph


def graph_of(document: Any, problems: list[str]) -> Graph:
    """The graph of a document of ``prov``; an empty one, and what is wrong in ``problems``, if it cannot be one."""
    reading = _Reading(Values(library("prov.model", "prov"), problems))
    records = list(document.get_records())
    for record in records:
        if record.is_element():
            reading.element(record)
    for record in records:
        if record.is_relation():
            reading.relation(record)
    nodes, links = list(reading.nodes()), list(reading.all_links())
    for bundle in document.bundles:
        problems.append(f"bundle {bundle.identifier!s:.80}: bundles are not read")
    return Graph() if problems else Graph.of(nodes, links)


class _Reading:
    """What a document says of things and of links between them."""

    def __init__(self, values: Values) -> None:
        self.values, self.problems = values, values.problems
        self.categories: dict[str, ItemCategory] = {}
        self.attributes: dict[str, Attributes] = {}
        self.links: list[Link] = []
        self.details: defaultdict[str, dict[str, list[JSON]]] = defaultdict(dict)

    # -- things ----------------------------------------------------------------------------------------------------

    def element(self, record: Any) -> None:
        """Take what a document declares."""
        if record.identifier is None:
            self.problems.append(f"a thing has no name that can be read: {record!s:.120}")
            return
        category = ItemCategory(record.get_type().localpart.upper())
        id = self.values.id(record.identifier)
        known = self.categories.setdefault(id, category)
        if known is not category:
            self.problems.append(f"{id!r:.80} is {known} in one place and {category} in another")
        self.values.collect(record.attributes, self.attributes.setdefault(id, {}))

    def nodes(self) -> Iterator[Node]:
        """All things, declared or only named."""
        for id, category in self.categories.items():
            attributes = self.attributes.get(id, {})
            types = self.values.iris(attributes.get(_TYPE, []))
            own = [type_.removeprefix(TERM) for type_ in types if type_.startswith(TERM)]
            known = dict(self._attributes(attributes, bool(own)))
            label, all_labels = self.values.label(attributes)
            if all_labels is not None:
                known["prov:label"] = all_labels
            for key, told in self.details.get(id, {}).items():
                known.setdefault(key, told)
            records = self.values.texts(attributes.get(f"{TERM}record", []))
            yield Node(id, category, self._subtype(id, category, own, types), label, known, records)

    def _attributes(self, attributes: Attributes, own: bool) -> Iterator[tuple[str, JSON]]:
        """Ours come last: where one of them tells a time more exactly than PROV, it counts."""
        for iri, values in attributes.items():
            if iri in _TIMES:
                time = values[0]
                yield _TIMES[iri], iso(time) if time.tzinfo else time.isoformat()
        for iri, values in attributes.items():
            if not (iri.startswith(TERM) or iri in _TIMES or iri == _LABEL or (own and iri == _TYPE)):
                yield self.values.key(iri), self.values.json(values)

    def _subtype(self, id: str, category: ItemCategory, own: list[str], types: list[str]) -> ItemSubType:
        for word in own:
            if word in ItemSubType.__members__ and CATEGORY_OF[ItemSubType(word)] is category:
                return ItemSubType(word)
            self.problems.append(f"{id!r:.80} is called {word!r:.60}, which is no {category} of ours")
        return next((_BY_TYPE[category, type_] for type_ in types if (category, type_) in _BY_TYPE), _USUAL[category])

    # -- links -----------------------------------------------------------------------------------------------------

    def relation(self, record: Any) -> None:
        """Take a relation: as links, and in an attribute of its source what links cannot tell."""
        kind = str(record.get_type().localpart)
        if kind not in _ENDS:
            self.problems.append(f"{kind}: this relation is not read")
            return
        relation, near, far = _ENDS[kind]
        formal = {name.localpart: value for name, value in record.formal_attributes if value is not None}
        source, target = self._end(near, formal.pop(near, None)), self._end(far, formal.pop(far, None))
        plan = self._end("plan", formal.pop("plan", None))
        if source is None:
            self.problems.append(f"{relation}: nothing that can be read stands at prov:{near}: {record!s:.120}")
            return
        extra = self.values.collect(record.extra_attributes, {})
        records = self.values.texts(extra.pop(f"{TERM}record", []))
        relations = self._relations(kind, relation, extra)
        if target is not None:
            self.links += [Link(source, each, target, records) for each in relations]
        if plan is not None:
            self.links.append(Link(source, Relation.HAD_PLAN, plan, records))
        more = dict(self._more(record, formal, extra))
        both = target is not None and plan is not None
        if more or both or (target is None and plan is None):
            ends = {far: target, "plan": plan}
            more |= {f"prov:{role}": id for role, id in ends.items() if id is not None}
            self.details[source].setdefault(f"prov:{relation.value}", []).append(more)

    def _relations(self, kind: str, relation: Relation, extra: Attributes) -> list[Relation]:
        """The relations of ours that a relation is: a derivation is what its types say, which are then told."""
        if kind != "Derivation":
            return [relation]
        types = self.values.iris(extra.get(_TYPE, []))
        relations = [each for each, word in DERIVATIONS.items() if PROV + word in types]
        if len(relations) == len(extra.get(_TYPE, [])):
            extra.pop(_TYPE, None)
        return relations or [relation]

    def _end(self, role: str, name: Any) -> str | None:
        if name is None:
            return None
        id = self.values.id(name)
        if id not in self.categories:
            if role not in _CATEGORIES:
                self.problems.append(f"{id!r:.80} takes part in an influence, and nothing says what it is")
                return None
            self.categories[id] = _CATEGORIES[role]
        return id

    def _more(self, record: Any, formal: Mapping[str, Any], extra: Attributes) -> Iterator[tuple[str, JSON]]:
        if record.identifier is not None:
            yield "id", self.values.id(record.identifier)
        for role, value in formal.items():
            yield f"prov:{role}", self.values.one(value)
        for iri, values in extra.items():
            yield self.values.key(iri), self.values.json(values)

    def all_links(self) -> Iterable[Link]:
        """The links, with the records of those that can have no attributes in PROV."""
        said: dict[tuple[str, str, str], frozenset[str]] = {}
        for id, attributes in self.attributes.items():
            for relation, target, records in self.values.link_records(id, attributes):
                said[id, relation, target] = frozenset(records)
        for link in self.links:
            more = said.get((link.source, link.relation.value, link.target), frozenset())
            yield Link(link.source, link.relation, link.target, link.record_ids | more)
