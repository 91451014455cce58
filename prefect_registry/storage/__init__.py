"""Bytes under keys, on any filesystem: the only layer that talks to the user's store (DESIGN.md 5)."""

from prefect_registry.storage.base import CopyOf, Download, ObjectInfo, Progress, Storage, Stored, Upload
from prefect_registry.storage.opening import open_storage

__all__ = ["CopyOf", "Download", "ObjectInfo", "Progress", "Storage", "Stored", "Upload", "open_storage"]
