"""From documents of the store to rows of the index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from prefect_registry.catalog.schema import micros
from prefect_registry.records.assertions import assertions, node_assertions
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Begin, Decision, Outcome
from prefect_registry.records.types import MODEL_ARTIFACT, MODEL_RUN, MODEL_VERSION, OBJECT, PROV_NODE

Row = dict[str, Any]
_CONTENT = ("inline", "files", "init")
"""Fields of an object's record that only loading needs."""


@dataclass(frozen=True)
class Standing:
    """How a run stands: its effective outcome, when that was settled, and the run whose decision published it."""

    outcome: Outcome | None
    settled_at: datetime | None = None
    publication: str | None = None


def json_text(value: Any) -> str | None:
    """JSON as the index keeps it; None for what is empty."""
    return orjson.dumps(value).decode() if value else None


def _when(moment: datetime | None) -> int | None:
    return micros(moment) if moment is not None else None


def run_row(begin: Begin, end: Decision | None, standing: Standing) -> Row:
    """A run: what insert_run recorded, its own decision, and how it stands."""
    states = {None: "RUNNING", "committed": "COMMITTED", "aborted": "ABORTED"}
    return {
        "id": begin.run_id,
        "purpose": begin.purpose,
        "model_id": begin.model_id,
        "revision": begin.revision,
        "config": json_text(begin.config),
        "started_at": micros(begin.created_at),
        "parent": begin.parent,
        "isolated": begin.isolated,
        "publish": begin.publish,
        "implicit": begin.implicit,
        "lease_seconds": begin.lease_seconds,
        "flow_run": begin.flow_run,
        "prefect": json_text(begin.prefect),
        "ancestors": json_text(begin.ancestors),
        "finished_at": _when(end.closed_at) if end is not None else None,
        "outcome": end.outcome if end is not None else None,
        "notes": end.notes if end is not None else None,
        "failure": json_text(end.failure.model_dump(by_alias=True)) if end is not None and end.failure else None,
        "left_out": json_text(end.left_out.pending) if end is not None else None,
        "state": states[standing.outcome],
        "settled_at": _when(standing.settled_at),
        "publication": standing.publication,
        "rank": 2 if standing.outcome is not None else int(end is not None),
    }


def dataset_row(document: DatasetGeneration, staged_at: datetime | None) -> Row:
    """A dataset by its newest step; :func:`standing_of_dataset` adds how it stands."""
    return {
        "id": document.dataset_id,
        "run_id": document.run_id,
        "kind": document.kind,
        "gen": document.gen,
        "step": document.step,
        "mode": document.mode,
        "partition": json_text(document.partition),
        "key": document.key,
        "own_run": document.own_run,
        "parent_run": document.parent_run,
        "created_at": micros(document.begun_at),
        "staged_at": _when(staged_at),
        "rolled_back_at": micros(document.at) if document.step == "rolled_back" else None,
        "root": document.root,
        "external": document.external,
        "rows": document.rows,
        "bytes": document.bytes,
        "file_count": document.file_count,
        "partitioning": json_text(document.partitioning),
        "tags": json_text(document.tags),
        "task_run": document.task_run,
        "reason": document.reason,
    }


def standing_of_dataset(row: Row, member: bool | None, end: Decision | None, standing: Standing) -> Row:
    """``row`` with what the decisions make of it. ``member``: whether its run's own decision lists it."""
    if standing.outcome == "aborted" or member is False or row["step"] == "rolled_back":
        state = "ROLLED_BACK"
    elif standing.outcome is None:
        state = "PENDING" if row["step"] == "begun" else "STAGED"
    else:
        state = "READY"  # or what a tombstone says, which the index knows
    settled = standing.outcome is not None
    return {
        **row,
        "member": member,
        "ended_at": _when(end.closed_at) if end is not None else None,
        "outcome": standing.outcome,
        "settled_at": _when(standing.settled_at),
        "publication": standing.publication,
        "state": state,
        "rank": 1_000 if settled else row["gen"] + 100 * (member is not None),
    }


def event_row(event: Event, visible_at: datetime) -> Row:
    """A visible event or incident."""
    return {
        "id": event.event_id,
        "record": event.record,
        "name": event.event_name,
        "subject_id": event.subject_id,
        "payload": json_text(event.payload),
        "created_at": micros(event.created_at),
        "run_id": event.run_id,
        "error_class": event.error_class,
        "message": event.message,
        "visible_at": micros(visible_at),
    }


def cell_row(key: str, cell: CellGeneration, visible_at: datetime) -> Row:
    """A visible generation of a named cell."""
    return {
        "type": cell.type,
        "key": key,
        "gen": cell.gen,
        "name": cell.name,
        "tx": cell.tx,
        "base": cell.base,
        "at": micros(cell.at),
        "deleted": cell.deleted,
        "reason": cell.reason,
        "value": json_text(_indexed(cell)),
        "visible_at": micros(visible_at),
    }


def _indexed(cell: CellGeneration) -> Mapping[str, Any]:
    """What the index keeps of a cell's value: all of it, but for the content of objects."""
    return {k: v for k, v in cell.value.items() if k not in _CONTENT} if cell.type == OBJECT else cell.value


def cell_edges(cell: CellGeneration, at: datetime) -> Iterable[Row]:
    """A version of an object was generated by its run; a registered one comes from its artifacts, and they from what
    they refer to; a model run says what its record says, and what was imported what it said there.
    """
    if cell.deleted:
        return
    if cell.type == MODEL_RUN:
        for source, relation, target in assertions(cell.value):
            yield edge_row(source, relation, target, cell.name, at)
    if cell.type == PROV_NODE:
        for source, relation, target, by in node_assertions(cell.name, cell.value):
            yield edge_row(source, relation, target, by, at)
    if cell.type == OBJECT and cell.tx is not None and "restores" not in cell.value:
        yield edge_row(cell.name, "wasGeneratedBy", cell.tx, cell.tx, at)
    if cell.type in (MODEL_VERSION, MODEL_ARTIFACT) and "id" in cell.value and "drops" not in cell.value:
        for source, relation, target in _model_edges(cell):
            yield edge_row(source, relation, target, cell.tx or "", at)


def _model_edges(cell: CellGeneration) -> Iterable[tuple[str, str, str]]:
    value, changed = cell.value, cell.value.get("changed") or []
    id_ = str(value["id"])
    if not changed and cell.tx is not None:
        yield id_, "wasGeneratedBy", cell.tx
    if cell.type == MODEL_VERSION:
        if not changed:
            yield id_, "specializationOf", str(value.get("model"))
        return
    if not changed or "versions" in changed:
        every = value.get("versions") or []
        for version in every[-1:] if changed else every:  # one is added at a time
            yield str(version), "hadMember", id_
    if not changed or "uri" in changed:
        for target in (value.get("object"), value.get("dataset")):
            if target is not None:
                yield id_, "wasDerivedFrom", str(target)


def edge_row(source: str, relation: str, target: str, asserted_by: str, at: datetime) -> Row:
    """One edge of the lineage. Relations are PROV's: ``used``, ``wasGeneratedBy``."""
    return {"source": source, "relation": relation, "target": target, "asserted_by": asserted_by, "at": micros(at)}


def used_edges(event: Event, at: datetime) -> Iterable[Row]:
    """What a run has read, as its event tells."""
    found = [event.payload.get(name) for name in ("datasets", "objects")]
    for target in (t for targets in found if isinstance(targets, list) for t in targets):
        if isinstance(target, str):
            yield edge_row(event.subject_id, "used", target, event.run_id or event.subject_id, at)
