"""Templates: what a model run of a kind must use and make, and what a dataset of a kind must hold."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, ValidationInfo, field_validator

from prefect_registry.provenance.records.base import Id, Key, ProvenanceModel, Text, duplicates, wrong
from prefect_registry.provenance.records.items import Item


class ResourceUsageType(StrEnum):
    """What a file or folder of a dataset is for."""

    PARAMETER_FILE = "PARAMETER_FILE"
    CONFIG_FILE = "CONFIG_FILE"
    FORCING_DATA = "FORCING_DATA"
    GENERAL_DATA = "GENERAL_DATA"


class Resource(ProvenanceModel):
    """A file, or with ``is_folder`` a folder, of a dataset."""

    description: Text
    usage_type: ResourceUsageType
    optional: bool | None = None
    is_folder: bool | None = None
    additional_metadata: dict[Key, Text] | None = None


class DefinedResource(Resource):
    """One whose path in the dataset is the same in every dataset."""

    path: Text


class DeferredResource(Resource):
    """One whose path each model run tells, under ``key``; it must, unless it is ``optional``."""

    key: Key


class DatasetTemplate(Item):
    """What a dataset must hold. The keys of its deferred resources are unique."""

    item_subtype = "DATASET_TEMPLATE"

    description: Text | None = None
    defined_resources: list[DefinedResource] = Field(default_factory=list)
    deferred_resources: list[DeferredResource] = Field(default_factory=list)

    @field_validator("deferred_resources")
    @classmethod
    def _keys_are_unique(cls, value: list[DeferredResource]) -> list[DeferredResource]:
        twice = duplicates(each.key for each in value)
        if twice:
            raise wrong("duplicate_keys", "Non unique keys of deferred resources: {keys}", keys=", ".join(twice))
        return value


class TemplateResource(ProvenanceModel):
    """A dataset template that a workflow uses; a run must fulfil it, unless it is ``optional``."""

    template_id: Id
    optional: bool | None = None


class WorkflowTemplateAnnotations(ProvenanceModel):
    """Keys of annotations that a run must have, and of some that it may have. All are different."""

    required: list[Key] = Field(default_factory=list)
    optional: list[Key] = Field(default_factory=list)

    @field_validator("required", "optional")
    @classmethod
    def _keys_are_unique(cls, value: list[str], info: ValidationInfo) -> list[str]:
        other = info.data.get("required" if info.field_name == "optional" else "optional", [])
        twice = duplicates([*other, *value])
        if twice:
            raise wrong("duplicate_keys", "Non unique keys of annotations: {keys}", keys=", ".join(twice))
        return value


class WorkflowTemplate(Item):
    """What runs of a model use and make. On each of both sides a dataset template stands once."""

    item_subtype = "MODEL_RUN_WORKFLOW_TEMPLATE"

    software_id: Id
    input_templates: list[TemplateResource] = Field(default_factory=list)
    output_templates: list[TemplateResource] = Field(default_factory=list)
    annotations: WorkflowTemplateAnnotations | None = None

    @field_validator("input_templates", "output_templates")
    @classmethod
    def _ids_are_unique(cls, value: list[TemplateResource]) -> list[TemplateResource]:
        twice = duplicates(each.template_id for each in value)
        if twice:
            raise wrong("duplicate_templates", "Non unique template ids: {ids}", ids=", ".join(twice))
        return value
