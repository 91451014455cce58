"""The types of reference system 4, under the names that its document has."""

from prefect_registry.models.paging import ListOptions, OrderByField, Pager, SortOrder
from prefect_registry.models.resources import (
    UNSET,
    Artifact,
    ArtifactState,
    ArtifactType,
    DataSet,
    DocArtifact,
    Metric,
    ModelArtifact,
    ModelVersion,
    ModelVersionState,
    Parameter,
    ParameterType,
    RegisteredModel,
    RegisteredModelState,
)

__all__ = [
    "UNSET",
    "Artifact",
    "ArtifactState",
    "ArtifactType",
    "DataSet",
    "DocArtifact",
    "ListOptions",
    "Metric",
    "ModelArtifact",
    "ModelVersion",
    "ModelVersionState",
    "OrderByField",
    "Pager",
    "Parameter",
    "ParameterType",
    "RegisteredModel",
    "RegisteredModelState",
    "SortOrder",
]
