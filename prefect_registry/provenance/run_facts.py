"""What OpenLineage events tell of a run, from what the registry has kept of it.

Names follow https://openlineage.io/docs/spec/naming: a dataset's namespace is the bucket (``s3://bucket``), or ``file``
where the store is a folder. Its name is the path of the store and what the table or object is called, which stays the
same from run to run; its version is the dataset's id, or the version of the object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.credentials import without_secrets, without_user_info
from prefect_registry.errors import InvalidInput
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import Store
from prefect_registry.provenance.captures import Captured, HasLedger, captured, involved
from prefect_registry.provenance.standards.openlineage_facts import (
    MOST_DATASETS,
    MOST_PARAMETERS,
    DatasetFacts,
    JobFacts,
    Outcome,
    RunFacts,
)
from prefect_registry.records.cells import OBJECT, CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.provenance import MODEL_RUN
from prefect_registry.records.runs import Begin, Decision

_STAGED = 1
"""The generation of a dataset that has its rows and files: 0 is its beginning."""


_PAGE = 1_000


class HasCatalog(HasLedger, Protocol):
    """A ``Registry``, as far as it is needed here."""

    @property
    def catalog(self) -> Catalog:
        """Queries over everything."""


def begun_facts(registry: HasLedger, run_id: str, *, namespace: str | None = None) -> RunFacts:
    """What was recorded of a run when it began. In the process that began it, the store is asked nothing.

    Args:
        namespace: As in :func:`facts_of`.

    Raises:
        NotFound: No such run.
        InvalidInput: ``run_id`` is none.
    """
    ledger = registry.ledger
    begin = ledger.runs.known(run_id)
    where = namespace or _job_namespace(ledger.store)
    parent, root = _around(ledger, begin, where)
    code, name = begin.code, _job_name(begin)
    return RunFacts(
        run_id=run_id,
        namespace=where,
        name=name,
        started_at=begin.created_at,
        parameters=without_secrets(dict(islice(begin.config.items(), MOST_PARAMETERS))),
        repository=_text(code.get("repository")),
        commit=_text(code.get("commit")),
        path=_text(code.get("path")),
        engine=_engine(begin),
        description=begin.purpose if begin.purpose != name else "",
        parent=parent,
        root=root,
    )


def facts_of(registry: HasCatalog, run_id: str, *, namespace: str | None = None) -> RunFacts:
    """What is known of a run that has ended; of one that goes on, what was recorded when it began.

    The job is the flow, or else the purpose of the run. What a registered model run lists is told beside what the
    registry saw. A few reads, one of each dataset and object version, and with ``publish="on_commit"`` a question to
    the catalog. Columns cost a read of a file each: :func:`~prefect_registry.provenance.run_columns.with_columns` adds
    them.

    Args:
        namespace: Of the job, and of the runs around it; the URL of the store, unless given.

    Raises:
        NotFound: No such run.
        InvalidInput: ``run_id`` is none.
    """
    ledger = registry.ledger
    found = captured(registry, run_id)
    begin = ledger.runs.known(run_id)
    outcome, message, ended_at = _ending(ledger, found, begin)
    seen, record = involved(registry, run_id), _record(ledger, run_id)
    used = _ids(seen.used, record.get("inputs"))
    made = [*seen.generated, *_published_alone(registry, begin)]
    told = _datasets(ledger.store, [*used, *_ids(made, record.get("outputs"))])
    times = [datetime.fromtimestamp(record[key], UTC) if key in record else None for key in ("start_time", "end_time")]
    return replace(
        begun_facts(registry, run_id, namespace=namespace),
        ended_at=ended_at,
        outcome=outcome,
        message=message,
        nominal_start=times[0],
        nominal_end=times[1],
        inputs=told[: len(used)],
        outputs=told[len(used) :],
    )


# -- the run and its job -----------------------------------------------------------------------------------------------


def _job_name(begin: Begin) -> str:
    return _text(begin.prefect.get("flow_name")) or begin.purpose or "run"


def _job_namespace(store: Store) -> str:
    namespace, path = place_of(store.storage.url)
    return f"file://{path}" if namespace == "file" else f"{namespace}/{path}".rstrip("/")


def _around(ledger: Ledger, begin: Begin, namespace: str) -> tuple[JobFacts | None, JobFacts | None]:
    """The run around a run, and the outermost one."""
    ids = [begin.parent, begin.ancestors[0] if begin.ancestors else begin.parent]
    begins = [ledger.store.begin(id_) if id_ is not None else None for id_ in ids]
    parent, root = (JobFacts(run_id=b.run_id, namespace=namespace, name=_job_name(b)) if b else None for b in begins)
    return parent, root if parent is not None else None


def _ending(ledger: Ledger, found: Captured, begin: Begin) -> tuple[Outcome | None, str, datetime | None]:
    """How a run ended, why, and when: by its own decision, or that of a run around it."""
    if found.outcome is None:
        return None, "", None
    failed, ended_at, reason = found.failure, found.finished_at, ""
    for id_ in reversed(begin.ancestors):
        end = ledger.store.decision(id_)
        if isinstance(end, Decision) and not end.committed and found.outcome == "aborted" and failed is None:
            failed, reason = end.failure, f"the run {id_} around it was rolled back"
            ended_at = ended_at or end.closed_at
    ended_at = max(ended_at or found.started_at, found.started_at)  # clocks of two hosts may differ
    if found.outcome == "committed":
        return "COMPLETE", "", ended_at
    if failed is None:
        return "FAIL", reason or "it was closed as not successful", ended_at
    message = f"{failed.cls}: {failed.message}".removesuffix(": ")
    return "ABORT" if failed.kind == "cancelled" else "FAIL", f"{reason}: {message}" if reason else message, ended_at


def _engine(begin: Begin) -> tuple[str, str] | None:
    packages = begin.environment.get("packages")
    version = packages.get("prefect") if isinstance(packages, Mapping) else None
    return ("Prefect", version) if begin.prefect and isinstance(version, str) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


# -- datasets ----------------------------------------------------------------------------------------------------------


def _record(ledger: Ledger, run_id: str) -> Mapping[str, Any]:
    """The record of a registered model run; empty for any other run."""
    end, cell = ledger.store.decision(run_id), CellRef.named(MODEL_RUN, run_id)
    if end is None or not any(tuple(each[:2]) == cell for each in ledger.store.members(end).cells):
        return {}
    generation = ledger.cells.latest(MODEL_RUN, run_id, run_id, guess=0)
    return generation.value.get("record") or {} if generation is not None and not generation.deleted else {}


def _ids(seen: Sequence[str], listed: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return list(dict.fromkeys([*seen, *(str(each["dataset_id"]) for each in listed or ())]))[:MOST_DATASETS]


def _published_alone(registry: HasCatalog, begin: Begin) -> list[str]:
    """What ``publish="on_commit"`` has published: each dataset by a run of its own (DESIGN.md P13)."""
    found: list[str] = []
    cursor: str | None = None
    while begin.publish == "on_commit" and len(found) < MOST_DATASETS:
        page = registry.catalog.datasets(
            parent_run=begin.run_id, state="READY", order="id", limit=_PAGE, cursor=cursor, fresh=cursor is None
        )
        found += [dataset.id for dataset in page]
        cursor = page.next
        if cursor is None:
            break
    return found


class _Key(NamedTuple):
    key: str
    model: type[DatasetGeneration] | type[CellGeneration]


def _datasets(store: Store, ids: Sequence[str]) -> list[DatasetFacts]:
    keys = [_key(id_) for id_ in ids]
    calls = [partial(store.peek, key.key, key.model) for key in keys if key is not None]
    found = iter(store.together(calls) if calls else [])
    namespace, path = place_of(store.storage.url)
    return [
        _dataset(id_, next(found) if key is not None else None, namespace, path, store.storage.url)
        for id_, key in zip(ids, keys, strict=True)
    ]


def _key(id_: str) -> _Key | None:
    """Where it is told what has an id; None where that is not in a single document."""
    if "@" in id_:
        return _Key(paths.cell_key(CellRef.named(OBJECT, id_), 0), CellGeneration)
    try:
        run_id, suffix = parse_inner_id(id_, "ds", "dataset")
    except InvalidInput:
        return None
    return _Key(paths.dataset_key(run_id, suffix, _STAGED), DatasetGeneration)


def _dataset(id_: str, document: Any, namespace: str, path: str, url: str) -> DatasetFacts:
    def named(*parts: str) -> str:
        return "/".join(filter(None, (path.rstrip("/"), *parts)))

    if isinstance(document, DatasetGeneration):
        inside = f"{url}/{paths.dataset_prefix(document.run_id, id_[-16:])}".rstrip("/")
        root = document.root if document.external else inside
        elsewhere = place_of(root) if document.external else None
        return DatasetFacts(
            namespace=elsewhere[0] if elsewhere else namespace,
            name=(elsewhere[1] if elsewhere else "") or named("tables", document.kind),
            version=id_,
            rows=document.rows,
            bytes=None if document.external else document.bytes,
            files=None if document.external else document.file_count,
            uri=root if "://" in root else f"file://{root}",
        )
    if "@" not in id_:
        return DatasetFacts(namespace=namespace, name=named("items", id_))
    name, _, version = id_.rpartition("@")
    value = document.value if isinstance(document, CellGeneration) else {}
    return DatasetFacts(
        namespace=namespace,
        name=named("objects", name),
        version=version,
        bytes=_count(value.get("size")),
        files=_count(value.get("file_count")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def place_of(url: str) -> tuple[str, str]:
    """Namespace and path of a URL by OpenLineage's naming: ``("s3://bucket", "a/b")``, ``("file", "/a/b")``.

    Credentials are left out; the ``container@account`` of Azure's URLs stays.
    """
    if "://" not in url:
        return "file", re.sub(r"\\", "/", url)
    parts = urlsplit(without_user_info(url))
    if parts.scheme == "file":
        return "file", parts.path
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
