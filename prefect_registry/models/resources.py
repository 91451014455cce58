"""Registered models, their versions and artifacts, as users hold them (reference system 4).

Ids and times are given by the registry: ``id`` is None until something is registered. Times are texts of milliseconds
since 1970, as in the reference system.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, InstanceOf, StrictBool, StrictFloat, StrictInt, StrictStr

from prefect_registry.notebook import shown


class Unset:
    """The class of :data:`UNSET`."""

    _only: ClassVar[Unset | None] = None

    def __new__(cls) -> Unset:
        """There is one."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset()
"""In an update: clear this field. None keeps what is there."""


class RegisteredModelState(StrEnum):
    """Archived models are left out of lists unless they are asked for."""

    LIVE = "LIVE"
    ARCHIVED = "ARCHIVED"


class ModelVersionState(StrEnum):
    """Archived versions are left out of lists unless they are asked for."""

    LIVE = "LIVE"
    ARCHIVED = "ARCHIVED"


class ArtifactState(StrEnum):
    """What is known of an artifact's bytes. Those of datasets of this registry follow the dataset (SEEDS)."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    LIVE = "LIVE"
    MARKED_FOR_DELETION = "MARKED_FOR_DELETION"
    DELETED = "DELETED"
    ABANDONED = "ABANDONED"
    REFERENCE = "REFERENCE"


class ArtifactType(StrEnum):
    """The types of artifacts. An artifact never changes its type."""

    MODEL_ARTIFACT = "model-artifact"
    DOC_ARTIFACT = "doc-artifact"
    DATASET_ARTIFACT = "dataset-artifact"
    METRIC = "metric"
    PARAMETER = "parameter"


class ParameterType(StrEnum):
    """How the text of a parameter is to be read."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"


def _fits(value: bool | int | float | str) -> bool | int | float | str:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer of more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    return value


PropertyValue: TypeAlias = Annotated[StrictBool | StrictInt | StrictFloat | StrictStr, AfterValidator(_fits)]
Properties: TypeAlias = dict[str, PropertyValue]
"""Custom properties: bool, 64-bit int, finite float, str; an empty text is a label."""
Text: TypeAlias = str | InstanceOf[Unset] | None


class Resource(BaseModel):
    """What everything in the model registry has.

    Attributes:
        id: Given when it is registered; opaque, ordered by time.
        external_id: A name that another system gave it. Models and versions share one namespace, artifacts have
            another.
        custom_properties: In an update None keeps them, a mapping replaces them, ``{}`` and ``UNSET`` clear them.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=(), use_enum_values=False)

    id: str | None = None
    description: Text = None
    external_id: Text = None
    create_time_since_epoch: str | None = None
    last_update_time_since_epoch: str | None = None
    custom_properties: Properties | InstanceOf[Unset] | None = None

    _repr_html_ = shown

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What has a value."""
        return ((name, value) for name, value in super().__repr_args__() if value is not None)


class RegisteredModel(Resource):
    """A model, of which there are versions. Its name is unique in the registry, and never changes."""

    name: str
    owner: Text = None
    state: RegisteredModelState = RegisteredModelState.LIVE

    def __init__(self, name: str, **data: Any) -> None:
        super().__init__(**{"name": name, **data})


class ModelVersion(Resource):
    """A version of a model. Its name is unique in its model, and never changes: up to 250 characters."""

    name: str
    author: Text = None
    registered_model_id: str | None = None
    state: ModelVersionState = ModelVersionState.LIVE

    def __init__(self, name: str, **data: Any) -> None:
        super().__init__(**{"name": name, **data})


class Artifact(Resource):
    """Something that belongs to versions. Without a name it is given one."""

    artifact_type: ClassVar[ArtifactType]

    name: str | None = None
    state: ArtifactState = ArtifactState.UNKNOWN
    experiment_id: Text = None
    experiment_run_id: Text = None

    def __init__(self, name: str | None = None, **data: Any) -> None:
        super().__init__(**{"name": name, **data})


class ModelArtifact(Artifact):
    """A trained model: where its files are, and how to read them. A URI with a password, a token or a signature is
    refused, here and in every artifact: it would be stored for all to see.

    ``uri`` may name an object version or a dataset of this registry: see
    :func:`~prefect_registry.models.utils.object_uri`.
    """

    artifact_type = ArtifactType.MODEL_ARTIFACT

    uri: Text = None
    model_format_name: Text = None
    model_format_version: Text = None
    storage_key: Text = None
    storage_path: Text = None
    service_account_name: Text = None
    model_source_kind: Text = None
    model_source_class: Text = None
    model_source_group: Text = None
    model_source_id: Text = None
    model_source_name: Text = None


class DocArtifact(Artifact):
    """A document about a version: a README, a model card. ``uri`` tells where it is; ``text`` holds it, if it is kept
    here.
    """

    artifact_type = ArtifactType.DOC_ARTIFACT

    uri: Text = None
    text: Text = None


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # pydantic has had a method ``schema``, which this field hides

    class DataSet(Artifact):
        """Data that a version was made from or tested with."""

        artifact_type = ArtifactType.DATASET_ARTIFACT

        uri: Text = None
        digest: Text = None
        source_type: Text = None
        source: Text = None
        schema: Text = None  # type: ignore[assignment]  # the reference system's name
        profile: Text = None


class Metric(Artifact):
    """One measured number. ``timestamp`` is a text of milliseconds since 1970."""

    artifact_type = ArtifactType.METRIC

    value: float | None = None
    timestamp: Text = None
    step: int = 0


class Parameter(Artifact):
    """One parameter of the training: a text, and how to read it."""

    artifact_type = ArtifactType.PARAMETER

    value: Text = None
    parameter_type: ParameterType = ParameterType.STRING


ARTIFACT_CLASSES: Final[dict[str, type[Artifact]]] = {
    str(cls.artifact_type): cls for cls in (ModelArtifact, DocArtifact, DataSet, Metric, Parameter)
}

__all__ = [
    "UNSET",
    "Artifact",
    "ArtifactState",
    "ArtifactType",
    "DataSet",
    "DocArtifact",
    "Metric",
    "ModelArtifact",
    "ModelVersion",
    "ModelVersionState",
    "Parameter",
    "ParameterType",
    "RegisteredModel",
    "RegisteredModelState",
    "Unset",
]
