"""What became of a request: by the id of a run or of a batch (SEEDS: ``session_id`` of system 2)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect_registry.ids import is_run_id
from prefect_registry.provenance.batches import Batches
from prefect_registry.provenance.holding import check_id, not_found, parsed
from prefect_registry.provenance.records import JobStatus, JobStatusTable, JobSubType
from prefect_registry.records.provenance import ModelRunValue
from prefect_registry.records.types import MODEL_RUN


class Sessions(Batches):
    """What of :class:`~prefect_registry.provenance.service.Provenance` tells of requests."""

    def get_session(self, session_id: str, *, run_id: str | None = None) -> JobStatusTable:
        """What became of a registration: PENDING, IN_PROGRESS, SUCCEEDED or FAILED.

        Of a batch, ``result`` has ``records``: for each its status, the id of its run, and why it failed.

        Raises:
            NotFound: It is neither a model run nor a batch.
        """
        run = self.run_of(run_id)
        if is_run_id(check_id(session_id, "session_id")):
            return self._of_run(session_id)
        return self._of_batch(session_id, run)

    def _of_run(self, id_: str) -> JobStatusTable:
        status, why = self.status_of(id_)
        written = self.ledger.cells.history(MODEL_RUN, id_, id_)  # also while the run is undecided
        newest = next((g for g in reversed(written) if not g.deleted), None)
        if newest is None and status is not JobStatus.FAILED:
            raise not_found("model run", id_)
        begin = self.ledger.runs.known(id_)
        value = parsed(ModelRunValue, newest) if newest is not None else None
        started = value.created_at if value is not None else begin.created_at
        return JobStatusTable(
            session_id=id_,
            created_timestamp=int(started.timestamp()),
            username=(value.by if value is not None else None) or "",
            batch_id=value.batch_id if value is not None else None,
            payload={"record": value.record} if value is not None else {},
            job_sub_type=JobSubType.MODEL_RUN_PROV_LODGE,
            status=status,
            info=why,
            result={"record_id": id_} if status is JobStatus.SUCCEEDED else None,
        )

    def _of_batch(self, id_: str, run: str | None) -> JobStatusTable:
        head, _ = self._batch(id_, run)
        results = self.batch_results(id_, run_id=run)
        counts = Counter(result.status for result in results)
        status, info = JobStatus.SUCCEEDED, None
        if counts[JobStatus.IN_PROGRESS] or counts[JobStatus.PENDING]:
            status = JobStatus.IN_PROGRESS if len(counts) > 1 or not counts[JobStatus.PENDING] else JobStatus.PENDING
        elif counts[JobStatus.FAILED]:
            status = JobStatus.FAILED
            info = f"{counts[JobStatus.FAILED]:,} of {len(results):,} records failed"
        records: list[dict[str, Any]] = [
            {"status": str(each.status), "model_run_id": each.model_run_id, "error": each.error} for each in results
        ]
        return JobStatusTable(
            session_id=id_,
            created_timestamp=int(head.created_at.timestamp()),
            username=head.by or "",
            batch_id=id_,
            payload={"count": head.count},
            job_sub_type=JobSubType.MODEL_RUN_BATCH_SUBMIT,
            status=status,
            info=info,
            result={"batch_id": id_, "records": records},
        )
