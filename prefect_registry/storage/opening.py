"""From a URL, as people write it, to the storage behind it. Backends are imported only when they are used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from prefect_registry.errors import ConfigurationError, InvalidInput, UnsupportedStorage
from prefect_registry.storage.base import Storage
from prefect_registry.storage.secrets import without_credentials

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_BUCKETS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_AZURE_HOST = re.compile(r"^(?P<container>[^@/]+)@(?P<account>[^./]+)\.(?:dfs|blob)\.[^/]+(?P<path>/.*)?$")
_EXAMPLES = "Write for example /data/registry, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"


def open_storage(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Storage:
    """The raw storage behind ``url``; nothing is read or written yet.

    Args:
        url: A path, ``file://``, ``memory://name``, ``s3://``, ``gs://`` (``gcs://``), ``az://`` (``abfs://``), or any
            other URL that fsspec knows.
        storage_options: Credentials and settings, as for ``fsspec.filesystem``.

    Raises:
        InvalidInput: The URL cannot be understood.
        ConfigurationError: A package for this kind of storage is not installed.
        UnsupportedStorage: This kind of storage can never hold a registry.
    """
    text = os.fspath(url)
    if not isinstance(text, str) or not text.strip():
        raise _bad(str(text), "it is empty")
    options = dict(storage_options or {})
    if "::" in text.partition("://")[0]:
        raise UnsupportedStorage(
            f"{without_credentials(text)} cannot hold a registry",
            why="A chain of filesystems may cache or rewrite what it is given",
            todo="Use the innermost URL alone",
        )
    match = _SCHEME.match(text)
    scheme = match.group(1).lower() if match else "file"
    if scheme in ("file", "local"):
        return _local(text, options)
    if scheme == "memory":
        return _memory(text)
    if scheme in _BUCKETS:
        return _bucket(text, _BUCKETS[scheme], options)
    return _other(text, scheme, options)


def _local(text: str, options: dict[str, Any]) -> Storage:
    from prefect_registry.storage.local import LocalStorage

    if "\0" in text:
        raise _bad(text, "it contains a NUL")
    if "://" not in text:
        return LocalStorage(text)
    host, path = urlsplit(text).netloc, text.partition("://")[2]
    if host not in ("", "localhost"):
        raise _bad(text, "a file URL has three slashes, as in file:///data/registry")
    path = path.removeprefix("localhost")
    return LocalStorage(unquote(path.lstrip("/") if re.match(r"^/[A-Za-z]:", path) else path))


def _memory(text: str) -> Storage:
    from prefect_registry.storage.memory import MemoryStorage

    return MemoryStorage(text.partition("://")[2].strip("/") or None)


def _bucket(text: str, kind: str, options: dict[str, Any]) -> Storage:
    rest = text.partition("://")[2]
    azure = _AZURE_HOST.match(rest) if kind == "az" else None
    if azure:
        options.setdefault("account_name", azure["account"])
        rest = azure["container"] + (azure["path"] or "")
    rest = rest.rstrip("/")
    bucket, _, prefix = rest.partition("/")
    problem = _bucket_problem(bucket, prefix)
    if problem:
        raise _bad(text, problem)
    url = f"{kind}://{rest}"
    if kind == "s3":
        from prefect_registry.storage.s3 import S3Storage

        return S3Storage(url, options)
    if kind == "gs":
        from prefect_registry.storage.gcs import GCSStorage

        return GCSStorage(url, options)
    _require("adlfs", "pip install 'prefect-registry[azure]'", url)
    from prefect_registry.storage.azure import AzureStorage

    return AzureStorage(url, options)


def _bucket_problem(bucket: str, prefix: str) -> str:
    if not bucket:
        return "it names no bucket"
    if "@" in bucket:
        return "credentials do not belong into a URL, where everybody sees them; pass them as storage options"
    if any(c in bucket + prefix for c in "?#\\") or any(ord(c) < 32 for c in bucket + prefix):
        return "it contains '?', '#', a backslash or a control character"
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        return "its prefix has an empty, '.' or '..' segment"
    return ""


def _other(text: str, scheme: str, options: dict[str, Any]) -> Storage:
    from fsspec import get_filesystem_class

    from prefect_registry.storage.generic import GenericStorage

    shown = without_credentials(text)
    try:
        get_filesystem_class(scheme)
    except ValueError:
        raise _bad(text, f"no filesystem is known for {scheme!r}") from None
    except ImportError as error:
        raise ConfigurationError(
            f"{shown} needs a package that is not installed", why=str(error), todo="Install it, and try again"
        ) from None
    return GenericStorage(text, options)


def _require(package: str, command: str, url: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(f"{url} needs the package {package}", why="It is not installed", todo=f"Run {command}")


def _bad(text: str, problem: str) -> InvalidInput:
    return InvalidInput(
        f"{without_credentials(text)!r:.200} is not the URL of a store",
        why=problem[:1].upper() + problem[1:],
        todo=_EXAMPLES,
        committed="no",
        problems=[problem],
    )
