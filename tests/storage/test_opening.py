"""From URLs to storages, and what is never shown of them."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from prefect_registry.errors import ConfigurationError, InvalidInput, RegistryError, UnsupportedStorage
from prefect_registry.storage import Storage, open_storage
from prefect_registry.storage.secrets import Scrubber, without_credentials
from prefect_registry.testing.servers import HOST, free_ports

SECRET = "tops3cret/with+odd=characters"


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("/data/registry", "LocalStorage", "/data/registry"),
        ("/data/registry/", "LocalStorage", "/data/registry"),
        ("file:///data/a b%20c", "LocalStorage", "/data/a b c"),
        ("file://localhost/data", "LocalStorage", "/data"),
        ("memory://name", "MemoryStorage", "memory://name"),
        ("s3://bucket", "S3Storage", "s3://bucket"),
        ("s3a://bucket/pre/fix/", "S3Storage", "s3://bucket/pre/fix"),
        ("gs://bucket/p", "GCSStorage", "gs://bucket/p"),
        ("gcs://bucket/p", "GCSStorage", "gs://bucket/p"),
        ("linking-unknown://x", None, ""),
    ],
)
def test_schemes(url: str, kind: str | None, shown: str) -> None:
    """The scheme decides, aliases are one thing, and a slash at the end means nothing."""
    if kind is None:
        with pytest.raises(InvalidInput):
            open_storage(url)
        return
    storage = open_storage(url)
    assert (type(storage).__name__, storage.url) == (kind, shown)
    assert open_storage(storage.url).url == storage.url


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be relative, a ``Path``, or below the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_storage("store").url == str(tmp_path / "store")
    assert open_storage(tmp_path / "store").url == str(tmp_path / "store")
    assert open_storage("~/store").url == str(tmp_path / "home" / "store")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "s3://",
        "s3:///key",
        "s3://bucket/../other",
        "s3://bucket//x",
        "s3://bucket/x?versionId=1",
        "gs://bucket/#x",
        "nonsense://x",
        "file://server/share",
        f"s3://key:{SECRET.replace('/', '')}@bucket/x",
    ],
)
def test_bad_urls(url: str) -> None:
    """A URL that cannot be meant is refused with what is wrong and what to write, and shows no password."""
    with pytest.raises(InvalidInput) as caught:
        open_storage(url)
    assert caught.value.what
    assert caught.value.why
    assert caught.value.todo
    assert SECRET.replace("/", "") not in f"{caught.value} {caught.value!r} {caught.value.as_dict()}"


def test_chains_are_refused() -> None:
    """A filesystem around a filesystem may be a cache."""
    with pytest.raises(UnsupportedStorage):
        open_storage("simplecache::s3://bucket/x")


def test_missing_package() -> None:
    """A filesystem whose package is not installed says which to install."""
    with pytest.raises(ConfigurationError, match="paramiko"):
        open_storage("sftp://host/path")


def _attempts(port: int) -> list[Storage]:
    endpoint = f"http://{HOST}:{port}"
    return [
        open_storage(
            "s3://bucket/x", {"key": "AKIAEXAMPLE", "secret": SECRET, "token": SECRET, "endpoint_url": endpoint}
        ),
        open_storage(
            "s3://bucket/x", {"key": "K", "secret": SECRET, "endpoint_url": f"http://user:{SECRET}@{HOST}:{port}"}
        ),
        open_storage(
            "s3://bucket/x", {"secret": SECRET, "key": "k", "unknown_option": SECRET, "endpoint_url": endpoint}
        ),
        open_storage("s3://bucket/x", {"key": "K", "secret": SECRET, "config_kwargs": {"no_such": SECRET}}),
        open_storage("gs://bucket/x", {"token": {"private_key": SECRET, "type": "service_account"}}),
        open_storage("gs://bucket/x", {"token": f"/{SECRET}.json", "endpoint_url": endpoint}),
        open_storage("gs://bucket/x", {"token": "anon", "endpoint_url": endpoint, "session_kwargs": {"x": SECRET}}),
        open_storage(f"ftp://user:{SECRET.replace('/', '')}@{HOST}:{port}/x"),
    ]


def test_secrets_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A secret in any option appears in no repr, URL, error, traceback or log."""
    caplog.set_level(logging.DEBUG, logger="prefect_registry")
    (port,) = free_ports(1)
    for storage in _attempts(port):
        shown = [repr(storage), str(storage), storage.url]
        for call in (
            lambda s=storage: s.get("key"),
            lambda s=storage: s.create("key", b"x"),
            lambda s=storage: list(s.list("")),
        ):
            with pytest.raises(RegistryError) as caught:
                call()
            error = caught.value
            shown += [str(error), repr(error), str(error.as_dict()), "".join(traceback.format_exception(error))]
        assert [text for text in shown if SECRET in text or SECRET.replace("/", "") in text] == []
    assert SECRET not in caplog.text


def test_scrubber() -> None:
    """Secrets are replaced wherever they stand; what is no secret stays readable."""
    connection = f"DefaultEndpointsProtocol=https;AccountName=me;AccountKey={SECRET};EndpointSuffix=x"
    scrub = Scrubber({"connection_string": connection, "nested": {"list": ["abcd1234"]}, "endpoint_url": "http://host"})
    assert scrub(f"key {SECRET} and abcd1234 at http://host") == "key *** and *** at http://host"
    assert "Zm9v" not in scrub("Authorization: Bearer Zm9vYmFyYmF6")
    assert scrub("https://x/y?a=1&X-Amz-Signature=abc&sig=def") == "https://x/y?a=1&X-Amz-Signature=***&sig=***"
    assert without_credentials("sftp://user:pass@host/x") == "sftp://host/x"
