"""Where the demo's registry lives: a folder, or a bucket of a SeaweedFS that it starts. Both are named by a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from flows.demo.environment import BLOCK
from prefect_registry import LocalRegistry, Registry, S3Registry
from prefect_registry.blocks.base import RegistryBlock
from prefect_registry.resolve.lookup import registry_types


@contextlib.contextmanager
def folder_block(folder: Path) -> Iterator[RegistryBlock]:
    """A registry in a folder."""
    yield LocalRegistry(path=str(folder / "registry"))


@contextlib.contextmanager
def s3_block() -> Iterator[RegistryBlock]:
    """A registry in a bucket of a SeaweedFS server, which is started and ended here."""
    from prefect_registry.testing.servers import seaweedfs

    with seaweedfs() as server:
        options = server.storage_options
        yield S3Registry(
            bucket=server.bucket,
            prefix="demo",
            endpoint_url=server.endpoint,
            region="us-east-1",
            access_key_id=SecretStr(options["key"]),
            secret_access_key=SecretStr(options["secret"]),
            path_style=True,
        )


def save(block: RegistryBlock) -> Registry:
    """Register our block types, save the block, and open its registry."""
    for block_type in registry_types().values():
        cast(Any, block_type).register_type_and_schema()
    cast(Any, block).save(BLOCK, overwrite=True)
    return block.get_registry()
