"""The registry that a client of reference system 4 is opened on: a name, a URL, a block, a ``Registry``; or the address
of a store, with credentials.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect_registry.credentials import without_user_info
from prefect_registry.errors import ConfigurationError
from prefect_registry.models.exceptions import StoreError
from prefect_registry.storage.secrets import without_credentials

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

log = logging.getLogger("prefect_registry.models")

BUCKET = "MODEL_REGISTRY_BUCKET"
"""Environment variable: the bucket, and maybe a folder in it, of a store that is named by host and port."""
TOKEN_FILES = ("KF_PIPELINES_SA_TOKEN_PATH",)
_KUBERNETES_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_HTTPS = 443
_STORE_SCHEMES = ("http", "https")
_OF_FOLDERS = ("/", ".", "~", "\\")
_HOST = re.compile(r"(localhost|.+[.].+|\[.+\]|.+:\d+)(/.*)?")


def opened(registry: Any) -> Registry:
    """A registry by its name, URL, folder or block; or the one that is given.

    Names and blocks are Prefect's, so the Prefect layer is asked for them: it is named here, not imported.
    """
    if hasattr(registry, "ledger") and hasattr(registry, "registry_id"):
        return registry  # type: ignore[no-any-return]
    return importlib.import_module("prefect_registry.resolve").resolve_registry(registry)  # type: ignore[no-any-return]


def connected(
    server_address: Any,
    port: int | str,
    *,
    secure: bool,
    user_token: str | None = None,
    custom_ca: str | None = None,
) -> Registry:
    """The registry at an address, as ``secure_connection`` and ``insecure_connection`` take it.

    ``server_address`` is a block's name, a registry's URL, a block or a ``Registry``: then its own settings hold, and
    neither port nor token is used. Or it is the host of an S3 server, whose bucket is in the URL's path or in
    ``MODEL_REGISTRY_BUCKET``; then ``user_token`` is ``access_key:secret_key``.

    Raises:
        ConfigurationError: The address is neither, or leaves the bucket open; or there is a certificate for a registry
            that is named by itself.
        StoreError: A secure connection to a server needs credentials.
    """
    if not is_server(server_address, port):
        if custom_ca is not None:
            raise ConfigurationError(
                "A registry that is named by itself takes no certificate",
                why="Its TLS settings are those of its block, or of its storage_options",
                todo="Put it into the block, or name the host and port of an S3 server",
                committed="no",
            )
        if user_token is not None:
            log.warning("user_token is not used: a registry that is named by itself has credentials of its own")
        return opened(server_address)
    endpoint, bucket = _endpoint(server_address, port, secure)
    if secure and user_token is None:
        raise StoreError(
            "user token must be provided for secure connection",
            why="A secure connection to a server needs credentials",
            todo="Pass user_token='access_key:secret_key', or open the registry by the name of a block",
            committed="no",
        )
    url, options = f"s3://{bucket}", _options(endpoint, user_token, custom_ca if secure else False)
    return importlib.import_module("prefect_registry.resolve").open_shared(url, options)  # type: ignore[no-any-return]


def is_server(address: object, port: int | str) -> bool:
    """Whether an address names a server, and not a registry by itself."""
    if not isinstance(address, str):
        return False
    scheme, separator, _ = address.partition("://")
    if separator:
        return scheme in _STORE_SCHEMES
    if address.startswith(_OF_FOLDERS):
        return False
    return str(port) != str(_HTTPS) or bool(_HOST.fullmatch(address))


def _endpoint(address: str, port: int | str, secure: bool) -> tuple[str, str]:
    """The URL of a server, and the bucket with the folder in it. A port in the address wins."""
    url = without_user_info(address if "://" in address else f"http{'s' if secure else ''}://{address}")
    shown, problems = without_credentials(url), []
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _not_clear([f"{shown!r:.100} is no URL: {error!s:.100}"]) from None
    if secure and parts.scheme == "http":
        problems.append(f"{shown!r:.100} is not https, and the connection is to be secure")
    try:
        found = parts.port if parts.port is not None else int(port)
    except ValueError:
        problems.append(f"port {port!r:.40} is not a number")
        found = 0
    bucket = parts.path.strip("/") or os.environ.get(BUCKET, "").strip("/")
    if not bucket:
        problems.append(f"no bucket is named: neither by the path of {shown!r:.100} nor by {BUCKET}")
    if problems:
        raise _not_clear(problems)
    default = found == (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{'' if default else f':{found}'}", bucket


def _not_clear(problems: list[str]) -> ConfigurationError:
    return ConfigurationError(
        "The address of the model registry is not clear",
        why="; ".join(problems),
        todo="Pass the name of a block, the URL of a registry, or the host of an S3 server and a bucket: "
        f"'https://minio.example.com/bucket', or {BUCKET}",
        committed="no",
    )


def _options(endpoint: str, user_token: str | None, verify: str | bool | None) -> dict[str, Any]:
    options: dict[str, Any] = {"endpoint_url": endpoint}
    if verify is not None:
        options["client_kwargs"] = {"verify": verify}
    if user_token is not None:
        key, separator, rest = user_token.partition(":")
        secret, _, session = rest.partition(":")
        if not (key and separator and secret):
            raise ConfigurationError(
                "user_token is not of the form that an S3 server needs",
                why="It has no ':' between an access key and a secret key",
                todo="Pass access_key:secret_key, or access_key:secret_key:session_token",
                committed="no",
            )
        options |= {"key": key, "secret": secret} | ({"token": session} if session else {})
    return options


def certificates_from(custom_ca: str | None, variable: str | None) -> str | None:
    """The file of certificates: given, or named by the variable of that name.

    Raises ``ConfigurationError`` when that is not set: else other authorities would be trusted than was meant.
    """
    if custom_ca is not None or variable is None:
        return custom_ca
    if not os.environ.get(variable):
        raise ConfigurationError(
            f"The environment variable {variable} is not set",
            why="It was to name the file with the certificates to trust",
            todo="Set it, or pass custom_ca",
            committed="no",
        )
    return os.environ[variable]


def token_from(user_token: str | None, variable: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token of the high-level client: given, of the variable of that name, or of the files that Kubeflow and
    Kubernetes leave for a service account; None when there is none. Raises ``StoreError`` when it cannot be read.
    """
    if user_token is not None:
        return user_token
    if variable is not None:
        if not environment.get(variable):
            raise StoreError(
                f"The environment variable {variable} is not set",
                why="It was to hold the token",
                todo="Set it, or pass user_token",
                committed="no",
            )
        return environment[variable]
    files = [Path(environment[name]) for name in TOKEN_FILES if environment.get(name)]
    for file in [*files, _KUBERNETES_TOKEN]:
        try:
            if file.is_file():
                return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(
                f"The token of the service account in {str(file)!r:.250} cannot be read",
                why=f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'it is no text'}",
                todo="Make it readable for this user, or pass user_token",
                committed="no",
            ) from error
    return None
