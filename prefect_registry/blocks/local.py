"""A registry in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from prefect_registry.blocks.base import Problem, RegistryBlock, logo


class LocalRegistry(RegistryBlock):
    """A registry in a folder of a local disk, or of a disk that all workers have mounted under the same path.

    Example:
        Open the registry and read a table:
        ```python
        from prefect_registry.blocks import LocalRegistry

        registry = LocalRegistry.load("BLOCK_NAME").get_registry()
        flights = registry.table("flights").to_table()
        ```
    """

    _block_type_name: ClassVar[Any] = "Data Registry (Local)"
    _block_type_slug: ClassVar[Any] = "data-registry-local"
    _logo_url: ClassVar[Any] = logo("local")
    _description: ClassVar[Any] = (
        "A transactional registry of runs and datasets in a folder. Whatever a flow publishes becomes visible "
        "together when it succeeds, and never when it fails."
    )

    path: str = Field(
        min_length=1,
        title="Folder",
        description="Absolute path of the folder, or one below a home folder such as ~/registry. It is made on the "
        "first write. Every worker that uses this block must see the same folder under this path.",
    )

    @override
    def problems(self) -> Iterator[Problem]:
        if not self.path:
            yield "path", "is empty: it must be the path of a folder"
        elif "://" in self.path:
            yield "path", "must be a path, not a URL; use the block type of that storage for a URL"
        elif not (
            self.path.startswith("~")
            or PurePosixPath(self.path).is_absolute()
            or PureWindowsPath(self.path).is_absolute()
        ):
            yield "path", "must be absolute or start with ~, for each worker has another working folder"

    @override
    def get_url(self) -> str:
        return os.path.abspath(os.path.expanduser(self.path))

    @override
    def get_storage_options(self) -> dict[str, Any]:
        return {}
