"""What can be asked for: the fields of runs, datasets, events, incidents and cells, as SQL over the index.

Each subject can be asked for as it is, or as it was at a time: then its columns are computed from when things were
decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from sqlite3 import Row
from typing import Any, Generic, TypeVar, get_origin

import orjson
from pydantic import BaseModel

from prefect_registry.catalog.results import CellInfo, DatasetInfo, EventInfo, IncidentInfo, RunInfo
from prefect_registry.catalog.schema import moment
from prefect_registry.ledger import paths
from prefect_registry.records import types
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.runs import Failure

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Subject(Generic[T]):
    """One kind of answer.

    Attributes:
        noun: What one is called.
        source: A SELECT of what there is now; ``past`` of what there was at ``:as_of``.
        fields: What may be filtered and ordered by: the name in Python, and its SQL; ``:url`` is the store's.
        paths: Fields that hold JSON, which are filtered by a path into them.
        lists: Fields that hold several values, which are filtered by one of them: a SELECT of those of a row ``item``.
        text: Columns that a text search looks into.
        time: The column that ``since`` and ``until`` compare.
        unique: The column that names one.
    """

    noun: str
    source: str
    past: str
    fields: Mapping[str, str]
    paths: Mapping[str, str]
    text: tuple[str, ...]
    time: str
    unique: str
    make: Callable[[Row, str], T]
    lists: Mapping[str, str] = field(default_factory=dict)


def _json(text: str | None) -> Any:
    return orjson.loads(text) if text else {}


def _moment(value: int | None) -> Any:
    return moment(value) if value is not None else None


def _run(row: Row, url: str) -> RunInfo:
    state = row["state"]
    return RunInfo(
        id=row["id"],
        purpose=row["purpose"],
        state=state,
        model_id=row["model_id"],
        revision=row["revision"],
        config=_json(row["config"]),
        started_at=moment(row["started_at"]),
        finished_at=_moment(row["finished_at"]),
        success=None if state == "RUNNING" else state == "COMMITTED",
        notes=row["notes"],
        failure=Failure.model_validate(_json(row["failure"])) if row["failure"] else None,
        parent=row["parent"],
        isolated=bool(row["isolated"]),
        publish=row["publish"],
        implicit=bool(row["implicit"]),
        lease_seconds=row["lease_seconds"],
        flow_run=row["flow_run"],
        staged=state == "RUNNING" and row["finished_at"] is not None,
        left_out=tuple(f"ds_{row['id'][4:]}_{suffix}" for suffix in _json(row["left_out"])),
        prefect=_json(row["prefect"]),
    )


def _dataset(row: Row, url: str) -> DatasetInfo:
    folder = paths.dataset_prefix(row["run_id"], row["id"][-16:]).rstrip("/")
    return DatasetInfo(
        id=row["id"],
        kind=row["kind"],
        run_id=row["run_id"],
        state=row["state"],
        mode=row["mode"],
        partition=_json(row["partition"]) or None,
        root=row["root"] if row["external"] else f"{url}/{folder}",
        external=bool(row["external"]),
        rows=row["rows"],
        bytes=row["bytes"],
        file_count=row["file_count"],
        created_at=moment(row["created_at"]),
        committed_at=_moment(row["staged_at"]) if row["rolled_back_at"] is None else None,
        published_at=_moment(row["published_at"]),
        key=row["key"],
        task_run=row["task_run"],
        parent_run=row["parent_run"],
        tags=_json(row["tags"]),
    )


def _event(row: Row, url: str) -> EventInfo:
    payload = _json(row["payload"])
    return EventInfo(row["id"], row["name"], row["subject_id"], payload, moment(row["created_at"]), row["run_id"])


def _incident(row: Row, url: str) -> IncidentInfo:
    return IncidentInfo(
        row["id"], row["name"], row["subject_id"], row["error_class"] or "", row["message"] or "",
        moment(row["created_at"]), row["run_id"],
    )  # fmt: skip


def _cell(row: Row, url: str) -> CellInfo:
    return CellInfo(
        row["type"], row["name"], row["gen"], _json(row["value"]), moment(row["at"]), row["tx"], bool(row["deleted"]),
        row["reason"],
    )  # fmt: skip


_RUN_COLUMNS = (
    "id, purpose, model_id, revision, config, started_at, parent, isolated, publish, implicit, lease_seconds, flow_run,"
    " prefect, publication"
)
_DATASET_COLUMNS = (
    "id, run_id, kind, mode, partition, key, own_run, parent_run, created_at, root, external, partitioning,"
    " tags, task_run, publication"
)
_EVENTS = "SELECT * FROM events WHERE record = '{}' AND {}"

RUNS = Subject(
    "run",
    "SELECT * FROM runs",
    f"""SELECT {_RUN_COLUMNS},
        CASE WHEN finished_at <= :as_of THEN finished_at END AS finished_at,
        CASE WHEN finished_at <= :as_of THEN notes END AS notes,
        CASE WHEN finished_at <= :as_of THEN failure END AS failure,
        CASE WHEN finished_at <= :as_of THEN left_out END AS left_out,
        CASE WHEN settled_at <= :as_of THEN state ELSE 'RUNNING' END AS state
        FROM runs WHERE started_at <= :as_of""",
    {
        name: name
        for name in (
            "id", "purpose", "state", "model_id", "revision", "started_at", "finished_at", "notes", "parent",
            "isolated", "publish", "implicit", "lease_seconds", "flow_run", "publication",
        )
    }
    | {
        "success": "CASE state WHEN 'COMMITTED' THEN 1 WHEN 'ABORTED' THEN 0 END",
        "staged": "(state = 'RUNNING' AND finished_at IS NOT NULL)",
    },
    {"config": "config", "prefect": "prefect", "failure": "failure"},
    ("id", "purpose", "model_id", "revision", "notes", "config", "failure"),
    "started_at",
    "id",
    _run,
    {"left_out": "SELECT 'ds_' || substr(item.id, 5) || '_' || part.value FROM json_each(item.left_out) AS part"},
)  # fmt: skip

DATASETS = Subject(
    "dataset",
    f"""SELECT {_DATASET_COLUMNS}, staged_at, rolled_back_at, rows, bytes, file_count, reason, state,
        CASE WHEN outcome = 'committed' AND member AND step = 'staged' THEN settled_at END AS published_at
        FROM datasets""",
    f"""SELECT {_DATASET_COLUMNS},
        CASE WHEN staged_at <= :as_of THEN staged_at END AS staged_at,
        CASE WHEN rolled_back_at <= :as_of THEN rolled_back_at END AS rolled_back_at,
        CASE WHEN staged_at <= :as_of THEN rows END AS rows,
        CASE WHEN staged_at <= :as_of THEN bytes ELSE 0 END AS bytes,
        CASE WHEN staged_at <= :as_of THEN file_count ELSE 0 END AS file_count,
        CASE WHEN rolled_back_at <= :as_of THEN reason END AS reason,
        CASE WHEN outcome = 'aborted' AND settled_at <= :as_of THEN 'ROLLED_BACK'
             WHEN ended_at <= :as_of AND member = 0 THEN 'ROLLED_BACK'
             WHEN rolled_back_at <= :as_of THEN 'ROLLED_BACK'
             WHEN outcome = 'committed' AND settled_at <= :as_of THEN coalesce(
                (SELECT CASE coalesce(json_extract(value, '$.state'), '') WHEN 'READY' THEN 'READY'
                        WHEN 'ARCHIVED' THEN 'ARCHIVED' ELSE 'DELETED' END
                 FROM cells WHERE type = 'dataset' AND name = datasets.id AND visible_at <= :as_of
                 ORDER BY gen DESC LIMIT 1), 'READY')
             WHEN staged_at <= :as_of THEN 'STAGED' ELSE 'PENDING' END AS state,
        CASE WHEN outcome = 'committed' AND member AND step = 'staged' AND settled_at <= :as_of THEN settled_at END
            AS published_at
        FROM datasets WHERE created_at <= :as_of""",
    {
        name: name
        for name in (
            "id", "run_id", "kind", "state", "mode", "key", "parent_run", "created_at", "published_at", "external",
            "rows", "bytes", "file_count", "task_run", "publication",
        )
    }
    | {
        "committed_at": "CASE WHEN rolled_back_at IS NULL THEN staged_at END",
        "root": "CASE WHEN external THEN root ELSE :url || '/' || root END",
    },
    {"tags": "tags", "partition": "partition"},
    ("id", "kind", "key", "tags", "partition", "root"),
    "created_at",
    "id",
    _dataset,
)  # fmt: skip

EVENTS = Subject(
    "event",
    _EVENTS.format("event", "1"),
    _EVENTS.format("event", "created_at <= :as_of AND visible_at <= :as_of"),
    {"id": "id", "event_name": "name", "subject_id": "subject_id", "created_at": "created_at", "run_id": "run_id"},
    {"payload": "payload"},
    ("id", "name", "subject_id", "payload"),
    "created_at",
    "id",
    _event,
)

INCIDENTS = Subject(
    "incident",
    _EVENTS.format("incident", "1"),
    _EVENTS.format("incident", "created_at <= :as_of AND visible_at <= :as_of"),
    {
        "id": "id", "event": "name", "subject_id": "subject_id", "error_class": "coalesce(error_class, '')",
        "message": "coalesce(message, '')", "created_at": "created_at", "run_id": "run_id",
    },
    {},
    ("id", "name", "subject_id", "error_class", "message"),
    "created_at",
    "id",
    _incident,
)  # fmt: skip

_NEWEST = (
    "SELECT *, type || '/' || name AS full_name FROM cells AS c WHERE gen ="
    " (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key AND {0}) AND {0}"
)

CELLS = Subject(
    "cell",
    _NEWEST.format("1"),
    _NEWEST.format("visible_at <= :as_of"),
    {
        "type": "type", "name": "name", "gen": "gen", "at": "at", "run_id": "tx", "deleted": "deleted",
        "reason": "reason",
    },
    {"value": "value"},
    ("name", "value"),
    "at",
    "full_name",
    _cell,
)  # fmt: skip


def _records(model: type[M], noun: str, cell_type: str) -> Subject[M]:
    """Records that cells of one type hold, by the fields of their model; those that were deleted are not there."""
    fields = {name: f"json_extract(value, '$.{name}')" for name in model.model_fields}
    several = [name for name, field in model.model_fields.items() if get_origin(field.annotation) is list]
    own = f"type = '{cell_type}' AND NOT deleted"

    def make(row: Row, url: str) -> M:
        value = _json(row["value"])
        return model.model_validate({name: value[name] for name in fields if name in value})

    return Subject(
        noun,
        f"SELECT * FROM ({CELLS.source}) WHERE {own}",
        f"SELECT * FROM ({CELLS.past}) WHERE {own}",
        {**fields, "registered_at": "at"},
        {},
        ("name", "value"),
        "at",
        "name",
        make,
        {name: f"SELECT part.value FROM json_each(item.value, '$.{name}') AS part" for name in several},
    )


DOCUMENTS = _records(Doc, "document", types.DOCUMENT)
DOCTAGS = _records(DoctagsAsset, "doctags asset", types.DOCTAGS)
