"""What OpenLineage events tell of a run, from what the registry has kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.credentials import without_secrets
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import Store
from prefect_registry.provenance.captures import Captured, HasLedger, captured, written
from prefect_registry.provenance.data_facts import facts_of_data, place_of
from prefect_registry.provenance.standards.openlineage_facts import (
    MOST_DATASETS,
    MOST_PARAMETERS,
    JobFacts,
    Outcome,
    RunFacts,
)
from prefect_registry.records.cells import CellRef
from prefect_registry.records.runs import Begin, Decision
from prefect_registry.records.types import MODEL_RUN

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
    registry saw. Of a version of an object that the run has saved, what it saved is told, whatever became of the
    version since; of one that it read, what is visible of it now. A few reads, one of each dataset and version, a
    listing of each version that it did not save, and with ``publish="on_commit"`` a question to the catalog. Columns
    cost a read of a file each: :func:`~prefect_registry.provenance.run_columns.with_columns` adds them.

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
    own, record = written(registry, run_id), _record(ledger, run_id)
    used = _ids(own.involved.used, record.get("inputs"))
    made = _ids([*own.involved.generated, *_published_alone(registry, begin)], record.get("outputs"))
    inputs, outputs = facts_of_data(ledger, run_id, own.generations, used, made)
    times = [datetime.fromtimestamp(record[key], UTC) if key in record else None for key in ("start_time", "end_time")]
    return replace(
        begun_facts(registry, run_id, namespace=namespace),
        ended_at=ended_at,
        outcome=outcome,
        message=message,
        nominal_start=times[0],
        nominal_end=times[1],
        inputs=inputs,
        outputs=outputs,
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
