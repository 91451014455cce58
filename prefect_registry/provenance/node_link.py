"""Node-link JSON: the form in which the reference system answers, and which networkx reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Literal, TypeVar

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.provenance.graph import JSON, Graph, Link, Node
from prefect_registry.provenance.relations import CATEGORY_OF, ItemCategory, ItemSubType, Relation

E = TypeVar("E", bound=StrEnum)


def write(graph: Graph, multigraph: bool = False, edges: Literal["links", "edges"] = "links") -> dict[str, JSON]:
    """The JSON of a graph; see :meth:`Graph.node_link`.

    Raises:
        InvalidInput: ``edges`` is another word.
    """
    if edges not in ("links", "edges"):
        raise InvalidInput.of("edges", [f"edges must be 'links' or 'edges', not {edges!r:.40}"])
    links = map(_single, graph.links) if multigraph else _by_pair(graph.links)
    return {
        "directed": True,
        "multigraph": multigraph,
        "graph": {},
        "nodes": [_node(node) for node in graph.nodes],
        edges: list(links),
    }


def _node(node: Node) -> dict[str, JSON]:
    """Attributes stand in an object of their own, so that none can be mistaken for what stands beside it."""
    entry: dict[str, JSON] = {
        "id": node.id,
        "item_category": node.category.value,
        "item_subtype": node.subtype.value,
        "record_ids": sorted(node.record_ids),
    }
    if node.label:
        entry["label"] = node.label
    if node.attributes:
        entry["attributes"] = dict(node.attributes)
    return entry


def _single(link: Link) -> dict[str, JSON]:
    return {
        "type": link.relation.value,
        "source": link.source,
        "target": link.target,
        "key": link.relation.value,
        "record_ids": sorted(link.record_ids),
    }


def _by_pair(links: Iterable[Link]) -> Iterator[dict[str, JSON]]:
    pairs: dict[tuple[str, str], list[Link]] = {}
    for link in links:
        pairs.setdefault((link.source, link.target), []).append(link)
    for (source, target), between in pairs.items():
        entry: dict[str, JSON] = {
            "type": between[0].relation.value,
            "types": [link.relation.value for link in between],
            "source": source,
            "target": target,
            "record_ids": sorted(frozenset().union(*(link.record_ids for link in between))),
        }
        if len(between) > 1:
            entry["record_ids_by_type"] = {link.relation.value: sorted(link.record_ids) for link in between}
        yield entry


def read(data: Mapping[str, JSON]) -> Graph:
    """The graph of such JSON; see :meth:`Graph.from_node_link`.

    Raises:
        InvalidInput: It is not such JSON.
    """
    reading = _Reading()
    graph = reading.graph(data)
    if reading.problems:
        raise InvalidInput.of("the node-link JSON", reading.problems)
    return graph


class _Reading:
    """One reading, and what it found wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def graph(self, data: Mapping[str, JSON]) -> Graph:
        if not isinstance(data, Mapping):
            self.problems.append(f"an object is needed, not {type(data).__name__}")
            return Graph()
        if data.get("directed", True) is not True:
            self.problems.append("directed must be true: provenance has a direction")
        if "links" in data and "edges" in data:
            self.problems.append("it has both links and edges")
        nodes = [node for where, entry in self._entries(data, "nodes") if (node := self._node(where, entry))]
        seen: set[str] = set()
        for node in nodes:
            if node.id in seen:
                self.problems.append(f"nodes: {node.id!r:.80} stands there twice")
            seen.add(node.id)
        name = "edges" if "edges" in data else "links"
        links = [link for where, entry in self._entries(data, name) for link in self._links(where, entry)]
        if self.problems:
            return Graph()
        return Graph.of(nodes, links)

    def _entries(self, data: Mapping[str, JSON], name: str) -> Iterator[tuple[str, Mapping[str, JSON]]]:
        """A list of objects; a missing one is empty, as in the reference system."""
        entries = data.get(name)
        if entries is not None and not isinstance(entries, (list, tuple)):
            self.problems.append(f"{name}: a list is needed")
            return
        for i, entry in enumerate(entries or ()):
            if isinstance(entry, Mapping):
                yield f"{name}[{i}]", entry
            else:
                self.problems.append(f"{name}[{i}]: an object is needed")

    def _node(self, where: str, entry: Mapping[str, JSON]) -> Node | None:
        id = self._text(where, entry, "id")
        subtype = self._word(where, entry, "item_subtype", ItemSubType)
        category = self._word(where, entry, "item_category", ItemCategory) if "item_category" in entry else None
        if id is None or subtype is None:
            return None
        label, attributes = entry.get("label") or "", entry.get("attributes") or {}
        if not isinstance(label, str):
            self.problems.append(f"{where}.label: a text is needed")
        if not isinstance(attributes, Mapping):
            self.problems.append(f"{where}.attributes: an object is needed")
            attributes = {}
        records = self._records(where, entry.get("record_ids"))
        return Node(id, category or CATEGORY_OF[subtype], subtype, str(label), dict(attributes), records)

    def _links(self, where: str, entry: Mapping[str, JSON]) -> Iterator[Link]:
        source, target = self._text(where, entry, "source"), self._text(where, entry, "target")
        types = entry.get("types", entry.get("type"))
        types = types if isinstance(types, (list, tuple)) else [types]
        if not types:
            self.problems.append(f"{where}.types: at least one relation is needed")
        by_type = entry.get("record_ids_by_type")
        for type_ in types:
            try:
                relation = Relation.parse(type_)
            except InvalidInput as error:
                self.problems += [f"{where}.type: {problem}" for problem in error.problems]
                continue
            own = by_type.get(relation.value) if isinstance(by_type, Mapping) else entry.get("record_ids")
            records = self._records(where, own)
            if source is not None and target is not None:
                yield Link(source, relation, target, records)

    def _text(self, where: str, entry: Mapping[str, JSON], name: str) -> str | None:
        value = entry.get(name)
        if isinstance(value, str) and value:
            return value
        self.problems.append(f"{where}.{name}: a text is needed, not {value!r:.40}")
        return None

    def _word(self, where: str, entry: Mapping[str, JSON], name: str, words: type[E]) -> E | None:
        value = entry.get(name)
        try:
            return words(str(value))
        except ValueError:
            self.problems.append(f"{where}.{name}: must be one of {', '.join(words)}, not {value!r:.40}")
            return None

    def _records(self, where: str, value: JSON) -> frozenset[str]:
        """A list; or a text with commas, as in the reference system."""
        ids = [id for id in value.split(",") if id] if isinstance(value, str) else value or []
        if isinstance(ids, (list, tuple)) and all(isinstance(id, str) for id in ids):
            return frozenset(ids)
        self.problems.append(f"{where}.record_ids: a list of texts is needed")
        return frozenset()


def to_networkx(graph: Graph, multigraph: bool = False) -> Any:
    """The graph as networkx has it; see :meth:`Graph.to_networkx`.

    Raises:
        ConfigurationError: networkx is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise ConfigurationError(
            "This needs the package networkx, which cannot be imported",
            why=str(error),
            todo="Run pip install 'prefect-registry[graph]'",
        ) from error
    return networkx.node_link_graph(write(graph, multigraph), edges="links")
