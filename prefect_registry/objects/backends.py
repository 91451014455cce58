"""Stores under the names of reference system 3: small factories of what ``Registry(backend=…)`` takes."""

from __future__ import annotations

import os
from typing import Any

from prefect_registry.errors import InvalidInput
from prefect_registry.storage.base import Storage
from prefect_registry.storage.opening import open_storage


def LocalRegistryBackend(uri: str | os.PathLike[str]) -> Storage:
    """A folder: a path, or a ``file://`` URL."""
    return open_storage(uri)


def S3RegistryBackend(
    endpoint: str = "",
    access_key: str = "",
    secret_key: str = "",
    bucket: str = "",
    secure: bool = True,
    *,
    prefix: str = "",
    region: str = "",
    session_token: str = "",
    storage_options: dict[str, Any] | None = None,
) -> Storage:
    """A bucket of Amazon S3 or of a server that speaks its protocol. Also called ``MinioRegistryBackend``.

    Args:
        endpoint: Host and port (``localhost:9000``) or a URL; empty for Amazon.
        access_key, secret_key, session_token: Empty to take the credentials of the environment.
        bucket: The bucket; ``prefix`` is a folder in it.
        secure: https, where ``endpoint`` does not say.
        storage_options: More options of s3fs; they win.
    """
    if not bucket:
        raise InvalidInput.of("the backend", ["bucket is empty"])
    if bool(access_key) != bool(secret_key):
        raise InvalidInput.of("the backend", ["access_key and secret_key are given together, or neither"])
    options: dict[str, Any] = {"key": access_key, "secret": secret_key, "token": session_token}
    options = {name: value for name, value in options.items() if value}
    if endpoint:
        options["endpoint_url"] = endpoint if "://" in endpoint else f"http{'s' if secure else ''}://{endpoint}"
    if region:
        options["client_kwargs"] = {"region_name": region}
    url = "/".join(part.strip("/") for part in (f"s3://{bucket}", prefix) if part)
    return open_storage(url, {**options, **(storage_options or {})})


MinioRegistryBackend = S3RegistryBackend


def GCPRegistryBackend(
    uri: str = "",
    project_id: str = "",
    bucket_name: str = "",
    credentials_path: str | os.PathLike[str] = "",
    *,
    prefix: str = "",
    storage_options: dict[str, Any] | None = None,
) -> Storage:
    """A bucket of Google Cloud Storage.

    Args:
        uri: ``gs://bucket/prefix``; or ``bucket_name``, and ``prefix`` for a folder in it.
        project_id: The project, where it is needed.
        credentials_path: The key file of a service account; empty to take the credentials of the environment.
        storage_options: More options of gcsfs; they win.
    """
    if not (uri or bucket_name):
        raise InvalidInput.of("the backend", ["uri and bucket_name are empty"])
    if uri and bucket_name and uri.removeprefix("gs://").split("/")[0] != bucket_name:
        raise InvalidInput.of("the backend", [f"uri {uri!r:.80} is not in the bucket {bucket_name!r:.80}"])
    options: dict[str, Any] = {"project": project_id, "token": os.fspath(credentials_path)}
    options = {name: value for name, value in options.items() if value}
    url = "/".join(part.strip("/") for part in (uri or f"gs://{bucket_name}", prefix) if part)
    return open_storage(url, {**options, **(storage_options or {})})
