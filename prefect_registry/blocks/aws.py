"""From the fields of a form, or of somebody else's credentials block, to the options of s3fs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from prefect_registry.blocks.documents import BlockDocument

AWS = "aws-credentials"
MINIO = "minio-credentials"


@dataclass(frozen=True, repr=False)
class S3Settings:
    """How to reach a bucket. Empty and None mean "not set"."""

    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    profile: str = ""
    role_arn: str = ""
    role_external_id: str = ""
    role_session_name: str = ""
    sts_endpoint_url: str = ""
    region: str = ""
    endpoint_url: str = ""
    anonymous: bool = False
    path_style: bool = False
    verify: bool | str | None = None

    def over(self, other: S3Settings) -> S3Settings:
        """These settings, with what they leave open taken from ``other``. A key pair is taken whole or not at all."""
        if self.access_key_id:
            other = replace(other, access_key_id="", secret_access_key="", session_token="")
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            other,
            **{name: value for name, value in own.items() if value not in ("", None, False)}
            | ({"verify": False} if self.verify is False else {}),
        )

    def options(self) -> dict[str, Any]:
        """Those of ``s3fs.S3FileSystem``. Holds secrets."""
        options: dict[str, Any] = {}
        if self.endpoint_url:
            options["endpoint_url"] = self.endpoint_url
        client: dict[str, Any] = {"region_name": self.region} if self.region else {}
        if self.verify is not None:
            client |= {"verify": self.verify}
        if client:
            options["client_kwargs"] = client
        if self.path_style:
            options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
        return options | self._identity()

    def _identity(self) -> dict[str, Any]:
        if self.anonymous:
            return {"anon": True}
        if self.role_arn:
            from prefect_registry.storage.roles import RoleSession

            return {
                "session": RoleSession(
                    role_arn=self.role_arn,
                    external_id=self.role_external_id,
                    session_name=self.role_session_name,
                    access_key_id=self.access_key_id,
                    secret_access_key=self.secret_access_key,
                    session_token=self.session_token,
                    profile=self.profile,
                    region=self.region,
                    endpoint_url=self.sts_endpoint_url,
                    verify=self.verify,
                )
            }
        keys = {"key": self.access_key_id, "secret": self.secret_access_key, "token": self.session_token}
        return {k: v for k, v in (keys | {"profile": self.profile}).items() if v}


def settings_of(document: BlockDocument) -> S3Settings:
    """What an ``aws-credentials`` or ``minio-credentials`` block of prefect-aws says."""
    data = {key: value for key, value in document.data.items() if value is not None}
    client = {key: value for key, value in (data.get("aws_client_parameters") or {}).items() if value is not None}
    role = data.get("assume_role_kwargs") or {}
    addressing = ((client.get("config") or {}).get("s3") or {}).get("addressing_style")
    minio = document.slug == MINIO
    return S3Settings(
        access_key_id=data.get("minio_root_user" if minio else "aws_access_key_id", ""),
        secret_access_key=data.get("minio_root_password" if minio else "aws_secret_access_key", ""),
        session_token=data.get("aws_session_token", ""),
        profile=data.get("profile_name", ""),
        role_arn=data.get("assume_role_arn", ""),
        role_external_id=role.get("ExternalId") or "",
        role_session_name=role.get("RoleSessionName") or "",
        region=data.get("region_name", ""),
        endpoint_url=client.get("endpoint_url", ""),
        path_style=addressing == "path",
        verify=_verify(client),
    )


def _verify(client: dict[str, Any]) -> bool | str | None:
    if client.get("verify") is False:
        return False
    path = client.get("verify_cert_path") or client.get("verify")
    return str(path) if isinstance(path, str) else None
