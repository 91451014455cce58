"""Model runs: which datasets and which model were used under which template, and what came of it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ValidationInfo, field_validator

from prefect_registry.provenance.records.base import Id, Key, ProvenanceModel, Seconds, Text, not_blank, wrong

END_BEFORE_START = "The end time cannot be before the start time of a model run"
NO_DISPLAY_NAME = "Display name cannot be empty string"
NO_DESCRIPTION = "Description cannot be empty string"


class DatasetType(StrEnum):
    """Where a dataset is."""

    DATA_STORE = "DATA_STORE"


class TemplatedDataset(ProvenanceModel):
    """A dataset that fulfils a dataset template.

    Attributes:
        resources: The path in the dataset of each of the template's deferred resources, by key.
    """

    dataset_template_id: Id
    dataset_id: Id
    dataset_type: DatasetType = DatasetType.DATA_STORE
    resources: dict[Key, Text] | None = None


class AssociationInfo(ProvenanceModel):
    """Who ran it, and for whom: ids of a person and of an organisation."""

    modeller_id: Id
    requesting_organisation_id: Id | None = None


class ModelRunRecord(ProvenanceModel):
    """One run of a model.

    Attributes:
        model_version: Of the template's model, in whatever scheme its makers use.
        inputs: Several may fulfil one template.
        annotations: Those that the template requires, and any others.
        start_time: Seconds since 1970, UTC.
        end_time: As ``start_time``, and not before it.
    """

    workflow_template_id: Id
    model_version: Text | None = None
    inputs: list[TemplatedDataset]
    outputs: list[TemplatedDataset]
    annotations: dict[Key, Text] | None = None
    display_name: Text
    description: Text
    study_id: Id | None = None
    associations: AssociationInfo
    start_time: Seconds
    end_time: Seconds

    @field_validator("display_name")
    @classmethod
    def _has_name(cls, value: str) -> str:
        return not_blank(value, NO_DISPLAY_NAME)

    @field_validator("description")
    @classmethod
    def _has_description(cls, value: str) -> str:
        return not_blank(value, NO_DESCRIPTION)

    @field_validator("start_time", "end_time")
    @classmethod
    def _ends_after_it_starts(cls, value: int, info: ValidationInfo) -> int:
        # Of fields, not of the model: a model's validator would be left out where any other field is wrong.
        start = value if info.field_name == "start_time" else info.data.get("start_time", value)
        end = value if info.field_name == "end_time" else info.data.get("end_time", value)
        if end < start:
            raise wrong("end_before_start", END_BEFORE_START)
        return value
