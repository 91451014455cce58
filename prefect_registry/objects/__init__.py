"""Versioned objects: any Python object or folder under ``name@version`` (reference system 3).

They are saved and loaded with :class:`prefect_registry.Registry`; here is what goes with it.
"""

from prefect_registry.objects.backends import (
    GCPRegistryBackend,
    LocalRegistryBackend,
    MinioRegistryBackend,
    S3RegistryBackend,
)
from prefect_registry.objects.batches import BatchResult
from prefect_registry.objects.conflicts import OnConflict
from prefect_registry.objects.errors import RegistryObjectNotFound, RegistryVersionConflict
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.objects.telling import AliasMove
from prefect_registry.objects.verifying import VerifyLevel
from prefect_registry.objects.versions import Version

__all__ = [
    "AliasMove",
    "BatchResult",
    "GCPRegistryBackend",
    "LocalRegistryBackend",
    "Materializer",
    "MinioRegistryBackend",
    "OnConflict",
    "Part",
    "Payload",
    "RegistryObjectNotFound",
    "RegistryVersionConflict",
    "S3RegistryBackend",
    "StoredPayload",
    "VerifyLevel",
    "Version",
]
