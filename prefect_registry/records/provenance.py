"""What the generations of provenance's cells hold (reference system 2)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from prefect_registry.records.base import Moment, Record


class ProvenanceRecord(Record):
    """What items and model runs have in common.

    Attributes:
        by: Who wrote this generation.
        changed: The fields that it changes; empty for the first one.
        created_at: When the first one was written.
        changed_at: When this was written.
    """

    by: str | None = None
    changed: list[str] = Field(default_factory=list)
    created_at: Moment
    changed_at: Moment


class ProvItemValue(ProvenanceRecord):
    """An item. ``complete`` is False for one of which there is only the id; ``document`` is all that is known of it."""

    id: str
    subtype: str
    external_id: str | None = None
    complete: bool = True
    document: dict[str, Any] = Field(default_factory=dict)


class ModelRunValue(ProvenanceRecord):
    """What makes a run a model run.

    Attributes:
        record: The record as it was given.
        record_status: How far it is: what is written here is part of lineage, ``LODGED``.
        model: The model of the workflow template, when this was written.
        dataset_templates: Those of the workflow template, when this was written.
        batch_id: The batch that it was registered in.
    """

    run_id: str
    record: dict[str, Any]
    record_status: str = "LODGED"
    model: str | None = None
    dataset_templates: list[str] = Field(default_factory=list)
    batch_id: str | None = None


class BatchRecord(Record):
    """A record of a batch: the run that it is registered as, or why it was refused."""

    run_id: str | None = None
    error: str | None = None
    record: dict[str, Any]


class ProvBatchValue(Record):
    """A batch, or a part of it that did not fit the first document.

    Attributes:
        parts: How many cells it has, this one included.
        count: How many records there are in all of them.
        records: Those of this cell.
        finished: Whether all records were tried.
        errors: What went wrong with those that could be tried, by the ids of their runs.
    """

    batch_id: str
    by: str | None = None
    created_at: Moment
    parts: int = 1
    count: int = 0
    records: list[BatchRecord] = Field(default_factory=list)
    finished: bool = False
    errors: dict[str, str] = Field(default_factory=dict)


class ProvNodeValue(ProvenanceRecord):
    """A thing that imported provenance speaks of: what one import said of it.

    Attributes:
        subtype: What it is.
        label: What people call it.
        attributes: What else is known of it.
        links: Those that begin at it: relation, target, and the run that they were imported in.
    """

    id: str
    subtype: str
    label: str = ""
    attributes: dict[str, Any] = Field(default_factory=dict)
    links: list[tuple[str, str, str]] = Field(default_factory=list)
