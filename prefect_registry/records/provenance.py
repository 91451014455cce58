"""What the generations of provenance's cells hold (reference system 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Field

from prefect_registry.records.base import Moment, Record

PROV_ITEM: Final = "prov_item"
"""The type of the cells that are studies, people, organisations, software, models and templates, named by their ids."""
MODEL_RUN: Final = "model_run"
"""The type of the cells that make a run a model run, named by the run's id."""
PROV_BATCH: Final = "prov_batch"
"""The type of the cells that are batches of model runs, named by their ids; rows that do not fit one document are in
``<id>.1``, ``<id>.2`` …"""
PROV_NODE: Final = "prov_node"
"""The type of the cells that are things of imported provenance: one for each thing and import, see
:func:`prov_node_name`."""
PROV_TYPES: Final = (PROV_ITEM, MODEL_RUN, PROV_BATCH, PROV_NODE)


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


Assertion = tuple[str, str, str]


def assertions(value: Mapping[str, Any]) -> dict[Assertion, None]:
    """What a model run says of lineage, as source, relation and target; in the order of the reference system, and each
    once. A value that makes no sense says nothing of what it does not name.
    """
    return dict.fromkeys(a for a in _assertions(value) if all(isinstance(id_, str) and id_ for id_ in a))


def prov_node_name(id_: str, run_id: str) -> str:
    """The name of the cell that holds what the import ``run_id`` said of the thing ``id_``: reverting the import takes
    back that cell, and nothing that other imports said. Cells of before that hold what all imports said, and are named
    by the id alone.
    """
    return f"{id_}/{run_id}"


def node_assertions(name: str, value: Mapping[str, Any]) -> dict[tuple[str, str, str, str], None]:
    """What the cell ``name`` of an imported thing says of lineage: source, relation, target, and who says so."""
    source = value.get("id") or name
    links = [link for link in _list(value.get("links")) if isinstance(link, list) and len(link) == 3]
    return {(str(source), *map(str, link)): None for link in links}  # type: ignore[misc]


def _assertions(value: Mapping[str, Any]) -> Iterator[Any]:
    record, run, model = _mapping(value.get("record")), value.get("run_id"), value.get("model")
    template, people = record.get("workflow_template_id"), _mapping(record.get("associations"))
    modeller = people.get("modeller_id")
    inputs, outputs = ([_mapping(each) for each in _list(record.get(side))] for side in ("inputs", "outputs"))
    yield run, "wasInformedBy", record.get("study_id")
    for each in inputs:
        yield run, "used", each.get("dataset_id")
    for each in outputs:
        yield each.get("dataset_id"), "wasGeneratedBy", run
    yield run, "used", model
    yield run, "used", template
    yield run, "wasAssociatedWith", modeller
    yield run, "wasAssociatedWith", people.get("requesting_organisation_id")
    for each in outputs:
        yield each.get("dataset_id"), "wasAttributedTo", modeller
    for id_ in _list(value.get("dataset_templates")):
        yield template, "hadMember", id_
    for each in (*inputs, *outputs):
        yield each.get("dataset_id"), "wasInfluencedBy", each.get("dataset_template_id")
    yield template, "hadMember", model


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
