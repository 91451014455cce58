"""Lineage: what something came from and what came from it, as graphs, and as the reference system answers."""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection
from typing import Literal, get_args

from prefect_registry.catalog.lineage import Direction, edges_from
from prefect_registry.catalog.queries import moment_of
from prefect_registry.catalog.results import Edge
from prefect_registry.errors import InvalidInput, RegistryError
from prefect_registry.provenance import exploring
from prefect_registry.provenance.exploring import check_depth
from prefect_registry.provenance.facts import graph_of, is_known
from prefect_registry.provenance.graph import DEFAULT_DEPTH, Graph
from prefect_registry.provenance.holding import Holding, check_id, not_found
from prefect_registry.provenance.records import LineageResponse, Status

Way = Literal["upstream", "downstream", "both"]
_TO_AGENTS = ("wasAssociatedWith", "wasAttributedTo", "actedOnBehalfOf")
_AT_A_TIME = 500


class Asking(Holding):
    """What of :class:`~prefect_registry.provenance.service.Provenance` asks for lineage.

    Each question is there twice: as a :class:`~prefect_registry.provenance.graph.Graph`, which can be drawn, and under
    the reference system's name as a response with networkx's node-link form. All take:

    - ``starting_id``: a run, dataset, version of an object (``name@version``), model, item: anything that lineage
      speaks of. It is always the first node of the answer.
    - ``depth``: how many links the walks may have, from 1 to 100.
    - ``as_of``: lineage as it was then (aware), and the states and names that things had then.
    - ``fresh``: look at the store first; else the index answers as it is.

    They raise ``NotFound`` for what the registry does not know, and ``InvalidInput`` for another depth.
    """

    # -- graphs --------------------------------------------------------------------------------------------------

    def upstream(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Graph:
        """What it came from: inputs, models, templates, people, and theirs."""
        return self._asked(starting_id, "upstream", depth, as_of, fresh)

    def downstream(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Graph:
        """What came from it."""
        return self._asked(starting_id, "downstream", depth, as_of, fresh)

    def lineage(
        self,
        starting_id: str,
        way: Way = "both",
        depth: int = DEFAULT_DEPTH,
        *,
        as_of: datetime | None = None,
        fresh: bool = True,
    ) -> Graph:
        """What it came from (``upstream``), what came from it (``downstream``), or both."""
        if way not in get_args(Way):
            raise InvalidInput.of("way", [f"way must be one of {', '.join(get_args(Way))}, not {way!r:.60}"])
        return self._asked(starting_id, way, depth, as_of, fresh)

    def contributing_datasets(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Graph:
        """The datasets that it came from, and what lies between."""
        graph = self.upstream(starting_id, depth, as_of=as_of, fresh=fresh)
        return exploring.contributing_datasets(graph, starting_id, depth)

    def affected_datasets(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Graph:
        """The datasets that came from it, and what lies between."""
        graph = self.downstream(starting_id, depth, as_of=as_of, fresh=fresh)
        return exploring.affected_datasets(graph, starting_id, depth)

    def contributing_agents(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Graph:
        """The people and organisations behind it, and what lies between."""
        graph = self.upstream(starting_id, depth, as_of=as_of, fresh=fresh)
        return exploring.contributing_agents(graph, starting_id, depth)

    def affected_agents(
        self, starting_id: str, depth: int = DEFAULT_DEPTH, *, as_of: datetime | None = None, fresh: bool = True
    ) -> Graph:
        """The people and organisations that answer for what came from it, and what lies between."""
        graph = self._asked(starting_id, "downstream", depth, as_of, fresh, agents=True)
        return exploring.affected_agents(graph, starting_id, depth)

    def _asked(
        self,
        id_: str,
        way: Way,
        depth: int,
        as_of: datetime | None,
        fresh: bool,
        agents: bool = False,
    ) -> Graph:
        check_depth(depth)
        check_id(id_, "starting_id")
        then = moment_of("as_of", as_of)
        directions: tuple[Direction, ...] = ("upstream", "downstream") if way == "both" else (way,)

        def ask(connection: Connection) -> Graph | None:
            edges = [edge for each in directions for edge in edges_from(connection, id_, each, depth, then)]
            if agents:
                edges += _to_agents(connection, {id_, *(edge.source for edge in edges)}, then)
            return graph_of(connection, id_, edges, then) if edges or is_known(connection, id_) else None

        found = self.registry.catalog.ask(ask, fresh)
        if found is None:
            raise not_found("run, dataset, model or item", id_, self._meant_by(id_))
        return found

    def _meant_by(self, id_: str) -> str | None:
        """What to ask of, where a name or an alias of an object was given: lineage is of versions."""
        try:
            version = self.registry.resolve(id_)
        except RegistryError:
            return None
        return f"Lineage is of versions: ask for {version!r:.200}, which it means now" if version != id_ else None

    # -- the reference system's answers --------------------------------------------------------------------------

    def explore_upstream(self, starting_id: str, depth: int = DEFAULT_DEPTH) -> LineageResponse:
        """What it came from: inputs, models, templates, people, and theirs."""
        return _response(self.upstream(starting_id, depth))

    def explore_downstream(self, starting_id: str, depth: int = DEFAULT_DEPTH) -> LineageResponse:
        """What came from it."""
        return _response(self.downstream(starting_id, depth))

    def get_contributing_datasets(self, starting_id: str, depth: int = DEFAULT_DEPTH) -> LineageResponse:
        """The datasets that it came from, and what lies between."""
        return _response(self.contributing_datasets(starting_id, depth))

    def get_effected_datasets(self, starting_id: str, depth: int = DEFAULT_DEPTH) -> LineageResponse:
        """The datasets that came from it, and what lies between."""
        return _response(self.affected_datasets(starting_id, depth))

    def get_contributing_agents(self, starting_id: str, depth: int = DEFAULT_DEPTH) -> LineageResponse:
        """The people and organisations behind it, and what lies between."""
        return _response(self.contributing_agents(starting_id, depth))

    def get_effected_agents(self, starting_id: str, depth: int = DEFAULT_DEPTH) -> LineageResponse:
        """The people and organisations that answer for what came from it, and what lies between."""
        return _response(self.affected_agents(starting_id, depth))

    get_affected_datasets = get_effected_datasets
    get_affected_agents = get_effected_agents


def _to_agents(connection: Connection, ids: set[str], as_of: int | None) -> list[Edge]:
    """Who answers for some things: one link up."""
    then = "at <= :as_of AND (ended_at IS NULL OR ended_at > :as_of)" if as_of is not None else "ended_at IS NULL"
    relations = ", ".join(f"'{relation}'" for relation in _TO_AGENTS)
    found: list[Edge] = []
    wanted = sorted(ids)
    for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
        names = [f":id{n}" for n in range(len(part))]
        sql = (
            "SELECT source, relation, target, coalesce(asserted_by, '') AS by FROM edges"
            f" WHERE source IN ({', '.join(names)}) AND relation IN ({relations}) AND {then}"
        )
        values = {name[1:]: id_ for name, id_ in zip(names, part, strict=True)}
        rows = connection.execute(sql, {**values, "as_of": as_of})
        found += [Edge(row["source"], row["relation"], row["target"], row["by"], 1) for row in rows]
    return found


def _response(graph: Graph) -> LineageResponse:
    links = len(graph.links)
    details = f"There are {graph.record_count:,} node{'s'[: graph.record_count != 1]} and {links:,} links."
    return LineageResponse(
        status=Status(success=True, details=details), record_count=graph.record_count, graph=graph.node_link()
    )
