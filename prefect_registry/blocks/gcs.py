"""A registry in a bucket of Google Cloud Storage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, SecretStr
from typing_extensions import override

from prefect_registry.blocks.base import (
    Problem,
    RegistryBlock,
    bucket_problems,
    endpoint_problems,
    logo,
    merged,
    prefix_problems,
    secret,
    url_of,
)
from prefect_registry.blocks.documents import read, reference_problems

GCP = "gcp-credentials"
AMBIENT = "google_default"
"""gcsfs's name for Google's own search: environment variable, gcloud's login, the machine's service account."""


class GCSRegistry(RegistryBlock):
    """A registry in a bucket of Google Cloud Storage.

    With no credentials at all, those of the environment are used (Application Default Credentials): a variable,
    gcloud's login, the machine's service account, workload identity.

    Example:
        Open the registry and read a table:
        ```python
        from prefect_registry.blocks import GCSRegistry

        registry = GCSRegistry.load("BLOCK_NAME").get_registry()
        flights = registry.table("flights").to_table()
        ```
    """

    _block_type_name: ClassVar[Any] = "Data Registry (GCS)"
    _block_type_slug: ClassVar[Any] = "data-registry-gcs"
    _logo_url: ClassVar[Any] = logo("gcs")
    _description: ClassVar[Any] = (
        "A transactional registry of runs and datasets in a bucket of Google Cloud Storage. Whatever a flow publishes "
        "becomes visible together when it succeeds, and never when it fails."
    )

    bucket: str = Field(min_length=1, description="Name of the bucket, which must exist.")
    prefix: str = Field(
        default="", description="Path inside the bucket, such as team/registry. Empty for the whole bucket."
    )
    project: str = Field(
        default="", description="Project that requests are made for. Empty for the one of the credentials."
    )
    service_account_info: SecretStr = Field(
        default=SecretStr(""),
        title="Service Account Key (JSON)",
        description="Content of the key file of a service account. Empty to use one of the ways below, or the "
        "credentials of the environment.",
    )
    service_account_file: str = Field(
        default="",
        title="Service Account Key File",
        description="Path on the workers of the key file of a service account.",
    )
    credentials_block: str = Field(
        default="",
        description="Existing block to take credentials from, such as gcp-credentials/prod. It needs no package "
        "installed.",
    )
    anonymous: bool = Field(default=False, description="Send no credentials, for public buckets and emulators.")
    endpoint_url: str = Field(
        default="",
        title="Endpoint URL",
        description="Address of the server, for emulators and private endpoints. Empty for Google's.",
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="More options of gcsfs, such as requester_pays. They win over the fields above. Not for secrets: "
        "they are shown in the clear.",
    )

    @override
    def problems(self) -> Iterator[Problem]:
        yield from bucket_problems("bucket", self.bucket, "gs")
        yield from prefix_problems(self.prefix)
        yield from endpoint_problems("endpoint_url", self.endpoint_url)
        yield from reference_problems(self.credentials_block, (GCP,))
        ways = {
            "service_account_info": bool(secret(self.service_account_info)),
            "service_account_file": bool(self.service_account_file),
            "credentials_block": bool(self.credentials_block),
            "anonymous": self.anonymous,
        }
        given = [name for name, is_set in ways.items() if is_set]
        if len(given) > 1:
            yield given[0], f"is set together with {', '.join(given[1:])}; use one of them"
        if ways["service_account_info"]:
            yield from key_problems("service_account_info", secret(self.service_account_info))

    @override
    def get_url(self) -> str:
        return url_of("gs", self.bucket, self.prefix)

    @override
    def get_storage_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"token": AMBIENT}
        if self.credentials_block:
            options |= _options_of(read(self.credentials_block).data)
        if self.anonymous:
            options["token"] = "anon"
        if secret(self.service_account_info):
            options["token"] = json.loads(secret(self.service_account_info))
        if self.service_account_file:
            options["token"] = self.service_account_file
        for name, value in (("project", self.project), ("endpoint_url", self.endpoint_url)):
            if value:
                options[name] = value
        return merged(options, self.storage_options)


def key_problems(field: str, text: str) -> Iterator[Problem]:
    """What is wrong with the content of a key file. Never quotes it."""
    try:
        key = json.loads(text)
    except ValueError:
        yield field, "is not JSON: paste the whole content of the key file"
        return
    missing = [name for name in ("client_email", "private_key", "token_uri") if name not in (key or ())]
    if not isinstance(key, dict) or (missing and key.get("type") != "authorized_user"):
        yield field, f"is not the key of a service account: it lacks {', '.join(missing)}"


def _options_of(data: dict[str, Any]) -> dict[str, Any]:
    """What a ``gcp-credentials`` block of prefect-gcp says."""
    key = data.get("service_account_info")
    token = json.loads(key) if isinstance(key, str) else key
    options = {"token": token or data.get("service_account_file") or AMBIENT}
    return options | ({"project": data["project"]} if data.get("project") else {})
