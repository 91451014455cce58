"""A registry in a container of Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from typing_extensions import override

from prefect_registry.blocks.base import (
    Problem,
    RegistryBlock,
    bucket_problems,
    logo,
    merged,
    prefix_problems,
    secret,
    url_of,
)
from prefect_registry.blocks.documents import read, reference_problems

AZURE = "azure-blob-storage-credentials"


class AzureRegistry(RegistryBlock):
    """A registry in a container of Azure Blob Storage. It needs the extra ``prefect-registry[azure]``.

    With an account name and no credentials, those of the environment are used: managed or workload identity,
    variables, the login of Azure's command line.

    Example:
        Open the registry and read a table:
        ```python
        from prefect_registry.blocks import AzureRegistry

        registry = AzureRegistry.load("BLOCK_NAME").get_registry()
        flights = registry.table("flights").to_table()
        ```
    """

    _block_type_name: ClassVar[Any] = "Data Registry (Azure)"
    _block_type_slug: ClassVar[Any] = "data-registry-azure"
    _logo_url: ClassVar[Any] = logo("azure")
    _description: ClassVar[Any] = (
        "A transactional registry of runs and datasets in a container of Azure Blob Storage. Whatever a flow publishes "
        "becomes visible together when it succeeds, and never when it fails."
    )

    container: str = Field(min_length=1, description="Name of the container, which must exist.")
    prefix: str = Field(
        default="", description="Path inside the container, such as team/registry. Empty for the whole container."
    )
    account_name: str = Field(
        default="", description="Name of the storage account. Empty only with a connection string or credentials block."
    )
    connection_string: SecretStr = Field(
        default=SecretStr(""), description="Connection string of the storage account, which names account and key."
    )
    account_key: SecretStr = Field(default=SecretStr(""), description="Access key of the storage account.")
    sas_token: SecretStr = Field(
        default=SecretStr(""),
        title="SAS token",
        description="Shared access signature that allows to read, write, create, list and delete.",
    )
    tenant_id: str = Field(
        default="", title="Tenant ID", description="Directory of the service principal that is used."
    )
    client_id: str = Field(default="", title="Client ID", description="Service principal that is used.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="Secret of the service principal.")
    credentials_block: str = Field(
        default="",
        description="Existing block to take credentials from, such as azure-blob-storage-credentials/prod. It needs no "
        "package installed.",
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="More options of adlfs, such as account_host. They win over the fields above. Not for secrets: "
        "they are shown in the clear.",
    )

    @override
    def problems(self) -> Iterator[Problem]:
        yield from bucket_problems("container", self.container, "az")
        yield from prefix_problems(self.prefix)
        yield from reference_problems(self.credentials_block, (AZURE,))
        principal = bool(self.tenant_id or self.client_id or secret(self.client_secret))
        ways = {
            "connection_string": bool(secret(self.connection_string)),
            "account_key": bool(secret(self.account_key)),
            "sas_token": bool(secret(self.sas_token)),
            "client_id": principal,
            "credentials_block": bool(self.credentials_block),
        }
        given = [name for name, is_set in ways.items() if is_set]
        if len(given) > 1:
            yield given[0], f"is set together with {', '.join(given[1:])}; use one of them"
        if principal and not (self.tenant_id and self.client_id and secret(self.client_secret)):
            yield "client_id", "needs tenant_id and client_secret: a service principal is all three"
        if not self.account_name and not (ways["connection_string"] or ways["credentials_block"]):
            yield "account_name", "is empty, and there is no connection string or credentials block that names it"
        elif self.account_name and not self.account_name.isalnum():
            yield "account_name", "must be the name only, such as mycompanydata, and not an address"

    @override
    def get_url(self) -> str:
        return url_of("az", self.container, self.prefix)

    @override
    def get_storage_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"anon": False}
        if self.credentials_block:
            options |= _options_of(read(self.credentials_block).data)
        own = {
            "account_name": self.account_name,
            "connection_string": secret(self.connection_string),
            "account_key": secret(self.account_key),
            "sas_token": secret(self.sas_token).removeprefix("?"),
            "tenant_id": self.tenant_id,
            "client_id": self.client_id,
            "client_secret": secret(self.client_secret),
        }
        return merged(options | {name: value for name, value in own.items() if value}, self.storage_options)


def _options_of(data: dict[str, Any]) -> dict[str, Any]:
    """What an ``azure-blob-storage-credentials`` block of prefect-azure says."""
    if data.get("connection_string"):
        return {"connection_string": data["connection_string"]}
    host = urlsplit(data.get("account_url") or "").netloc
    options = {"account_name": host.partition(".")[0], "account_host": host}
    names = ("tenant_id", "client_id", "client_secret")
    return {k: v for k, v in (options | {name: data.get(name) for name in names}).items() if v}
