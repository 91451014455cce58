"""What became of a request: the registry's answer to ``session_id``."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from prefect_registry.provenance.records.base import Id, ProvenanceModel, Seconds, Text


class JobStatus(StrEnum):
    """How far a request is. This registry has no queue: ``DEQUEUED`` is never told."""

    PENDING = "PENDING"
    DEQUEUED = "DEQUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class JobType(StrEnum):
    """All that there is here is writing provenance."""

    PROV_LODGE = "PROV_LODGE"


class JobSubType(StrEnum):
    """Which writing of provenance."""

    MODEL_RUN_PROV_LODGE = "MODEL_RUN_PROV_LODGE"
    MODEL_RUN_BATCH_SUBMIT = "MODEL_RUN_BATCH_SUBMIT"
    MODEL_RUN_UPDATE = "MODEL_RUN_UPDATE"


class JobStatusTable(ProvenanceModel):
    """One request. ``info`` tells why it failed, ``result`` what came of it."""

    session_id: Id
    created_timestamp: Seconds
    username: Text
    batch_id: Id | None = None
    payload: dict[str, Any]
    job_type: JobType = JobType.PROV_LODGE
    job_sub_type: JobSubType
    status: JobStatus
    info: Text | None = None
    result: dict[str, Any] | None = None
