"""A history without its runs: what was made from what, as one link."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.graph import Graph, Link
from prefect_registry.provenance.relations import ItemCategory, ItemSubType, Relation

MOST_LINKS = 1_000_000


def without(graph: Graph, subtypes: Collection[ItemSubType]) -> Graph:
    """Leave out the nodes of these subtypes; what depended on one of them depends on what that one depended on.

    An output ``wasDerivedFrom`` what its run used, and ``wasAttributedTo`` the run's agents. What is reached in another
    way, or through several runs, only ``wasInfluencedBy``: PROV would not say more.

    Raises:
        InvalidInput: There would be more than :data:`MOST_LINKS` links.
    """
    left_out = {node.id for node in graph.nodes if node.subtype in subtypes}
    kept = tuple(node for node in graph.nodes if node.id not in left_out)
    links = [link for link in graph.links if link.source not in left_out and link.target not in left_out]
    for run in left_out:
        ends = [link for link in graph.links_to.get(run, ()) if link.source not in left_out]
        beyond = _beyond(graph, run, left_out) if ends else []
        if len(links) + len(ends) * len(beyond) > MOST_LINKS:
            raise InvalidInput.of("the graph", [f"without its runs it would have more than {MOST_LINKS:,} links"])
        links += [_through(graph, end, link, near) for end in ends for link, near in beyond]
    order = {node.id: i for i, node in enumerate(kept)}
    links.sort(key=lambda link: (order[link.source], order[link.target], link.relation))
    return Graph.of(kept, (link for link in links if link.source != link.target))


def _beyond(graph: Graph, run: str, left_out: Collection[str]) -> list[tuple[Link, bool]]:
    """The links that leave the runs that ``run`` leads to, and whether they are its own."""
    found: list[tuple[Link, bool]] = []
    seen, queue = {run}, deque([run])
    while queue:
        here = queue.popleft()
        for link in graph.links_from.get(here, ()):
            if link.target not in left_out:
                found.append((link, here == run))
            elif link.target not in seen:
                seen.add(link.target)
                queue.append(link.target)
    return found


def _through(graph: Graph, end: Link, link: Link, near: bool) -> Link:
    relation = Relation.WAS_INFLUENCED_BY
    if near and end.relation is Relation.WAS_GENERATED_BY:
        if link.relation is Relation.USED:
            relation = Relation.WAS_DERIVED_FROM
        elif graph.by_id[link.target].category is ItemCategory.AGENT:
            relation = Relation.WAS_ATTRIBUTED_TO
    return Link(end.source, relation, link.target, end.record_ids | link.record_ids)
