"""Events and incidents (reference system 1: ``pipeline_events``, ``incidents``)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from prefect_registry.records.base import Document, Moment


class Event(Document):
    """Something that happened. With ``tx``, it is a member of that run and visible only if the run commits.

    A ``usage`` tells what its run has read: ``payload["datasets"]`` lists their ids (lineage).

    The names ``DatasetCommitted``, ``DatasetRolledBack`` and ``RunClosed`` are derived from decisions, never stored.
    """

    SCHEMA: ClassVar[str] = "event/1"

    event_id: str
    event_name: str
    subject_id: str
    payload: dict[str, Any] = Field(default_factory=dict)
    created_at: Moment
    tx: str | None = None
    run_id: str | None = None
    record: Literal["event", "incident", "usage"] = "event"
    error_class: str | None = None
    message: str | None = None
