"""Save the block of a registry in a folder, from environment variables.

    REGISTRY_LOCAL_PATH=/data/registry python -m blocks.local

It may run as often as you like; the block of that name is replaced. REGISTRY_BLOCK_NAME is its name, "default" without.

    REGISTRY_LOCAL_PATH             the folder, absolute or below ~
    REGISTRY_LOCAL_VERSION_OBJECTS  true: keep every version of saved objects
    REGISTRY_LOCAL_MUTABLE_OBJECTS  true: let saved objects be overwritten
"""

from __future__ import annotations

from prefect_registry.blocks import LocalRegistry
from prefect_registry.blocks.environment import save_from_environment

if __name__ == "__main__":
    save_from_environment(LocalRegistry)
