"""Provenance that other systems have recorded: taken in by one decision, and part of lineage from then on.

Of each thing that an import says something new of there is a cell, which holds that and the links that begin there. It
is the import's own: reverting that takes back what it said and nothing else. What is known already is not said again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from sqlite3 import Connection
from typing import Any

from prefect_registry.errors import InvalidInput, RevisionConflict, nothing_published
from prefect_registry.names import name_problems
from prefect_registry.notebook import shown
from prefect_registry.provenance.facts import imported_nodes_of, own_nodes_of
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.holding import Holding
from prefect_registry.records.assertions import prov_node_name
from prefect_registry.records.base import json_object_problems
from prefect_registry.records.provenance import ProvNodeValue
from prefect_registry.records.types import PROV_NODE

MOST_PROBLEMS = 100
"""How many are told."""
_AT_A_TIME = 500


@dataclass(frozen=True)
class Imported:
    """What an import has added.

    Attributes:
        run_id: The run that it belongs to; None when all of it was known already, and nothing was written.
        nodes: Ids of the things that were new, or of which something new was said.
        links: How many links were new.
    """

    run_id: str | None
    nodes: tuple[str, ...]
    links: int

    _repr_html_ = shown


class Imports(Holding):
    """What of :class:`~prefect_registry.provenance.service.Provenance` takes provenance in."""

    @nothing_published
    def import_prov(
        self, prov_json: str | bytes, *, reason: str | None = None, run_id: str | None = None
    ) -> Imported:  # fmt: skip
        """Take in a document of PROV-JSON (extra ``prov``): by one decision, or in a run with that.

        What it says of things that the registry has itself, by their ids, counts beside what is known of them.
        Reverting the run (:meth:`prefect_registry.Registry.revert`) takes it out of lineage again.

        Args:
            prov_json: See :func:`prefect_registry.provenance.standards.prov.from_prov_json`.
            reason: Told in the notes of the run.

        Raises:
            InvalidInput: With everything that is wrong with the document; nothing was written.
            ConfigurationError: ``prov`` is not installed.
        """
        from prefect_registry.provenance.standards.prov import from_prov_json

        return self.import_graph(from_prov_json(prov_json), reason=reason, run_id=run_id)

    @nothing_published
    def import_graph(self, graph: Graph, *, reason: str | None = None, run_id: str | None = None) -> Imported:
        """The same of a graph, such as :meth:`~prefect_registry.provenance.graph.Graph.from_node_link` reads."""
        around = self.run_of(run_id)
        own, imported, said = self.registry.catalog.ask(partial(_known, graph))
        problems = list(_problems(graph, {**imported, **own}))
        if problems:
            raise InvalidInput.of("the provenance", problems[:MOST_PROBLEMS])
        links: defaultdict[str, list[Link]] = defaultdict(list)
        for link in graph.links:
            if link.key not in said:
                links[link.source].append(link)
        new = [n for n in graph.nodes if n.id in links or (n.id not in own and _is_news(n, imported.get(n.id)))]
        if not new:
            return Imported(None, (), 0)
        with self._deciding(around, reason, len(new)) as run:
            calls: list[Callable[[], None]] = [partial(self._keep, node, links[node.id], run) for node in new]
            for start in range(0, len(calls), _AT_A_TIME):
                self.ledger.store.together(calls[start : start + _AT_A_TIME])
        return Imported(run, tuple(node.id for node in new), sum(map(len, links.values())))

    @contextmanager
    def _deciding(self, around: str | None, reason: str | None, count: int) -> Iterator[str]:
        if around is not None:
            yield around
            return
        with self.ledger.implicit_run("import provenance", config={"things": count}, notes=reason) as own:
            yield own

    def _keep(self, node: Node, links: Sequence[Link], run: str) -> None:
        change = partial(self._merged, node, [(link.relation.value, link.target, run) for link in links])
        name = prov_node_name(node.id, run)
        try:
            self.ledger.cells.write(PROV_NODE, name, change(None), run_id=run, expected=None, blind=True)
        except RevisionConflict:  # something was said of it in this run before
            self.ledger.cells.update(PROV_NODE, name, change, run_id=run)

    def _merged(
        self, node: Node, links: list[tuple[str, str, str]], before: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        now = self.ledger.store.clock.now()
        old = ProvNodeValue.model_validate(before) if before else None
        known = {each[:2] for each in old.links} if old is not None else set()
        value = ProvNodeValue(
            id=node.id,
            subtype=old.subtype if old is not None else node.subtype.value,
            label=node.label or (old.label if old is not None else ""),
            attributes={**(old.attributes if old is not None else {}), **node.attributes},
            links=[*(old.links if old is not None else ()), *(each for each in links if each[:2] not in known)],
            by=self.by,
            created_at=old.created_at if old is not None else now,
            changed_at=now,
        )
        document = value.model_dump(mode="json")
        problems = json_object_problems(document, f"what is known of {node.id!r:.80}")
        if problems:
            raise InvalidInput.of("the provenance", problems)
        return document


def _known(
    graph: Graph, connection: Connection
) -> tuple[dict[str, Node], dict[str, Node], set[tuple[str, str, str]]]:  # fmt: skip
    """Of the ids of a graph: what the registry knows itself, what was imported, and the links that begin there."""
    ids = list(graph.by_id)
    said: set[tuple[str, str, str]] = set()
    for part in (ids[i : i + _AT_A_TIME] for i in range(0, len(ids), _AT_A_TIME)):
        sql = "SELECT source, relation, target FROM edges WHERE ended_at IS NULL AND source IN ({})"
        said.update(tuple(row) for row in connection.execute(sql.format(", ".join("?" * len(part))), part))
    return own_nodes_of(connection, ids), imported_nodes_of(connection, ids), said


def _problems(graph: Graph, known: Mapping[str, Node]) -> Iterable[str]:
    for node in graph.nodes:
        yield from name_problems(node.id, "the id")
        yield from json_object_problems(dict(node.attributes), f"what is said of {node.id!r:.80}")
        before = known.get(node.id)
        if before is not None and before.category is not node.category:
            yield f"{node.id!r:.80} is {node.category} here, and the registry knows it as {before.category}"


def _is_news(node: Node, before: Node | None) -> bool:
    if before is None:
        return True
    news = {key: value for key, value in node.attributes.items() if before.attributes.get(key) != value}
    return bool(news) or (bool(node.label) and node.label != before.label)
