"""A registry on any other filesystem that fsspec knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from typing_extensions import override

from prefect_registry.blocks.base import Problem, RegistryBlock, logo, merged, secret


class FsspecRegistry(RegistryBlock):
    """A registry on any other filesystem that fsspec knows.

    When it is opened, the filesystem has to prove that it creates an object only if it is absent; one that cannot is
    refused.

    Example:
        Open the registry and read a table:
        ```python
        from prefect_registry.blocks import FsspecRegistry

        registry = FsspecRegistry.load("BLOCK_NAME").get_registry()
        flights = registry.table("flights").to_table()
        ```
    """

    _block_type_name: ClassVar[Any] = "Data Registry (fsspec)"
    _block_type_slug: ClassVar[Any] = "data-registry-fsspec"
    _logo_url: ClassVar[Any] = logo("fsspec")
    _description: ClassVar[Any] = (
        "A transactional registry of runs and datasets on any filesystem of fsspec that can create an object only if "
        "it is absent. Whatever a flow publishes becomes visible together when it succeeds, and never when it fails."
    )

    url: str = Field(
        min_length=1,
        title="URL",
        description="Root of the registry, such as sftp://user@host/registry. A password does not belong here.",
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="Options of the filesystem. Not for secrets: they are shown in the clear.",
    )
    secret_options: SecretStr = Field(
        default=SecretStr(""),
        title="Secret Options (JSON)",
        description='Options of the filesystem that are secret, as a JSON object such as {"password": "…"}.',
    )

    @override
    def problems(self) -> Iterator[Problem]:
        if "://" not in self.url:
            yield "url", "must start with the name of a filesystem and ://"
        elif ":" in urlsplit(self.url).netloc.rpartition("@")[0]:
            yield "url", "must not hold a password: put it into secret_options"
        if secret(self.secret_options):
            try:
                options = json.loads(secret(self.secret_options))
            except ValueError:
                options = None
            if not isinstance(options, dict):
                yield "secret_options", "is not a JSON object"

    @override
    def get_url(self) -> str:
        return self.url.rstrip("/")

    @override
    def get_storage_options(self) -> dict[str, Any]:
        text = secret(self.secret_options)
        return merged(self.storage_options, json.loads(text) if text else {})
