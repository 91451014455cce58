"""URIs of artifacts: what is put in comes out again, and what is missing is named."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_registry.errors import InvalidInput, MalformedId
from prefect_registry.models.exceptions import MissingMetadata
from prefect_registry.models.uploading import save_to_s3
from prefect_registry.models.utils import S3Parts, dataset_uri, object_uri, reference_of, s3_parts_of, s3_uri_from

DATASET = "ds_01h2xcejqtf2nbrexx3vqjhp41_0123456789abcdef"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_mr_02() -> None:
    """The URI of a path, a bucket, an endpoint and a region is that of the reference system."""
    uri = s3_uri_from("storage/path", "my-bucket", endpoint="my-endpoint", region="my-region")
    assert uri == "s3://my-bucket/storage/path?endpoint=my-endpoint&defaultRegion=my-region"
    assert s3_parts_of(uri) == S3Parts("my-bucket", "storage/path", "my-endpoint", "my-region")
    assert s3_uri_from("a/b.onnx", "b", endpoint="http://localhost:9000") == (
        "s3://b/a/b.onnx?endpoint=http://localhost:9000"
    )


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_S3_BUCKET", "default")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "https://s3.example.com")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    return monkeypatch


def test_mr_28(environment: pytest.MonkeyPatch) -> None:
    """Naming the default bucket is the same as naming none; the environment has its endpoint and region."""
    expected = "s3://default/a?endpoint=https://s3.example.com&defaultRegion=eu-west-1"
    assert s3_uri_from("a") == s3_uri_from("a", "default") == s3_uri_from("a", "") == expected
    environment.delenv("AWS_DEFAULT_REGION")
    assert s3_uri_from("a") == "s3://default/a?endpoint=https://s3.example.com"
    assert s3_parts_of(s3_uri_from("a")).region is None


def test_another_bucket_needs_an_endpoint(environment: pytest.MonkeyPatch) -> None:
    """The endpoint of the environment is that of its own bucket."""
    with pytest.raises(MissingMetadata, match="endpoint must be provided for non-default bucket"):
        s3_uri_from("a", "other")
    assert s3_parts_of(s3_uri_from("a", "other", endpoint="http://x")).endpoint == "http://x"


def test_what_the_environment_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable that is missing, and what to pass instead."""
    with pytest.raises(MissingMetadata, match=r"Custom environment requires all arguments.*AWS_S3_BUCKET"):
        s3_uri_from("a", endpoint="http://x", region="r")
    with pytest.raises(MissingMetadata, match="endpoint must be provided for non-default bucket"):
        s3_uri_from("a", "b")
    monkeypatch.setenv("AWS_S3_BUCKET", "b")
    for bucket in (None, "b"):
        with pytest.raises(MissingMetadata, match="Missing environment variable: `AWS_S3_ENDPOINT` is required"):
            s3_uri_from("a", bucket)


@given(path=texts, endpoint=texts.filter(bool), region=texts.filter(bool) | st.none())
def test_every_path_comes_back(path: str, endpoint: str, region: str | None) -> None:
    """Whatever a key or an endpoint holds, the URI is one, and says exactly that."""
    uri = s3_uri_from(path, "b", endpoint=endpoint, region=region)
    assert s3_parts_of(uri) == S3Parts("b", path, endpoint, region)
    assert uri.isascii()
    assert urlsplit(uri).fragment == ""
    assert not any(c.isspace() for c in uri)


def test_uris_that_the_reference_system_wrote() -> None:
    """It encodes nothing."""
    assert s3_parts_of("s3://b/my model #1/é.onnx?endpoint=http://[::1]:9000") == S3Parts(
        "b", "my model #1/é.onnx", "http://[::1]:9000", None
    )
    assert s3_parts_of("s3://b/100%") == S3Parts("b", "100%")
    assert s3_parts_of("s3://b") == S3Parts("b", "")


@pytest.mark.parametrize("uri", ["", "s3://", "s3:///key", "gs://b/k", "b/key", None])
def test_what_is_no_s3_uri(uri: str) -> None:
    """It is refused, with an example of one that is."""
    with pytest.raises(InvalidInput, match="s3://bucket/key"):
        s3_parts_of(uri)


@pytest.mark.parametrize("bucket", ["a/b", "a?b", "a b", "k@b", "a%b"])
def test_what_is_no_bucket(bucket: str) -> None:
    """A bucket that would be read as something else is refused, and so is broken Unicode."""
    with pytest.raises(InvalidInput, match="bucket"):
        s3_uri_from("\ud800", bucket, endpoint="http://x")


@pytest.mark.parametrize("bucket", ["a/b", "a\\b", "a?b", "a#b", "a b", "a\x1fb", "k@b", "a%b", "\ud800"])
def test_what_is_no_bucket_for_uris_is_none_for_uploads(bucket: str, tmp_path: Path) -> None:
    """Both refuse it before anything is sent."""
    with pytest.raises(InvalidInput, match="bucket"):
        s3_uri_from("a", bucket, endpoint="http://x")
    with pytest.raises(InvalidInput, match=r"bucket_name .* cannot be the name of a bucket"):
        save_to_s3(tmp_path, bucket, "a", endpoint_url="http://x")


@pytest.mark.parametrize(
    ("name", "version", "uri"),
    [
        ("detector", "1.0.0", "registry://object/detector@1.0.0"),
        ("models:detector", None, "registry://object/models:detector"),
        ("a/b c", "2", "registry://object/a%2Fb%20c@2"),
        ("Modèle%", "latest", "registry://object/Mod%C3%A8le%25@latest"),
    ],
)
def test_objects(name: str, version: str | None, uri: str) -> None:
    """An object's URI has its name and version, and one spelling."""
    assert object_uri(name, version) == uri
    assert reference_of(uri) == ("object", name if version is None else f"{name}@{version}")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="@"), min_size=1, max_size=30))
def test_every_name_comes_back(name: str) -> None:
    """Whatever an object may be named, its reference names it."""
    assert reference_of(object_uri(name, "1")) == ("object", f"{name}@1")


def test_datasets() -> None:
    """A dataset's URI has its id."""
    assert dataset_uri(DATASET) == f"registry://dataset/{DATASET}"
    assert reference_of(dataset_uri(DATASET)) == ("dataset", DATASET)
    with pytest.raises(MalformedId):
        dataset_uri("ds_1")


@pytest.mark.parametrize("uri", ["", "s3://b/k?endpoint=e", "oci://x", "https://registry://object/x", "registry:/x"])
def test_other_uris(uri: str) -> None:
    """What is not of this registry is no reference, and nothing is wrong with it."""
    assert reference_of(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        "registry://",
        "registry://object",
        "registry://object/",
        "registry://object/@1",
        "registry://object/a@",
        "registry://object/a@1@2",
        "registry://object/a%2",
        "registry://object/a/b",
        "registry://object/a%2fb",
        "registry://object/a?version=1",
        "registry://object/%FF",
        "registry://object/a%00",
        "Registry://object/a",
        "registry://model/a",
        "registry://dataset/",
        "registry://dataset/ds_1",
        f"registry://dataset/{DATASET}/part",
    ],
)
def test_malformed_references(uri: str) -> None:
    """What claims to be of this registry and cannot be is refused."""
    with pytest.raises(InvalidInput):
        reference_of(uri)


@pytest.mark.parametrize("name", ["", "a@b", "a\n", "\ud800"])
def test_names_that_no_object_has(name: str) -> None:
    """No reference is made to what cannot be."""
    with pytest.raises(InvalidInput):
        object_uri(name, "1")
