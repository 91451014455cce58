"""Registry blocks: one Prefect block type, and one form in the UI, per kind of storage.

``prefect block register -m prefect_registry.blocks`` makes them appear in the block catalogue of the Prefect UI.
"""

from __future__ import annotations

from prefect_registry.blocks.azure import AzureRegistry
from prefect_registry.blocks.fsspec import FsspecRegistry
from prefect_registry.blocks.gcs import GCSRegistry
from prefect_registry.blocks.local import LocalRegistry
from prefect_registry.blocks.s3 import S3Registry

__all__ = ["AzureRegistry", "FsspecRegistry", "GCSRegistry", "LocalRegistry", "S3Registry"]
