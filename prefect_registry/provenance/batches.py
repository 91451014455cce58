"""Batches of model runs: each record is a run of its own, and the batch remembers all of them.

What a batch is, is decided before its first run begins: which record is to be which run, and which records are refused.
What became of each follows from its run, and is never stored twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from prefect_registry.errors import InvalidInput, RegistryError, nothing_published, published_before
from prefect_registry.provenance.holding import check_id, not_found, parsed
from prefect_registry.provenance.looking_up import Lookups
from prefect_registry.provenance.records import (
    JobStatus,
    ModelRunRecord,
    RegisterBatchModelRunRequest,
    RegisterBatchModelRunResponse,
    Status,
)
from prefect_registry.provenance.records.base import MOST_RECORDS
from prefect_registry.provenance.records.refused import unruled
from prefect_registry.provenance.registering import ModelRuns
from prefect_registry.records.base import json_object_problems, text_of
from prefect_registry.records.provenance import BatchRecord, ModelRunValue, ProvBatchValue
from prefect_registry.records.runs import Begin
from prefect_registry.records.types import PROV_BATCH

RUNS_AT_A_TIME = 64
LARGEST_PART_BYTES = 400_000
"""Of records in one document: half of what fits, since ids and errors are there too."""
MOST_ERRORS = 200
LONGEST_ERROR_CHARACTERS = 2_000


@dataclass(frozen=True)
class BatchResult:
    """What became of one record of a batch.

    Attributes:
        model_run_id: The run; None for a record that was refused.
        error: Why it failed; None if it did not.
    """

    record: Mapping[str, Any]
    model_run_id: str | None
    status: JobStatus
    error: str | None = None


class Batches(ModelRuns):
    """What of :class:`~prefect_registry.provenance.service.Provenance` keeps batches."""

    @nothing_published
    def register_batch_model_runs(
        self, model_run_batch_payload: RegisterBatchModelRunRequest | Mapping[str, Any], *, run_id: str | None = None
    ) -> RegisterBatchModelRunResponse:
        """Register many model runs; ``session_id`` is the id of the batch, which :meth:`get_session` takes.

        Each record is registered by itself: those that there is something wrong with are refused, and the others are
        registered all the same; ``status`` says that the batch was taken, and :meth:`get_session` what became of it. In
        a run the batch and its runs are published with that.

        Args:
            model_run_batch_payload: The records: from 1 to 100,000.
            run_id: The run in which they are registered; the surrounding one, unless given.

        Raises:
            InvalidInput: There is no record, or there are too many.
            StorageError: The store does not answer. Which records were registered, :meth:`batch_results` of the id
                in the error's note tells.
        """
        around = self.run_of(run_id)
        given = _records_of(model_run_batch_payload)
        batch_id = self.ledger.store.ids.typeid("batch", self.now())
        lookups, values, rows, begins = Lookups(self, around), [], [], []
        for document in given:
            value, error = self._value(document, lookups, batch_id)
            begin = self.begin_of(value, around) if value is not None else None
            rows.append(BatchRecord(run_id=begin.run_id if begin else None, error=error, record=_storable(document)))
            if value is not None and begin is not None:
                values.append(value)
                begins.append(begin)
        self._write_batch(batch_id, rows, around)
        with _telling(batch_id, around):
            errors = self._lodge_all(values, begins)
            self._finish(batch_id, errors, around)
        refused = sum(row.error is not None for row in rows) + len(errors)
        details = f"The batch is {batch_id}: {len(rows) - refused:,} of {len(rows):,} model runs were registered."
        return RegisterBatchModelRunResponse(status=Status(success=True, details=details), session_id=batch_id)

    def batch_results(self, batch_id: str, *, run_id: str | None = None) -> list[BatchResult]:
        """What became of each record of a batch, in the order in which they were given. Raises ``NotFound``."""
        head, rows = self._batch(batch_id, self.run_of(run_id))
        calls: list[Callable[[], BatchResult]] = [partial(self._result, row, head) for row in rows]
        return self.ledger.store.together(calls) if calls else []

    # -- registering ---------------------------------------------------------------------------------------------

    def _value(
        self, document: Mapping[str, Any], lookups: Lookups, batch_id: str
    ) -> tuple[ModelRunValue | None, str | None]:
        """What is to be kept of a record, or why it is refused."""
        try:
            return self.prepared(unruled(document), lookups, batch_id), None
        except InvalidInput as error:
            return None, "; ".join(error.problems)[:LONGEST_ERROR_CHARACTERS]

    def _lodge_all(self, values: Sequence[ModelRunValue], begins: Sequence[Begin]) -> dict[str, str]:
        """Register them; returns what went wrong, by the ids of the runs."""
        errors: dict[str, str] = {}

        def lodge(value: ModelRunValue, begin: Begin) -> None:
            try:
                self.lodge_begun(value, begin)
            except RegistryError as error:
                errors[begin.run_id] = text_of(error)[:LONGEST_ERROR_CHARACTERS]

        calls = [partial(lodge, value, begin) for value, begin in zip(values, begins, strict=True)]
        for start in range(0, len(calls), RUNS_AT_A_TIME):
            self.ledger.store.together(calls[start : start + RUNS_AT_A_TIME])
        return errors

    def _write_batch(self, batch_id: str, rows: Sequence[BatchRecord], around: str | None) -> None:
        parts = list(_parts(rows))
        now = self.now()
        with self._together(batch_id, around, len(parts)) as run:
            for number, part in enumerate(parts):
                value = ProvBatchValue(
                    batch_id=batch_id, by=self.by, created_at=now, parts=len(parts), count=len(rows), records=part
                )
                self.ledger.cells.write(
                    PROV_BATCH, part_name(batch_id, number), value.model_dump(mode="json", exclude_none=True),
                    run_id=run, expected=None, blind=True,
                )  # fmt: skip

    @contextmanager
    def _together(self, batch_id: str, around: str | None, cells: int) -> Iterator[str | None]:
        """The run in which some cells are written: one of their own where there are several (P2)."""
        if around is not None or cells == 1:
            yield around
            return
        with self.ledger.implicit_run(f"register {batch_id}") as own:
            yield own

    def _finish(self, batch_id: str, errors: dict[str, str], around: str | None) -> None:
        def change(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
            some = dict(sorted(errors.items())[:MOST_ERRORS])
            return {**(value or {}), "finished": True, **({"errors": some} if some else {})}

        self.ledger.cells.update(PROV_BATCH, batch_id, change, run_id=around)

    # -- reading -------------------------------------------------------------------------------------------------

    def _batch(self, batch_id: str, run: str | None) -> tuple[ProvBatchValue, list[BatchRecord]]:
        head = parsed(ProvBatchValue, self.standing(PROV_BATCH, check_id(batch_id, "batch_id"), run, "batch"))
        if head.batch_id != batch_id:
            raise not_found("batch", batch_id)
        rows = list(head.records)
        for number in range(1, head.parts):
            part = self.standing(PROV_BATCH, part_name(batch_id, number), run, "part of a batch")
            rows += parsed(ProvBatchValue, part).records
        return head, rows

    def _result(self, row: BatchRecord, head: ProvBatchValue) -> BatchResult:
        if row.run_id is None:
            return BatchResult(row.record, None, JobStatus.FAILED, row.error)
        status, error = self.status_of(row.run_id)
        if status is JobStatus.PENDING and head.finished:
            status = JobStatus.FAILED
        if status is JobStatus.FAILED:
            error = head.errors.get(row.run_id) or error or "Its run could not be begun"
        return BatchResult(row.record, row.run_id, status, error)

    def status_of(self, run_id: str) -> tuple[JobStatus, str | None]:
        """How far the run of a model run is, and why it failed. ``PENDING``: it is not begun."""
        store = self.ledger.store
        begun, end = store.begin(run_id), store.decision(run_id)
        if begun is None and end is None:
            return JobStatus.PENDING, None
        outcome = self.ledger.outcomes.effective(run_id)
        if outcome is None:
            return JobStatus.IN_PROGRESS, None
        if outcome == "committed":
            return JobStatus.SUCCEEDED, None
        failure = end.failure if end is not None else None
        why = f"{failure.cls}: {failure.message}" if failure is not None else (end.notes if end is not None else None)
        return JobStatus.FAILED, why or "A run around it was rolled back"


@contextmanager
def _telling(batch_id: str, around: str | None) -> Iterator[None]:
    """Errors of this block name the batch, which is stored, and say what of it is published."""
    note = f"Some records of the batch {batch_id} may be registered: batch_results() tells which"
    if around is None:
        with published_before("yes", note):
            yield
        return
    try:
        yield
    except BaseException as error:  # all of it is published with the run around it
        error.add_note(note)
        raise


def part_name(batch_id: str, number: int) -> str:
    """The name of the cell that holds a part of a batch."""
    return batch_id if number == 0 else f"{batch_id}.{number}"


def _records_of(payload: RegisterBatchModelRunRequest | Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of a request as they were given: what is wrong with one is no matter of the others."""
    given = payload.records if isinstance(payload, RegisterBatchModelRunRequest) else None
    if isinstance(payload, Mapping):
        unknown = sorted(str(key) for key in payload if key != "records")
        if unknown:
            raise InvalidInput.of("the batch", [f"{key}: there is no such field" for key in unknown[:20]])
        given = payload.get("records")
    if not isinstance(given, (list, tuple)):
        raise InvalidInput.of("the batch", ["records: it must be a list of model run records"])
    if not 1 <= len(given) <= MOST_RECORDS:
        raise InvalidInput.of("the batch", [f"records: there must be 1 to {MOST_RECORDS:,}, not {len(given):,}"])
    found: list[Mapping[str, Any]] = [
        r.model_dump(mode="json", warnings=False) if isinstance(r, ModelRunRecord) else r for r in given
    ]
    problems = [f"records[{i}]: it is no model run record" for i, r in enumerate(found) if not isinstance(r, Mapping)]
    if problems:
        raise InvalidInput.of("the batch", problems[:100])
    return found


def _storable(document: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it can be kept, though something may be wrong with it: its name and template alone, if need be."""
    document = {key: value for key, value in document.items() if value is not None}
    if json_object_problems(document, "the record") or _size(document) > LARGEST_PART_BYTES:
        name = str(document.get("display_name"))[:200].encode("ascii", "replace").decode()
        template = {key: value for key, value in document.items() if key == "workflow_template_id"}
        cut = json_object_problems(template, "the record") or _size(template) > LONGEST_ERROR_CHARACTERS
        return {"display_name": name, **({} if cut else template)}
    return document


def _size(document: Mapping[str, Any]) -> int:
    return len(orjson.dumps(document))


def _parts(rows: Sequence[BatchRecord]) -> Iterator[list[BatchRecord]]:
    part: list[BatchRecord] = []
    size = 0
    for row in rows:
        more = _size(row.record) + len(row.error or "") + 100
        if part and size + more > LARGEST_PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += more
    yield part
