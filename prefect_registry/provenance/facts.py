"""What the index knows of the things that lineage speaks of: which they are, and what people call them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from sqlite3 import Connection
from typing import Any

import orjson

from prefect_registry.catalog.results import Edge
from prefect_registry.catalog.schema import moment
from prefect_registry.interpreter import no_collection
from prefect_registry.provenance.graph import Graph, Link, Node
from prefect_registry.provenance.looking_up import MODEL_CELLS, SUFFIX_CHARACTERS
from prefect_registry.provenance.registering_items import PREFIXES
from prefect_registry.provenance.relations import ItemSubType, Relation
from prefect_registry.records.cells import OBJECT
from prefect_registry.records.models import MODEL_ARTIFACT
from prefect_registry.records.provenance import MODEL_RUN, PROV_ITEM, PROV_NODE

START_TIME, END_TIME = "start_time", "end_time"
"""Of a workflow run when it was begun and decided, of a model run by its record: ISO 8601, as PROV has it."""
_AT_A_TIME = 500
_BY_PREFIX = {
    "run": ItemSubType.WORKFLOW_RUN,
    "ds": ItemSubType.DATASET,
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


def graph_of(connection: Connection, start: str, edges: Sequence[Edge]) -> Graph:
    """The edges as a graph: its first node is ``start``, and nodes and links know which runs speak of them."""
    with no_collection():
        return _graph_of(connection, start, edges)


def _graph_of(connection: Connection, start: str, edges: Sequence[Edge]) -> Graph:
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
    known = nodes_of(connection, spoken)
    nodes = []
    for id_, by_whom in spoken.items():
        node = known.get(id_) or Node.of(id_, _subtype_by_id(id_) or roles.get(id_, ItemSubType.DATASET))
        nodes.append(replace(node, record_ids=frozenset(by_whom)))
    relations = {relation: Relation(relation) for _, relation, _ in records}
    links = (Link(s, relations[r], t, frozenset(said)) for (s, r, t), said in records.items())
    return Graph(tuple(nodes), tuple(links))


def nodes_of(connection: Connection, ids: Iterable[str]) -> dict[str, Node]:
    """What the index knows of some ids; those that it does not know are left out."""
    wanted = list(ids)
    found = own_nodes_of(connection, wanted)
    others = [id_ for id_ in wanted if id_ not in found]
    return {**imported_nodes_of(connection, others), **found} if others else found


def imported_nodes_of(connection: Connection, ids: Sequence[str]) -> dict[str, Node]:
    """What imported provenance says that some ids are."""
    if connection.execute("SELECT 1 FROM cells WHERE type = ? LIMIT 1", (PROV_NODE,)).fetchone() is None:
        return {}
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for part in (ids[i : i + _AT_A_TIME] for i in range(0, len(ids), _AT_A_TIME)):
        for id_, value in _said_of(connection, part):
            found[id_].append(value)
    return {id_: _as_said(id_, values) for id_, values in found.items()}


def _said_of(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The values of the cells of imported things, by the ids of these."""
    yield from ((name, value) for name, value in _newest(connection, PROV_NODE, ids) if value.get("id") == name)
    sql = (  # names from "<id>/run_" on: "`" comes behind "_"
        "SELECT wanted.value AS id, c.value FROM json_each(?) AS wanted CROSS JOIN cells AS c"
        " ON c.type = ? AND c.name >= wanted.value || '/run_' AND c.name < wanted.value || '/run`'"
        " WHERE NOT deleted AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key)"
    )
    for row in connection.execute(sql, (orjson.dumps(list(ids)).decode(), PROV_NODE)):
        value = orjson.loads(row["value"] or "{}")
        if value.get("id") == row["id"]:
            yield row["id"], value


def _as_said(id_: str, values: Sequence[Mapping[str, Any]]) -> Node:
    """A thing that several imports speak of: the first one says what it is, later ones add to it and correct it."""
    label = ""
    attributes: dict[str, Any] = {}
    ordered = sorted(values, key=lambda value: str(value.get("changed_at")))
    for value in ordered:
        label = str(value.get("label") or label)
        attributes |= value.get("attributes") or {}
    return Node.of(id_, ItemSubType(str(ordered[0]["subtype"])), label, attributes)


def own_nodes_of(connection: Connection, ids: Iterable[str]) -> dict[str, Node]:
    """What the registry has itself of some ids."""
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        by_kind[_kind(id_)].append(id_)
    found: dict[str, Node] = {}
    for kind, wanted in by_kind.items():
        for part in (wanted[i : i + _AT_A_TIME] for i in range(0, len(wanted), _AT_A_TIME)):
            found |= {node.id: node for node in _READ[kind](connection, part)}
    return found


def _kind(id_: str) -> str:
    if "@" in id_:
        return "object"
    prefix = id_.partition("_")[0]
    if prefix in ("run", "ds"):
        return prefix
    return "model" if any(id_.startswith(p) for p in MODEL_CELLS) else "item"


def _subtype_by_id(id_: str) -> ItemSubType | None:
    prefix = id_.rpartition("_")[0]
    return _BY_PREFIX.get(prefix) or (ItemSubType.DATASET if id_.startswith("ds_") else None)


def _marks(ids: Sequence[str]) -> str:
    return ", ".join("?" * len(ids))


def _newest(connection: Connection, type_: str, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The values of cells by their names, but for tombstones."""
    sql = (
        f"SELECT name, value FROM cells AS c WHERE type = ? AND name IN ({_marks(names)}) AND NOT deleted"
        " AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key)"
    )
    for row in connection.execute(sql, [type_, *names]):
        yield row["name"], orjson.loads(row["value"] or "{}")


def _runs(connection: Connection, ids: Sequence[str]) -> Iterator[Node]:
    facets = dict(_newest(connection, MODEL_RUN, ids))
    sql = f"SELECT id, purpose, state, started_at, finished_at FROM runs WHERE id IN ({_marks(ids)})"
    for row in connection.execute(sql, ids):
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


def _datasets(connection: Connection, ids: Sequence[str]) -> Iterator[Node]:
    sql = f"SELECT id, kind, state, rows, run_id, created_at FROM datasets WHERE id IN ({_marks(ids)})"
    for row in connection.execute(sql, ids):
        attributes = {"kind": row["kind"], "state": row["state"], "created_at": _iso(row["created_at"])}
        attributes |= {"rows": row["rows"]} if row["rows"] is not None else {}
        yield Node.of(row["id"], ItemSubType.DATASET, str(row["kind"] or ""), attributes)


def _objects(connection: Connection, ids: Sequence[str]) -> Iterator[Node]:
    for name, value in _newest(connection, OBJECT, ids):
        cls = value.get("class") or value.get("materializer")
        yield Node.of(name, ItemSubType.DATASET, name, {"kind": "object", **({"class": str(cls)} if cls else {})})


def _models(connection: Connection, ids: Sequence[str]) -> Iterator[Node]:
    for prefix, type_ in MODEL_CELLS.items():
        names = [id_[-SUFFIX_CHARACTERS:] for id_ in ids if id_.startswith(prefix)]
        for _, value in _newest(connection, type_, names) if names else ():
            is_data = type_ == MODEL_ARTIFACT and value.get("type") != "model-artifact"
            name = str(value.get("name") or "")
            label = f"{value['model_name']} {name}" if value.get("model_name") else name
            attributes = {k: value[k] for k in ("state", "type") if value.get(k)}
            subtype = ItemSubType.DATASET if is_data else ItemSubType.MODEL
            yield Node.of(str(value.get("id")), subtype, label, attributes)


def _items(connection: Connection, ids: Sequence[str]) -> Iterator[Node]:
    for name, value in _newest(connection, PROV_ITEM, ids):
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
