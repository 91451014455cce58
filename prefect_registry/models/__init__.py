"""Registered models, their versions and artifacts (reference system 4), in the registry of the runs that made them.

:class:`ModelRegistry` is the client that most people want, :class:`ModelRegistryAPIClient` the asynchronous one, with a
call for each thing that there is.

Names are imported on first use: what tells of a run's decision needs few of these modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_registry.lazy import lazily

if TYPE_CHECKING:
    from prefect_registry.models.aliasing import AliasMove
    from prefect_registry.models.client import ModelRegistry
    from prefect_registry.models.comparing import Comparison
    from prefect_registry.models.core import ModelRegistryAPIClient
    from prefect_registry.models.exceptions import (
        DuplicateError,
        MissingMetadata,
        ModelNotFound,
        ServerError,
        StoreError,
        TypeNotFound,
        UnsupportedType,
    )
    from prefect_registry.models.histories import Difference, HistoryEntry
    from prefect_registry.models.paging import ListOptions, OrderByField, Pager, SortOrder
    from prefect_registry.models.registering import Registered
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
    from prefect_registry.models.uploading import S3Params, Uploaded, delete_from_s3, save_to_s3, upload_to_s3
    from prefect_registry.models.utils import dataset_uri, object_uri, s3_uri_from

_LAZY = {
    "AliasMove": "aliasing",
    "Artifact": "resources",
    "ArtifactState": "resources",
    "ArtifactType": "resources",
    "Comparison": "comparing",
    "DataSet": "resources",
    "Difference": "histories",
    "DocArtifact": "resources",
    "DuplicateError": "exceptions",
    "HistoryEntry": "histories",
    "ListOptions": "paging",
    "Metric": "resources",
    "MissingMetadata": "exceptions",
    "ModelArtifact": "resources",
    "ModelNotFound": "exceptions",
    "ModelRegistry": "client",
    "ModelRegistryAPIClient": "core",
    "ModelVersion": "resources",
    "ModelVersionState": "resources",
    "OrderByField": "paging",
    "Pager": "paging",
    "Parameter": "resources",
    "ParameterType": "resources",
    "Registered": "registering",
    "RegisteredModel": "resources",
    "RegisteredModelState": "resources",
    "S3Params": "uploading",
    "ServerError": "exceptions",
    "SortOrder": "paging",
    "StoreError": "exceptions",
    "TypeNotFound": "exceptions",
    "UNSET": "resources",
    "UnsupportedType": "exceptions",
    "Uploaded": "uploading",
    "dataset_uri": "utils",
    "delete_from_s3": "uploading",
    "object_uri": "utils",
    "s3_uri_from": "utils",
    "save_to_s3": "uploading",
    "upload_to_s3": "uploading",
}
__all__ = [
    "UNSET",
    "AliasMove",
    "Artifact",
    "ArtifactState",
    "ArtifactType",
    "Comparison",
    "DataSet",
    "Difference",
    "DocArtifact",
    "DuplicateError",
    "HistoryEntry",
    "ListOptions",
    "Metric",
    "MissingMetadata",
    "ModelArtifact",
    "ModelNotFound",
    "ModelRegistry",
    "ModelRegistryAPIClient",
    "ModelVersion",
    "ModelVersionState",
    "OrderByField",
    "Pager",
    "Parameter",
    "ParameterType",
    "Registered",
    "RegisteredModel",
    "RegisteredModelState",
    "S3Params",
    "ServerError",
    "SortOrder",
    "StoreError",
    "TypeNotFound",
    "UnsupportedType",
    "Uploaded",
    "dataset_uri",
    "delete_from_s3",
    "object_uri",
    "s3_uri_from",
    "save_to_s3",
    "upload_to_s3",
]

__getattr__, __dir__ = lazily(__name__, _LAZY)
