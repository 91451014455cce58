"""How Python objects become files, and files objects: one module per family of types."""

from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload

__all__ = ["Materializer", "Part", "Payload", "StoredPayload"]
