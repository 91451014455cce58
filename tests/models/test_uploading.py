"""Files of models in a real S3 server: what is stored, what is told of it, and what is taken back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.errors import AccessDenied, IntegrityError, InvalidInput, StorageError
from prefect_registry.ids import random_token
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.uploading import S3Params, Uploaded, delete_from_s3, save_to_s3, upload_to_s3
from prefect_registry.models.utils import s3_parts_of, s3_uri_from
from prefect_registry.storage import Storage, open_storage
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server
SECRET = "another-secret"


@pytest.fixture(scope="module")
def server(seaweedfs: Server) -> Server:
    return seaweedfs


@pytest.fixture(scope="module")
def bucket(server: Server) -> Storage:
    """What the tests look with: one client, as making one takes longer than most of them."""
    return open_storage(f"s3://{server.bucket}", server.storage_options)


class Place:
    """A prefix of the bucket that no other test uses, and the arguments that lead there."""

    def __init__(self, server: Server, bucket: Storage) -> None:
        self.server, self.bucket, self.prefix = server, bucket, f"models/{random_token()[:8]}"
        options = server.storage_options
        self.access = {
            "endpoint_url": server.endpoint,
            "access_key_id": options["key"],
            "secret_access_key": options["secret"],
        }

    def params(self, **other: Any) -> S3Params:
        return S3Params(**{"bucket_name": self.server.bucket, "s3_prefix": self.prefix, **self.access, **other})

    def uri(self, path: str = "") -> str:
        key = f"{self.prefix}/{path}" if path else self.prefix
        return s3_uri_from(key, self.server.bucket, endpoint=self.server.endpoint)

    def stored(self) -> dict[str, bytes]:
        found = self.bucket.list(f"{self.prefix}/")
        return {info.key.removeprefix(f"{self.prefix}/"): self.bucket.get(info.key) for info in found}


@pytest.fixture
def place(server: Server, bucket: Storage) -> Place:
    return Place(server, bucket)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    for name in ("config.json", "weights.bin", "tokens/vocabulary #1.txt"):
        file = made / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {name}")
    return made


WHOLE = {name: f"content of {name}".encode() for name in ("config.json", "weights.bin", "tokens/vocabulary #1.txt")}


async def test_the_asynchronous_twin_stores_the_same(place: Place, folder: Path) -> None:
    """With the same arguments, by their names or their places, and the same errors."""
    to = (place.server.bucket, place.prefix)
    assert await ModelRegistry.asave_to_s3(folder, *to, **place.access) == place.uri()
    assert place.stored() == WHOLE
    with pytest.raises(InvalidInput, match="bucket"):
        await ModelRegistry.asave_to_s3(path=folder, bucket_name="a/b", s3_prefix=place.prefix, **place.access)


def test_a_folder(place: Place, folder: Path) -> None:
    """All files lie below the prefix by their relative paths, and the URI names the prefix."""
    (folder / "empty").mkdir()
    uri = save_to_s3(folder, place.server.bucket, place.prefix, **place.access)
    assert uri == place.uri()
    assert place.stored() == WHOLE


def test_a_relative_path(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slashes around the prefix mean nothing, nor does it matter how the path is written."""
    monkeypatch.chdir(folder.parent)
    uri = save_to_s3("./model/", place.server.bucket, f"/{place.prefix}/", **place.access)
    assert (uri, place.stored()) == (place.uri(), WHOLE)


def test_one_file(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its own name below the prefix; an empty one is stored too."""
    (folder / "empty.bin").touch()
    for name in ("weights.bin", "empty.bin"):
        assert save_to_s3(folder / name, place.server.bucket, place.prefix, **place.access) == place.uri()
    assert place.stored() == {"weights.bin": WHOLE["weights.bin"], "empty.bin": b""}


def test_a_large_file(place: Place, tmp_path: Path) -> None:
    """What is larger than the threshold goes in parts, and arrives whole; progress is told up to the whole."""
    large, told = os.urandom((11 << 20) + 7), []
    (tmp_path / "large.bin").write_bytes(large)
    (tmp_path / "small.bin").write_bytes(b"x" * 1000)
    upload_to_s3(tmp_path, place.params(), lambda done, total: told.append((done, total)))
    assert place.stored() == {"large.bin": large, "small.bin": b"x" * 1000}
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == (len(large) + 1000, len(large) + 1000)


def test_nothing_is_there(place: Place, tmp_path: Path) -> None:
    """A path without files is an error that names it, before anything is asked of the store."""
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    for path in (tmp_path / "missing", tmp_path / "empty"):
        with pytest.raises(ValueError, match=r"(missing|empty).*Please ensure path is correct\.") as caught:
            save_to_s3(path, "no-bucket", place.prefix, **{**place.access, "endpoint_url": "http://127.0.0.1:1"})
        assert isinstance(caught.value, InvalidInput)


def test_links(place: Place, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Links to files are followed. Those to folders are not, which is told, so that none leads in a circle."""
    (folder / "blob.bin").symlink_to(folder.parent / "blob")
    (folder.parent / "blob").write_bytes(b"from elsewhere")
    (folder / "tokens" / "circle").symlink_to(folder)
    save_to_s3(folder, place.server.bucket, place.prefix, **place.access)
    assert place.stored() == {**WHOLE, "blob.bin": b"from elsewhere"}
    assert "tokens/circle" in caplog.text


def test_what_cannot_be_read(place: Place, folder: Path) -> None:
    """A link to nothing and a pipe are both named, and nothing is uploaded."""
    (folder / "broken").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidInput) as caught:
        upload_to_s3(folder, place.params())
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["broken", "pipe"]
    assert place.stored() == {}


def test_what_was_there_before(place: Place, folder: Path) -> None:
    """An upload tells which keys it has made and which it has replaced; taking it back leaves the latter."""
    first = upload_to_s3(folder / "config.json", place.params())
    assert first == Uploaded(place.uri(), created=(place.uri("config.json"),), replaced=())
    second = upload_to_s3(folder, place.params())
    assert set(second.created) == {place.uri("weights.bin"), place.uri("tokens/vocabulary #1.txt")}
    assert second.replaced == first.created
    for _ in range(2):  # what is gone is fine
        delete_from_s3(second.created, **{**place.access, "endpoint_url": None})
        assert place.stored() == {"config.json": WHOLE["config.json"]}


def test_an_upload_that_fails_is_taken_back(place: Place, folder: Path) -> None:
    """What it had made is deleted, what it had replaced stays."""
    upload_to_s3(folder / "config.json", place.params())

    def full(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload_to_s3(folder, place.params(), full)
    assert place.stored() == {"config.json": WHOLE["config.json"]}


def test_a_file_that_changes_meanwhile(place: Place, folder: Path) -> None:
    """What was sent is not what was counted: nobody can tell which of the two was meant."""

    def append(done: int, total: int) -> None:
        with open(folder / "weights.bin", "ab") as file:
            file.write(b"more")

    with pytest.raises(IntegrityError, match=r"weights\.bin") as caught:
        upload_to_s3(folder, place.params(max_pool_connections=1), append)
    assert caught.value.context["keys"] == [f"{place.prefix}/weights.bin"]
    assert place.stored() == {}


def test_credentials_of_the_environment(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not given comes from the variables of the reference system; the region becomes part of the URI."""
    monkeypatch.setenv("AWS_S3_ENDPOINT", place.server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.access["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", place.access["secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    uri = save_to_s3(folder, place.server.bucket, place.prefix)
    assert s3_parts_of(uri) == (place.server.bucket, place.prefix, place.server.endpoint, "eu-west-1")
    assert s3_parts_of(save_to_s3(folder, place.server.bucket, place.prefix, region="us-east-1")).region == "us-east-1"
    uploaded = upload_to_s3(folder, S3Params(place.server.bucket, place.prefix))
    delete_from_s3(uploaded.replaced)
    assert place.stored() == {}


def test_the_default_chain(place: Place, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any of those, Amazon's own configuration decides, and the URI says which endpoint that was."""
    configuration = tmp_path / "aws"
    key, secret = place.access["access_key_id"], place.access["secret_access_key"]
    configuration.write_text(
        f"[profile here]\nregion = eu-north-1\nendpoint_url = {place.server.endpoint}\n"
        f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("AWS_PROFILE", "here")
    uri = save_to_s3(folder, place.server.bucket, place.prefix)
    assert s3_parts_of(uri) == (place.server.bucket, place.prefix, place.server.endpoint, "eu-north-1")
    assert place.stored() == WHOLE


def test_wrong_credentials_and_buckets(place: Place, folder: Path) -> None:
    """The store's refusal is told, without the secret."""
    with pytest.raises(AccessDenied) as denied:
        upload_to_s3(folder, place.params(secret_access_key=SECRET))
    assert SECRET not in f"{denied.value!r} {denied.value.as_dict()}"
    assert SECRET not in repr(place.params(secret_access_key=SECRET))
    with pytest.raises(StorageError, match="no-such-bucket"):
        upload_to_s3(folder, place.params(bucket_name="no-such-bucket"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket_name": "a/b"},
        {"bucket_name": ""},
        {"s3_prefix": None},
        {"multipart_threshold": 0},
        {"multipart_chunksize": -1},
        {"max_pool_connections": True},
        {"access_key_id": None},
        {"secret_access_key": ""},
    ],
)
def test_wrong_parameters(place: Place, folder: Path, wrong: dict[str, Any]) -> None:
    """What cannot be meant is named before anything is sent."""
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        upload_to_s3(folder, place.params(**wrong))


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://b", "s3://b/?endpoint=x", "s3://b/folder/", "https://b/k", "s3://b/../k"]
)
def test_what_is_never_deleted(uri: str) -> None:
    """A URI that names no object is refused."""
    with pytest.raises(InvalidInput):
        delete_from_s3([uri], endpoint_url="http://127.0.0.1:1", access_key_id="k", secret_access_key="s")
