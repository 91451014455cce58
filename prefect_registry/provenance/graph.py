"""The lineage graph as a value: nodes, links between them, and what can be asked of it without a registry.

A link points from what is later to what it depends on: a run ``used`` a dataset, a dataset ``wasGeneratedBy`` a run. So
upstream follows links, and downstream goes against them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.interpreter import no_collection
from prefect_registry.provenance.relations import CATEGORY_OF, RUNS, ItemCategory, ItemSubType, Relation

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from prefect_registry.provenance.drawing.collapsing import DrawingOptions

JSON: TypeAlias = Any
"""A value that JSON has."""
DEFAULT_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Node:
    """A thing that provenance speaks of. Two are equal whatever records they come from (PV-18).

    Args:
        id: What the registry calls it.
        category: Which of PROV's three kinds it is.
        subtype: What it is.
        label: What people call it; drawings show the id where it is empty.
        attributes: What else is known of it, as JSON values.
        record_ids: The records (ids of runs) that speak of it.
    """

    id: str
    category: ItemCategory
    subtype: ItemSubType
    label: str = ""
    attributes: Mapping[str, JSON] = field(default_factory=dict, hash=False)
    record_ids: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(
        cls,
        id: str,
        subtype: ItemSubType,
        label: str = "",
        attributes: Mapping[str, JSON] | None = None,
        record_ids: Iterable[str] = (),
    ) -> Node:
        """A node whose category follows from its subtype."""
        return cls(id, CATEGORY_OF[subtype], subtype, label, dict(attributes or {}), frozenset(record_ids))


@dataclass(frozen=True, slots=True)
class Link:
    """``source`` ``relation`` ``target``, by the ids of two nodes. Two are equal whatever records they come from.

    Args:
        source: The later thing.
        relation: How it depends on the other.
        target: The earlier thing.
        record_ids: The records (ids of runs) that say so.
    """

    source: str
    relation: Relation
    target: str
    record_ids: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def key(self) -> tuple[str, Relation, str]:
        """What makes it this link, whoever says so."""
        return self.source, self.relation, self.target


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Nodes, each id once, and links between them. Two graphs are equal if they have the same of both, in any order.

    ``Graph(nodes, links)`` takes both as they are; :meth:`of` checks them and joins what comes twice.
    """

    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()

    @classmethod
    def of(cls, nodes: Iterable[Node], links: Iterable[Link], *, strict: bool = False) -> Graph:
        """A graph of any nodes and links: what comes several times is joined, and the records that say so united.

        Args:
            nodes: Of one id, the first label and the first value of each attribute count.
            links: Between those nodes.
            strict: Refuse nodes without a link.

        Raises:
            InvalidInput: A link leads to an unknown node, an id has two meanings, a subtype is not of its category, or
                (``strict``) "Dangling nodes found".
        """
        problems: list[str] = []
        with no_collection():
            by_id = _nodes_by_id(nodes, problems)
            graph = cls(tuple(by_id.values()), _joined_links(links, by_id, problems))
        if problems:
            raise InvalidInput.of("the graph", problems)
        if strict:
            graph._refuse_dangling()
        return graph

    def _refuse_dangling(self) -> None:
        linked = {end for link in self.links for end in (link.source, link.target)}
        dangling = [node.id for node in self.nodes if node.id not in linked]
        if dangling:
            raise InvalidInput(
                "Dangling nodes found",
                why="No link begins or ends at " + ", ".join(f"{id!r:.80}" for id in dangling[:20]),
                todo="Link every node, or leave it out",
                committed="no",
                problems=[f"{id!r:.80} has no link" for id in dangling],
            )

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def record_count(self) -> int:
        """How many nodes there are (the name is the reference system's)."""
        return len(self.nodes)

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        """The nodes by their ids, in order."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def links_from(self) -> Mapping[str, list[Link]]:
        """The links by their sources: what each node depends on."""
        found: defaultdict[str, list[Link]] = defaultdict(list)
        with no_collection():
            for link in self.links:
                found[link.source].append(link)
        return dict(found)

    @cached_property
    def links_to(self) -> Mapping[str, list[Link]]:
        """The links by their targets: what depends on each node."""
        found: defaultdict[str, list[Link]] = defaultdict(list)
        with no_collection():
            for link in self.links:
                found[link.target].append(link)
        return dict(found)

    def node(self, id: str) -> Node:
        """The node of an id.

        Raises:
            NotFound: The graph has none.
        """
        try:
            return self.by_id[id]
        except (KeyError, TypeError):
            raise NotFound(f"The graph has no node {id!r:.80}") from None

    def __contains__(self, id: object) -> bool:
        return id in self.by_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return frozenset(self.nodes) == frozenset(other.nodes) and frozenset(self.links) == frozenset(other.links)

    def __hash__(self) -> int:
        return hash((frozenset(self.nodes), frozenset(self.links)))

    def __repr__(self) -> str:
        counts = Counter(node.subtype.value for node in self.nodes)
        told = ", ".join(f"{count:,} {subtype}" for subtype, count in counts.most_common())
        return f"<Graph of {len(self.nodes):,} nodes{f' ({told})' if told else ''} and {len(self.links):,} links>"

    # -- parts and unions ------------------------------------------------------------------------------------------

    def upstream(self, id: str, depth: int = DEFAULT_DEPTH) -> Graph:
        """What ``id`` came from, within ``depth`` links (1 to 100): itself first, then nearest first.

        Raises:
            NotFound: The graph has no such node.
            InvalidInput: The depth is out of range.
        """
        from prefect_registry.provenance.exploring import reached

        return reached(self, id, "upstream", depth)

    def downstream(self, id: str, depth: int = DEFAULT_DEPTH) -> Graph:
        """What came from ``id``; like :meth:`upstream`."""
        from prefect_registry.provenance.exploring import reached

        return reached(self, id, "downstream", depth)

    def subgraph(self, ids: Iterable[str]) -> Graph:
        """These nodes, and all links between them.

        Raises:
            NotFound: The graph does not have one of them.
        """
        wanted = {self.node(id).id for id in ids}
        return Graph(
            tuple(node for node in self.nodes if node.id in wanted),
            tuple(link for link in self.links if link.source in wanted and link.target in wanted),
        )

    def without_runs(self, subtypes: Collection[ItemSubType] = RUNS) -> Graph:
        """The same history without its runs: datasets ``wasDerivedFrom`` datasets.

        Raises:
            InvalidInput: There would be more than a million links.
        """
        from prefect_registry.provenance.contracting import without

        return without(self, subtypes)

    def __add__(self, other: Graph) -> Graph:
        if not isinstance(other, Graph):
            return NotImplemented
        return Graph.of((*self.nodes, *other.nodes), (*self.links, *other.links))

    # -- other forms -----------------------------------------------------------------------------------------------

    def node_link(self, *, multigraph: bool = False, edges: Literal["links", "edges"] = "links") -> dict[str, JSON]:
        """The graph as the JSON that ``networkx.node_link_graph(data, edges="links")`` reads.

        Args:
            multigraph: A link for each relation between two nodes. Else one for each two nodes, where ``types`` has all
                relations and ``type`` the first of them.
            edges: What the list of links is called.
        """
        from prefect_registry.provenance.node_link import write

        return write(self, multigraph, edges)

    @classmethod
    def from_node_link(cls, data: Mapping[str, JSON]) -> Graph:
        """The graph of such JSON, with its links called ``links`` or ``edges``, of either form.

        Raises:
            InvalidInput: It is not such JSON; every problem is listed.
        """
        from prefect_registry.provenance.node_link import read

        return read(data)

    def to_networkx(self, *, multigraph: bool = False) -> Any:
        """A ``networkx.DiGraph``, or ``MultiDiGraph`` with the relation as key (needs the extra ``graph``).

        Raises:
            ConfigurationError: networkx is not installed.
        """
        from prefect_registry.provenance.node_link import to_networkx

        return to_networkx(self, multigraph)

    def to_mermaid(self, **options: Unpack[DrawingOptions]) -> str:
        """The graph as a Mermaid flowchart, which GitHub, GitLab and Prefect's Markdown artifacts draw."""
        from prefect_registry.provenance.drawing.mermaid import mermaid

        return mermaid(self, **options)

    def to_dot(self, **options: Unpack[DrawingOptions]) -> str:
        """The graph in Graphviz' language."""
        from prefect_registry.provenance.drawing.dot import dot

        return dot(self, **options)

    def to_svg(self, **options: Unpack[DrawingOptions]) -> str:
        """The graph as a picture that every browser shows; nothing needs to be installed."""
        from prefect_registry.provenance.drawing.svg import svg

        return svg(self, **options)

    def _repr_html_(self) -> str:
        return self.to_svg()

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from prefect_registry.provenance.notebooks import bundle

        return bundle(self)


def _nodes_by_id(nodes: Iterable[Node], problems: list[str]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for node in nodes:
        first = found.setdefault(node.id, node)
        if not isinstance(node.id, str) or not node.id:
            problems.append(f"the id of a node is {node.id!r:.80}, and must be a text")
        elif CATEGORY_OF.get(node.subtype) is not node.category:
            problems.append(f"{node.id!r:.80} is {node.subtype}, which is not of the category {node.category}")
        elif first.subtype is not node.subtype:
            problems.append(f"{node.id!r:.80} is {first.subtype} in one place and {node.subtype} in another")
        elif first is not node:
            found[node.id] = _joined(first, node)
    return found


def _joined_links(links: Iterable[Link], nodes: Mapping[str, Node], problems: list[str]) -> tuple[Link, ...]:
    found: dict[tuple[str, Relation, str], Link] = {}
    for link in links:
        key = link.source, link.relation, link.target
        first = found.setdefault(key, link)
        if first is not link and not link.record_ids <= first.record_ids:
            found[key] = replace(first, record_ids=first.record_ids | link.record_ids)
        if link.source not in nodes or link.target not in nodes:
            told = f"{link.source!r:.80} {link.relation} {link.target!r:.80}"
            ends = dict.fromkeys((link.source, link.target))
            problems += [f"{told}: there is no node {end!r:.80}" for end in ends if end not in nodes]
    return tuple(found.values())


def _joined(first: Node, second: Node) -> Node:
    if first == second and second.record_ids <= first.record_ids:
        return first
    return replace(
        first,
        label=first.label or second.label,
        attributes={**second.attributes, **first.attributes},
        record_ids=first.record_ids | second.record_ids,
    )
