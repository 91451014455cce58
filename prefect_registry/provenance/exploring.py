"""Walks through a lineage graph: what lies upstream and downstream, and which datasets and agents (PV-15).

Every answer is a graph whose first node is the start. It has the links of the walks of at most ``depth`` links; cycles
end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from prefect_registry.errors import InvalidInput
from prefect_registry.interpreter import no_collection
from prefect_registry.provenance.graph import DEFAULT_DEPTH, Graph, Link, Node
from prefect_registry.provenance.relations import ItemCategory, ItemSubType

Direction = Literal["upstream", "downstream"]
DEEPEST = 100


def check_depth(depth: int, deepest: int = DEEPEST) -> None:
    """Refuse a depth that is not a whole number from 1 to ``deepest`` (SEEDS).

    Raises:
        InvalidInput: It is not.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= deepest:
        problem = f"depth must be a whole number from 1 to {deepest}, not {depth!r:.40}"
        raise InvalidInput.of("depth", [problem])


def reached(graph: Graph, start: str, direction: Direction, depth: int = DEFAULT_DEPTH) -> Graph:
    """Everything within ``depth`` links of ``start``, nearest first.

    Raises:
        NotFound: The graph has no such node.
        InvalidInput: The depth is out of range.
    """
    check_depth(depth)
    graph.node(start)
    links = _links(graph, direction)
    with no_collection():
        steps = _steps(graph, [start], direction, depth)
        walked = [link for id, step in steps.items() if step < depth for link in links.get(id, ())]
    return Graph(tuple([graph.by_id[id] for id in steps]), tuple(walked))


def contributing_datasets(graph: Graph, start: str, depth: int = DEFAULT_DEPTH) -> Graph:
    """The walks upstream that end in a dataset; errors as of :func:`reached`."""
    return _ending(graph, start, "upstream", depth, _is_dataset)


def affected_datasets(graph: Graph, start: str, depth: int = DEFAULT_DEPTH) -> Graph:
    """The walks downstream that end in a dataset; errors as of :func:`reached`."""
    return _ending(graph, start, "downstream", depth, _is_dataset)


def contributing_agents(graph: Graph, start: str, depth: int = DEFAULT_DEPTH) -> Graph:
    """The walks upstream that end in an agent; errors as of :func:`reached`."""
    return _ending(graph, start, "upstream", depth, _is_agent)


def affected_agents(graph: Graph, start: str, depth: int = DEFAULT_DEPTH) -> Graph:
    """The agents of everything downstream (one link up from it, beyond ``depth``), and the walks to what they answer
    for; errors as of :func:`reached`.
    """

    def agents(id: str) -> Iterable[Link]:
        return (link for link in graph.links_from.get(id, ()) if _is_agent(graph.by_id[link.target]))

    walks = _ending(graph, start, "downstream", depth, lambda node: any(True for _ in agents(node.id)))
    last = [link for node in walks.nodes for link in agents(node.id)]
    ids = dict.fromkeys([*walks.by_id, *(link.target for link in last)])
    links = {link.key: link for link in (*walks.links, *last)}
    return Graph(tuple(graph.by_id[id] for id in ids), tuple(links.values()))


def _is_dataset(node: Node) -> bool:
    return node.subtype is ItemSubType.DATASET


def _is_agent(node: Node) -> bool:
    return node.category is ItemCategory.AGENT


def _links(graph: Graph, direction: Direction) -> Mapping[str, list[Link]]:
    return graph.links_from if direction == "upstream" else graph.links_to


def _steps(graph: Graph, starts: Iterable[str], direction: Direction, depth: int) -> dict[str, int]:
    """How many links each node is away from the nearest of ``starts``, nearest first, up to ``depth``."""
    links, upward = _links(graph, direction), direction == "upstream"
    steps = dict.fromkeys(starts, 0)
    layer, level = list(steps), 0
    while layer and level < depth:
        level += 1
        met: dict[str, int] = {}
        for id in layer:
            for link in links.get(id, ()):
                there = link.target if upward else link.source
                if there not in steps:
                    met[there] = level
        steps |= met
        layer = list(met)
    return steps


def _ending(graph: Graph, start: str, direction: Direction, depth: int, wanted: Callable[[Node], bool]) -> Graph:
    """The walks of at most ``depth`` links from ``start`` that end in a wanted node.

    A node lies on one if the links from the start to it, and on to the nearest wanted node, are not too many.
    """
    near = reached(graph, start, direction, depth)
    back: Direction = "downstream" if direction == "upstream" else "upstream"
    away = _steps(near, [start], direction, depth)
    rest = _steps(near, [node.id for node in near.nodes if wanted(node)], back, depth)

    def lies_on_one(link: Link) -> bool:
        here, there = (link.source, link.target) if direction == "upstream" else (link.target, link.source)
        return there in rest and away[here] + 1 + rest[there] <= depth

    nodes = (n for n in near.nodes if n.id == start or (n.id in rest and away[n.id] + rest[n.id] <= depth))
    return Graph(tuple(nodes), tuple(link for link in near.links if lies_on_one(link)))
