"""A registry in a bucket of Amazon S3, or of anything that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, SecretStr
from typing_extensions import override

from prefect_registry.blocks.aws import AWS, MINIO, S3Settings, settings_of
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


class S3Registry(RegistryBlock):
    """A registry in a bucket of Amazon S3, MinIO, SeaweedFS, Ceph or another server that speaks S3's protocol.

    With no credentials at all, those of the environment are used: variables, shared files, a container's or
    instance's role.

    Example:
        Open the registry and read a table:
        ```python
        from prefect_registry.blocks import S3Registry

        registry = S3Registry.load("BLOCK_NAME").get_registry()
        flights = registry.table("flights").to_table()
        ```
    """

    _block_type_name: ClassVar[Any] = "Data Registry (S3)"
    _block_type_slug: ClassVar[Any] = "data-registry-s3"
    _logo_url: ClassVar[Any] = logo("s3")
    _description: ClassVar[Any] = (
        "A transactional registry of runs and datasets in a bucket of Amazon S3 or a server that speaks its protocol. "
        "Whatever a flow publishes becomes visible together when it succeeds, and never when it fails."
    )

    bucket: str = Field(min_length=1, description="Name of the bucket, which must exist.")
    prefix: str = Field(
        default="", description="Path inside the bucket, such as team/registry. Empty for the whole bucket."
    )
    endpoint_url: str = Field(
        default="",
        title="Endpoint URL",
        description="Address of the server, such as https://minio.example.com:9000. Empty for Amazon S3.",
    )
    region: str = Field(default="", description="Region of the bucket, such as eu-central-1. Empty for the default.")
    path_style: bool = Field(
        default=False,
        description="Put the bucket in the path of the URL and not in the host name. Most servers other than "
        "Amazon's need it.",
    )
    access_key_id: SecretStr = Field(
        default=SecretStr(""),
        title="Access Key ID",
        description="Access key. Empty to use the credentials block below or those of the environment.",
    )
    secret_access_key: SecretStr = Field(
        default=SecretStr(""),
        title="Secret Access Key",
        description="Secret that belongs to the access key.",
    )
    session_token: SecretStr = Field(
        default=SecretStr(""), description="Session token that belongs to a temporary access key."
    )
    credentials_block: str = Field(
        default="",
        description="Existing block to take credentials from, such as aws-credentials/prod or "
        "minio-credentials/prod. It needs no package installed, and fields set here win over it.",
    )
    profile: str = Field(default="", description="Profile in the workers' shared AWS configuration files.")
    role_arn: str = Field(
        default="",
        title="Role ARN",
        description="Role to assume with the credentials above. Its temporary credentials are renewed in time.",
    )
    role_external_id: str = Field(
        default="", title="Role External ID", description="External ID that the role's trust policy asks for."
    )
    sts_endpoint_url: str = Field(
        default="",
        title="STS Endpoint URL",
        description="Address of the service that gives out the role's credentials. Empty for Amazon's.",
    )
    anonymous: bool = Field(default=False, description="Sign no requests, for buckets that are public.")
    verify_tls: bool = Field(
        default=True,
        title="Verify TLS",
        description="Check the server's certificate. Turn it off for a test server only.",
    )
    ca_bundle: str = Field(
        default="",
        title="CA Bundle",
        description="Path on the workers of a PEM file with the certificate authorities to trust.",
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="More options of s3fs, such as requester_pays, or s3_additional_kwargs with ServerSideEncryption "
        "and SSEKMSKeyId. They win over the fields above. Not for secrets: they are shown in the clear.",
    )

    @override
    def problems(self) -> Iterator[Problem]:
        yield from bucket_problems("bucket", self.bucket, "s3")
        yield from prefix_problems(self.prefix)
        yield from endpoint_problems("endpoint_url", self.endpoint_url)
        yield from endpoint_problems("sts_endpoint_url", self.sts_endpoint_url)
        yield from reference_problems(self.credentials_block, (AWS, MINIO))
        key, password = secret(self.access_key_id), secret(self.secret_access_key)
        if bool(key) != bool(password):
            yield (
                ("secret_access_key" if key else "access_key_id"),
                "is empty, though the other half is set",
            )
        if secret(self.session_token) and not key:
            yield "access_key_id", "is empty, though there is a session token"
        if self.anonymous and (key or self.profile or self.role_arn or self.credentials_block):
            yield "anonymous", "is on, though there are credentials; turn it off or clear them"
        if self.ca_bundle and not self.verify_tls:
            yield "verify_tls", "is off, though there is a CA bundle to verify with"
        if self.role_arn and not self.role_arn.startswith("arn:"):
            yield "role_arn", "must start with arn:"
        if self.role_external_id and not (self.role_arn or self.credentials_block):
            yield "role_arn", "is empty, though there is an external ID for it"

    @override
    def get_url(self) -> str:
        return url_of("s3", self.bucket, self.prefix)

    @override
    def get_storage_options(self) -> dict[str, Any]:
        return merged(self._settings().options(), self.storage_options)

    def _settings(self) -> S3Settings:
        own = S3Settings(
            access_key_id=secret(self.access_key_id),
            secret_access_key=secret(self.secret_access_key),
            session_token=secret(self.session_token),
            profile=self.profile,
            role_arn=self.role_arn,
            role_external_id=self.role_external_id,
            sts_endpoint_url=self.sts_endpoint_url,
            region=self.region,
            endpoint_url=self.endpoint_url,
            anonymous=self.anonymous,
            path_style=self.path_style,
            verify=self.ca_bundle or (None if self.verify_tls else False),
        )
        return own.over(settings_of(read(self.credentials_block))) if self.credentials_block else own
