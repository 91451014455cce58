"""Pictures of lineage: how long one takes of a large neighbourhood (no store is involved)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks.measure import Result
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.relations import ItemSubType, Relation

NODES = 100_000
_ROUNDS = 5


def drawing() -> Iterator[Result]:
    """A run that used 50,000 datasets, each made by a run of its own, which used other ones."""
    nodes, links = neighbourhood(NODES)
    yield _timed("graph of 100,000 nodes", lambda: Graph.of(nodes, links))
    whole = Graph.of(nodes, links)
    yield _timed("upstream of its dataset", lambda: fresh(whole).upstream("dataset"))
    yield _timed("picture of it, as SVG", lambda: fresh(whole).to_svg())
    yield _timed("picture of it, as Mermaid text", lambda: fresh(whole).to_mermaid())
    yield _timed("picture of it, as DOT text", lambda: fresh(whole).to_dot())
    dense = Graph.of(*_dense(1_000))
    yield _timed(f"picture of 1,000 nodes and {len(dense.links):,} links", lambda: fresh(dense).to_svg(max_nodes=1_000))


def fresh(graph: Graph) -> Graph:
    """The same graph, which has no index of its links yet."""
    return Graph(graph.nodes, graph.links)


def neighbourhood(count: int) -> tuple[list[Node], list[Link]]:
    """Nodes and links of about so many nodes."""
    half = count // 2
    nodes = [Node.of("dataset", ItemSubType.DATASET), Node.of("run", ItemSubType.MODEL_RUN)]
    links = [Link("dataset", Relation.WAS_GENERATED_BY, "run")]
    for i in range(half):
        nodes += [Node.of(f"d{i}", ItemSubType.DATASET), Node.of(f"r{i}", ItemSubType.MODEL_RUN)]
        links.append(Link("run", Relation.USED, f"d{i}"))
        links.append(Link(f"d{i}", Relation.WAS_GENERATED_BY, f"r{i}"))
        links.append(Link(f"r{i}", Relation.USED, f"d{i * 7919 % half}"))
    return nodes, links


def _dense(count: int) -> tuple[list[Node], list[Link]]:
    nodes = [Node.of(f"d{i}", ItemSubType.DATASET) for i in range(count)]
    pairs = ((i, j) for i in range(count) for j in range(i) if i * j % 7 == 0)
    return nodes, [Link(f"d{i}", Relation.WAS_DERIVED_FROM, f"d{j}") for i, j in pairs]


def _timed(name: str, call: Callable[[], object]) -> Result:
    seconds = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    value = statistics.median(seconds)
    note = f"slowest of {_ROUNDS}: {max(seconds):.2f} s"
    return Result(f"provenance: {name}", value, "s of one processor", "below 1", value < 1, note)
