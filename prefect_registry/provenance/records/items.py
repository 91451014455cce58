"""Items of the registry that model runs refer to: people, organisations, studies, models."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import field_validator

from prefect_registry.provenance.records.base import Id, Key, ProvenanceModel, Text, Url, not_blank
from prefect_registry.provenance.records.runs import ModelRunRecord


class RecordType(StrEnum):
    """Whether an item has only an id yet."""

    SEED_ITEM = "SEED_ITEM"
    COMPLETE_ITEM = "COMPLETE_ITEM"


class WorkflowRunCompletionStatus(StrEnum):
    """How far a run's record is: asked for, recorded, and part of lineage."""

    INCOMPLETE = "INCOMPLETE"
    COMPLETE = "COMPLETE"
    LODGED = "LODGED"


class SeedItem(ProvenanceModel):
    """An id that was given out for an item of which nothing else is known yet.

    Model runs cannot refer to such a study, workflow template or dataset template.
    """

    record_type: ClassVar[RecordType] = RecordType.SEED_ITEM

    id: Id
    item_subtype: str


class Item(ProvenanceModel):
    """What all items have.

    Attributes:
        id: None until it is registered.
        user_metadata: Anything that others should know of it.
    """

    record_type: ClassVar[RecordType] = RecordType.COMPLETE_ITEM
    item_subtype: ClassVar[str]

    id: Id | None = None
    display_name: Text
    user_metadata: dict[Key, Text] | None = None

    @field_validator("display_name")
    @classmethod
    def _has_name(cls, value: str) -> str:
        return not_blank(value, "Display name cannot be empty string")


class Person(Item):
    """Somebody who runs models. ``orcid`` is a URL."""

    item_subtype = "PERSON"

    email: Text
    first_name: Text
    last_name: Text
    orcid: Url | None = None
    ethics_approved: bool = False


class Organisation(Item):
    """Somebody whom models are run for. ``ror`` is a URL."""

    item_subtype = "ORGANISATION"

    name: Text
    ror: Url | None = None


class Study(Item):
    """What model runs belong to."""

    item_subtype = "STUDY"

    title: Text
    description: Text
    study_alternative_id: Text | None = None


class Software(Item):
    """A program."""

    item_subtype = "SOFTWARE"

    name: Text
    description: Text
    documentation_url: Url
    source_url: Url


class Model(Software):
    """A program that is a model: what a workflow template's ``software_id`` names."""

    item_subtype = "MODEL"


class ItemModelRun(Item):
    """A model run as the registry holds it."""

    item_subtype = "MODEL_RUN"

    record: ModelRunRecord
    record_status: WorkflowRunCompletionStatus = WorkflowRunCompletionStatus.COMPLETE
