"""Uploading to a real S3 server and registering by one call: nothing for a name that is taken, nothing half."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from model_support import published, refused

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied, InvalidInput, StorageError, StorageUnavailable, UndecidedConflict
from prefect_registry.ids import random_token
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.exceptions import DuplicateError
from prefect_registry.models.uploading import S3Params
from prefect_registry.models.utils import s3_parts_of, s3_uri_from
from prefect_registry.storage import Storage, open_storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import FaultyStorage, error_before
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server
FORM = {"model_format_name": "onnx", "model_format_version": "1"}


@pytest.fixture(scope="module")
def bucket(seaweedfs: Server) -> Storage:
    return open_storage(f"s3://{seaweedfs.bucket}", seaweedfs.storage_options)


class Place:
    """A prefix of the bucket that nobody else uses."""

    def __init__(self, server: Server, bucket: Storage) -> None:
        self.server, self.bucket, self.prefix = server, bucket, f"uploads/{random_token()[:8]}"
        options = server.storage_options
        self.params = S3Params(server.bucket, self.prefix, server.endpoint, options["key"], options["secret"])
        self.uri = s3_uri_from(self.prefix, server.bucket, endpoint=server.endpoint)

    def stored(self) -> dict[str, int]:
        return {o.key.removeprefix(f"{self.prefix}/"): o.size for o in self.bucket.list(f"{self.prefix}/")}


@pytest.fixture
def place(seaweedfs: Server, bucket: Storage) -> Place:
    return Place(seaweedfs, bucket)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    for name in ("a.bin", "b.bin", "deep/er/c.bin"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(os.urandom(100))
    return made


WHOLE = {"a.bin": 100, "b.bin": 100, "deep/er/c.bin": 100}


def test_MR_24_a_folder_a_file_and_a_large_one(models: ModelRegistry, place: Place, folder: Path) -> None:
    """All keys lie below the prefix; the version's artifact has the URI of it, and what else was said."""
    model = models.upload_artifact_and_register_model(
        "HAL", folder, version="1", upload_params=place.params, author="ann", owner="team", **FORM, storage_key="k",
        version_description="d", metadata={"a": 1}, model_source_kind="kind",
    )  # fmt: skip
    artifact, version = models.get_model_artifact("HAL", "1"), models.get_model_version("HAL", "1")
    assert artifact is not None
    assert version is not None
    assert place.stored() == WHOLE
    assert (artifact.uri, artifact.model_format_name, artifact.storage_key) == (place.uri, "onnx", "k")
    assert (artifact.model_source_kind, model.owner) == ("kind", "team")
    assert (version.author, version.description, version.custom_properties) == ("ann", "d", {"a": 1})
    large = folder.parent / "large.bin"
    large.write_bytes(os.urandom(6 << 20))
    models.upload_artifact_and_register_model("HAL", large, version="2", upload_params=place.params, **FORM)
    assert place.stored() == {**WHOLE, "large.bin": 6 << 20}
    assert s3_parts_of(str(artifact.uri)).path == place.prefix


def test_MR_24_a_path_that_is_not_there(models: ModelRegistry, registry: Registry, place: Place) -> None:
    with refused(ValueError, registry, "Please ensure path is correct"):
        models.upload_artifact_and_register_model(
            "HAL", "/no/such/path", version="1", upload_params=place.params, **FORM
        )
    assert place.stored() == {}


@pytest.mark.parametrize("params", [None, "s3://bucket", {"bucket_name": "b"}])
def test_MR_26_upload_params_are_required(models: ModelRegistry, registry: Registry, folder: Path, params: Any) -> None:
    with refused(ValueError, registry) as caught:
        models.upload_artifact_and_register_model("HAL", folder, version="1", upload_params=params, **FORM)
    assert caught.value.what == 'Param "upload_params" is required to perform an upload'
    assert isinstance(caught.value, InvalidInput)


def test_MR_28_the_default_bucket(
    models: ModelRegistry, place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment says and what is passed lead to the same URI."""
    monkeypatch.setenv("AWS_S3_BUCKET", place.server.bucket)
    monkeypatch.setenv("AWS_S3_ENDPOINT", place.server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.server.storage_options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", place.server.storage_options["secret"])
    assert s3_uri_from("x") == s3_uri_from("x", place.server.bucket)
    uri = models.save_to_s3(folder, place.server.bucket, place.prefix)
    assert (uri, place.stored()) == (s3_uri_from(place.prefix), WHOLE)


def test_a_duplicate_is_known_before_anything_is_uploaded(
    models: ModelRegistry, registry: Registry, place: Place, folder: Path
) -> None:
    """No key is written, and what was there is not replaced."""
    models.register_model("HAL", "s3://x", version="1")
    with refused(DuplicateError, registry, "Version '1' of model 'HAL' already exists"):
        models.upload_artifact_and_register_model("HAL", folder, version="1", upload_params=place.params, **FORM)
    assert place.stored() == {}
    run = registry.insert_run("other")
    models.register_model("HAL", "s3://x", version="2", run_id=run)
    with pytest.raises(UndecidedConflict, match="is held by run"):
        models.upload_artifact_and_register_model("HAL", folder, version="2", upload_params=place.params, **FORM)
    assert place.stored() == {}, "nor for a name that another run holds"


@pytest.mark.parametrize(("lost", "inside"), [(False, False), (False, True), (True, False)])
def test_what_fails_after_the_upload(place: Place, folder: Path, lost: bool, inside: bool) -> None:
    """When nothing refers to what was uploaded, it is deleted, and only that: a key that was there before stays. When
    the answer to the decision is lost, the version may be there: the files stay, and the error says that nobody knows.
    Outside any run a record may as well go unanswered: its own run is aborted.
    """
    place.bucket.put(f"{place.prefix}/a.bin", b"mine")
    faulty = FaultyStorage(MemoryStorage(f"uploads-{random_token()}"))
    resolving = ResolvingStorage(faulty, timeout=0.1, attempts=2, first_delay=0.01)
    registry = Registry(resolving, heartbeats=False, use_cache=False)
    models = ModelRegistry(registry, author="me")
    models.register_model("HAL", "s3://x", version="1")
    run = registry.insert_run("work") if inside else None
    if lost:
        faulty.plan.append(error_before(method="create", key="*/end.json", times=1_000))
        faulty.plan.append(error_before(method="get", key="*/end.json", at=2, times=1_000))
    else:
        error = (lambda: AccessDenied("refused")) if inside else (lambda: StorageUnavailable("no answer"))
        faulty.plan.append(error_before(error, method="create", key="cells/model_artifact/*", times=1_000))
    with pytest.raises(StorageError) as caught:
        models.upload_artifact_and_register_model(
            "HAL", folder, version="2", upload_params=place.params, **FORM, run_id=run
        )
    faulty.plan.clear()
    assert set(place.stored()) == (set(WHOLE) if lost else {"a.bin"})
    if lost:
        assert caught.value.committed == "unknown"
        assert any("not known" in note for note in caught.value.__notes__)
    assert sorted(published(models, run_id=run)["HAL"] if run else published(models)["HAL"]) == ["1"]


def test_a_duplicate_in_a_run_and_a_run_that_is_rolled_back(
    models: ModelRegistry, registry: Registry, place: Place, folder: Path
) -> None:
    """The registration goes with the run; what was uploaded elsewhere stays there, as the documentation says."""
    with pytest.raises(ZeroDivisionError), registry.run("work"):
        models.upload_artifact_and_register_model("HAL", folder, version="1", upload_params=place.params, **FORM)
        with pytest.raises(DuplicateError):
            models.upload_artifact_and_register_model("HAL", folder, version="1", upload_params=place.params, **FORM)
        raise ZeroDivisionError
    assert published(models) == {}
    assert place.stored() == WHOLE
