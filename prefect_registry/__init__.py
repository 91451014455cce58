"""A transactional registry for Prefect flows, in your own bucket. See ``docs/`` and DESIGN words in the README.

Names are imported on first use, so that ``import prefect_registry`` is cheap and a notebook without Prefect's engine
never loads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_registry.lazy import lazily

if TYPE_CHECKING:
    from prefect_registry.blocks import AzureRegistry, FsspecRegistry, GCSRegistry, LocalRegistry, S3Registry
    from prefect_registry.registry import Registry, RegistryProtocol
    from prefect_registry.runs import acurrent_run, current_run, registry_run
    from prefect_registry.sandbox import registry_sandbox

_LAZY = {
    "AzureRegistry": "blocks",
    "FsspecRegistry": "blocks",
    "GCSRegistry": "blocks",
    "LocalRegistry": "blocks",
    "Registry": "registry",
    "RegistryProtocol": "registry",
    "S3Registry": "blocks",
    "acurrent_run": "runs",
    "current_run": "runs",
    "registry_run": "runs",
    "registry_sandbox": "sandbox",
}
__all__ = [
    "AzureRegistry",
    "FsspecRegistry",
    "GCSRegistry",
    "LocalRegistry",
    "Registry",
    "RegistryProtocol",
    "S3Registry",
    "acurrent_run",
    "current_run",
    "registry_run",
    "registry_sandbox",
]
__version__ = "0.1.0"

__getattr__, __dir__ = lazily(__name__, _LAZY)
