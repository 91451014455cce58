"""What the index knows of the things that lineage speaks of: which they are, and what people call them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from sqlite3 import Connection, Cursor
from typing import Any

import orjson

from prefect_registry.catalog.results import Edge
from prefect_registry.catalog.schema import moment
from prefect_registry.catalog.subjects import DATASETS, RUNS, Subject
from prefect_registry.interpreter import no_collection
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.registering_items import PREFIXES
from prefect_registry.provenance.relations import ItemSubType, Relation
from prefect_registry.records.types import (
    ADDRESS_CHARACTERS,
    CELLS_OF_IDS,
    MODEL_ARTIFACT,
    MODEL_RUN,
    OBJECT,
    PROV_ITEM,
    PROV_NODE,
)

START_TIME, END_TIME = "start_time", "end_time"
"""Of a workflow run when it was begun and decided, of a model run by its record: ISO 8601, as PROV has it."""
DELETED = "DELETED"
"""The state of what is known, and not visible: deleted, reverted, or taken back."""
_AT_A_TIME = 500
_AMONG = "id IN (SELECT value FROM json_each(:ids))"
_BY_PREFIX = {
    "run": ItemSubType.WORKFLOW_RUN,
    "ds": ItemSubType.DATASET,
    "model": ItemSubType.MODEL,
    "mv": ItemSubType.MODEL,
    "art": ItemSubType.MODEL,
    **{prefix: ItemSubType(subtype) for subtype, prefix in PREFIXES.items() if subtype != "MODEL"},
}
_AS_SOURCE = {
    "wasGeneratedBy": ItemSubType.DATASET,
    "wasAttributedTo": ItemSubType.DATASET,
    "wasDerivedFrom": ItemSubType.DATASET,
    "wasInfluencedBy": ItemSubType.DATASET,
    "hadMember": ItemSubType.WORKFLOW_TEMPLATE,
    "used": ItemSubType.WORKFLOW_RUN,
    "wasInformedBy": ItemSubType.WORKFLOW_RUN,
    "wasAssociatedWith": ItemSubType.WORKFLOW_RUN,
}
_AS_TARGET = {
    "wasAssociatedWith": ItemSubType.PERSON,
    "wasAttributedTo": ItemSubType.PERSON,
    "wasInformedBy": ItemSubType.STUDY,
    "wasGeneratedBy": ItemSubType.WORKFLOW_RUN,
    "wasInfluencedBy": ItemSubType.DATASET_TEMPLATE,
    "hadMember": ItemSubType.DATASET_TEMPLATE,
}
"""What a thing that the registry does not know must be, by its part in a relation; else it is a dataset."""


def graph_of(connection: Connection, start: str, edges: Sequence[Edge], as_of: int | None = None) -> Graph:
    """The edges as a graph: its first node is ``start``, and nodes and links know which runs speak of them.

    What was there once and is not visible has the state DELETED, and what was known of it.
    """
    with no_collection():
        return _graph_of(connection, start, edges, as_of)


def _graph_of(connection: Connection, start: str, edges: Sequence[Edge], as_of: int | None) -> Graph:
    records: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    spoken: defaultdict[str, set[str]] = defaultdict(set)
    roles: dict[str, ItemSubType] = {}
    spoken[start] = set()
    for source, relation, target, by, _ in edges:
        for said in (records[source, relation, target], spoken[source], spoken[target]):
            if by:
                said.add(by)
        roles.setdefault(source, _AS_SOURCE.get(relation, ItemSubType.DATASET))
        roles.setdefault(target, _AS_TARGET.get(relation, ItemSubType.DATASET))
    known = nodes_of(connection, spoken, as_of)
    known = {**_gone(_Look(connection, as_of, gone=True), [id_ for id_ in spoken if id_ not in known]), **known}
    nodes = []
    for id_, by_whom in spoken.items():
        node = known.get(id_) or Node.of(id_, _subtype_by_id(id_) or roles.get(id_, ItemSubType.DATASET))
        nodes.append(replace(node, record_ids=frozenset(by_whom)))
    relations = {relation: Relation(relation) for _, relation, _ in records}
    links = (Link(s, relations[r], t, frozenset(said)) for (s, r, t), said in records.items())
    return Graph(tuple(nodes), tuple(links))


@dataclass(frozen=True)
class _Look:
    """Where readers look: at what is visible now, or was at ``as_of``; or (``gone``) at all that was there before."""

    connection: Connection
    as_of: int | None = None
    gone: bool = False

    def cells(self, type_: str, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The values of cells by their names: of what is gone all that they were, oldest first; else what each is."""
        sql = "SELECT name, value FROM cells AS c WHERE type = :type AND name IN (SELECT value FROM json_each(:names))"
        for row in self.rows(f"{sql} AND {self._state}", type=type_, names=orjson.dumps(names).decode()):
            yield row["name"], orjson.loads(row["value"] or "{}")

    def cells_of_runs(self, type_: str, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The values of the cells ``<name>/run_...``, by these names."""
        sql = (  # "`" comes behind "_"
            "SELECT wanted.value AS name, c.value FROM json_each(:names) AS wanted CROSS JOIN cells AS c"
            " ON c.type = :type AND c.name >= wanted.value || '/run_' AND c.name < wanted.value || '/run`'"
        )
        for row in self.rows(f"{sql} WHERE {self._state}", type=type_, names=orjson.dumps(list(names)).decode()):
            yield row["name"], orjson.loads(row["value"] or "{}")

    @property
    def _state(self) -> str:
        then = "AND visible_at <= :as_of" if self.as_of is not None else ""
        newest = f"AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key {then})"
        return f"NOT c.deleted {then} {'ORDER BY gen' if self.gone else newest}"

    def rows(self, sql: str, **values: Any) -> Cursor:
        """The rows of a query that may name ``:as_of``."""
        return self.connection.execute(sql, {**values, "as_of": self.as_of})

    def of(self, subject: Subject[Any]) -> str:
        """A subject of the catalog as SQL."""
        return f"({subject.source if self.as_of is None else subject.past})"


def nodes_of(connection: Connection, ids: Iterable[str], as_of: int | None = None) -> dict[str, Node]:
    """What the index knows of some ids; those that it does not know are left out."""
    wanted = list(ids)
    found = own_nodes_of(connection, wanted, as_of)
    others = [id_ for id_ in wanted if id_ not in found]
    return {**imported_nodes_of(connection, others, as_of), **found} if others else found


def imported_nodes_of(connection: Connection, ids: Sequence[str], as_of: int | None = None) -> dict[str, Node]:
    """What imported provenance says that some ids are."""
    return _imported(_Look(connection, as_of), ids)


def own_nodes_of(connection: Connection, ids: Iterable[str], as_of: int | None = None) -> dict[str, Node]:
    """What the registry has itself of some ids."""
    return _own(_Look(connection, as_of), ids)


def _gone(look: _Look, ids: Sequence[str]) -> dict[str, Node]:
    """What was there once of some ids that are not visible."""
    found = {**_imported(look, ids), **_own(look, ids)} if ids else {}
    return {
        id_: replace(found[id_], attributes={**found[id_].attributes, "state": DELETED}) for id_ in ids if id_ in found
    }


def _imported(look: _Look, ids: Sequence[str]) -> dict[str, Node]:
    if look.rows("SELECT 1 FROM cells WHERE type = :type LIMIT 1", type=PROV_NODE).fetchone() is None:
        return {}
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for part in (ids[i : i + _AT_A_TIME] for i in range(0, len(ids), _AT_A_TIME)):
        for id_, value in _said_of(look, part):
            found[id_].append(value)
    return {id_: _as_said(id_, values) for id_, values in found.items()}


def _said_of(look: _Look, ids: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The values of the cells of imported things, by the ids of these."""
    for id_, value in (*look.cells(PROV_NODE, ids), *look.cells_of_runs(PROV_NODE, ids)):
        if value.get("id") == id_:
            yield id_, value


def _as_said(id_: str, values: Sequence[Mapping[str, Any]]) -> Node:
    """A thing that several imports speak of: the first one says what it is, later ones add to it and correct it."""
    label = ""
    attributes: dict[str, Any] = {}
    ordered = sorted(values, key=lambda value: str(value.get("changed_at")))
    for value in ordered:
        label = str(value.get("label") or label)
        attributes |= value.get("attributes") or {}
    return Node.of(id_, ItemSubType(str(ordered[0]["subtype"])), label, attributes)


def _own(look: _Look, ids: Iterable[str]) -> dict[str, Node]:
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        by_kind[_kind(id_)].append(id_)
    found: dict[str, Node] = {}
    for kind, wanted in by_kind.items():
        for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
            found |= {node.id: node for node in _READ[kind](look, part)}
    return found


def _kind(id_: str) -> str:
    if "@" in id_:
        return "object"
    prefix = id_.partition("_")[0]
    if prefix in ("run", "ds"):
        return prefix
    return "model" if any(id_.startswith(p) for p in CELLS_OF_IDS) else "item"


def _subtype_by_id(id_: str) -> ItemSubType | None:
    prefix = id_.rpartition("_")[0]
    return _BY_PREFIX.get(prefix) or (ItemSubType.DATASET if id_.startswith("ds_") else None)


def _runs(look: _Look, ids: Sequence[str]) -> Iterator[Node]:
    facets = dict(look.cells(MODEL_RUN, ids))
    sql = f"SELECT id, purpose, state, started_at, finished_at FROM {look.of(RUNS)} WHERE {_AMONG}"
    for row in look.rows(sql, ids=orjson.dumps(ids).decode()):
        times = {START_TIME: _iso(row["started_at"]), END_TIME: _iso(row["finished_at"])}
        attributes = {"state": row["state"], **{key: time for key, time in times.items() if time is not None}}
        record = facets.pop(row["id"], None)
        if record is None:
            yield Node.of(row["id"], ItemSubType.WORKFLOW_RUN, str(row["purpose"] or ""), attributes)
        else:
            yield _model_run(row["id"], record, attributes)
    for id_, record in facets.items():
        yield _model_run(id_, record, {})


def _model_run(id_: str, value: Mapping[str, Any], attributes: Mapping[str, Any]) -> Node:
    record = value.get("record") or {}
    more = {k: _iso(record[k] * 1_000_000) for k in (START_TIME, END_TIME) if record.get(k) is not None}
    more |= {"model_version": record["model_version"]} if record.get("model_version") is not None else {}
    return Node.of(id_, ItemSubType.MODEL_RUN, str(record.get("display_name") or ""), {**attributes, **more})


def _datasets(look: _Look, ids: Sequence[str]) -> Iterator[Node]:
    sql = f"SELECT id, kind, state, rows, created_at FROM {look.of(DATASETS)} WHERE {_AMONG}"
    for row in look.rows(sql, ids=orjson.dumps(ids).decode()):
        attributes = {"kind": row["kind"], "state": row["state"], "created_at": _iso(row["created_at"])}
        attributes |= {"rows": row["rows"]} if row["rows"] is not None else {}
        yield Node.of(row["id"], ItemSubType.DATASET, str(row["kind"] or ""), attributes)


def _objects(look: _Look, ids: Sequence[str]) -> Iterator[Node]:
    for name, value in look.cells(OBJECT, ids):
        cls = value.get("class") or value.get("materializer")
        yield Node.of(name, ItemSubType.DATASET, name, {"kind": "object", **({"class": str(cls)} if cls else {})})


def _models(look: _Look, ids: Sequence[str]) -> Iterator[Node]:
    for prefix, type_ in CELLS_OF_IDS.items():
        names = [id_[-ADDRESS_CHARACTERS:] for id_ in ids if id_.startswith(prefix)]
        for _, value in look.cells(type_, names) if names else ():
            is_data = type_ == MODEL_ARTIFACT and value.get("type") != "model-artifact"
            name = str(value.get("name") or "")
            label = f"{value['model_name']} {name}" if value.get("model_name") else name
            attributes = {k: value[k] for k in ("state", "type") if value.get(k)}
            subtype = ItemSubType.DATASET if is_data else ItemSubType.MODEL
            yield Node.of(str(value.get("id")), subtype, label, attributes)


def _items(look: _Look, ids: Sequence[str]) -> Iterator[Node]:
    for name, value in look.cells(PROV_ITEM, ids):
        label = str((value.get("document") or {}).get("display_name") or "")
        attributes = {"external_id": value["external_id"]} if value.get("external_id") else {}
        yield Node.of(name, ItemSubType(str(value["subtype"])), label, attributes)


def spoken_of(connection: Connection, run_id: str, said: Iterable[tuple[str, str, str]]) -> Graph:
    """All that ends with the provenance of a run: what it says (``said``) and what the registry saw it read and make.

    Links and nodes that others speak of too have one of those among their records: that is all that a difference needs.
    """
    found: dict[tuple[str, str, str], frozenset[str]] = {}
    sql = "SELECT source, relation, target FROM edges WHERE {} AND asserted_by = ? AND ended_at IS NULL"
    rows = connection.execute(
        f"{sql.format('source = ?')} UNION {sql.format('target = ?')}", (run_id, run_id, run_id, run_id)
    ).fetchall()
    for edge in (*(tuple(row) for row in rows), *said):
        other = connection.execute(
            "SELECT asserted_by FROM edges WHERE (source, relation, target) = (?, ?, ?) AND asserted_by != ?"
            " AND ended_at IS NULL LIMIT 1",
            (*edge, run_id),
        ).fetchone()
        found[edge] = frozenset({run_id, *(other or ())})
    ids = {end for source, _, target in found for end in (source, target)}
    known = graph_of(connection, run_id, [Edge(*edge, run_id, 1) for edge in found])
    nodes = []
    for node in known.nodes:
        if node.id in ids:
            other = connection.execute(
                "SELECT asserted_by FROM edges WHERE source = ?1 AND asserted_by != ?2 AND ended_at IS NULL UNION ALL"
                " SELECT asserted_by FROM edges WHERE target = ?1 AND asserted_by != ?2 AND ended_at IS NULL LIMIT 1",
                (node.id, run_id),
            ).fetchone()
            nodes.append(replace(node, record_ids=frozenset({run_id, *(other or ())})))
    return Graph(tuple(nodes), tuple(Link(s, Relation(r), t, by) for (s, r, t), by in found.items()))


def _iso(micros: int | None) -> str | None:
    return moment(micros).isoformat(timespec="microseconds") if micros is not None else None


_READ = {"run": _runs, "ds": _datasets, "object": _objects, "model": _models, "item": _items}


def is_known(connection: Connection, id_: str) -> bool:
    """Whether the registry has such a thing, or anything ever spoke of it."""
    if id_ in nodes_of(connection, [id_]):
        return True
    sql = "SELECT 1 FROM edges WHERE source = ?1 UNION ALL SELECT 1 FROM edges WHERE target = ?1 LIMIT 1"
    return connection.execute(sql, (id_,)).fetchone() is not None
