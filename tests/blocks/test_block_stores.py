"""Blocks against real servers: what a form says is how the store is reached."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.schemas.objects import State

from prefect_registry import registry_run
from prefect_registry.blocks import GCSRegistry, LocalRegistry, S3Registry
from prefect_registry.errors import AccessDenied, StorageError, UnsupportedStorage
from prefect_registry.ids import random_token
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.server


def s3(server: Server, **changes: str | bool) -> S3Registry:
    settings: dict[str, str | bool] = {
        "bucket": server.bucket,
        "prefix": f"b-{random_token()[:8]}",
        "endpoint_url": server.endpoint,
        "region": "us-east-1",
        "path_style": True,
        "access_key_id": str(server.storage_options["key"]),
        "secret_access_key": str(server.storage_options["secret"]),
    }
    return S3Registry.model_validate(settings | changes)


def test_s3_is_reached_with_what_the_form_says(seaweedfs: Server) -> None:
    """Read and written, and the check finds nothing wrong."""
    block = s3(seaweedfs)
    with block.get_registry().run("test") as run, run.dataset("x") as ds, ds.open("f", "wb") as file:
        file.write(b"1")
    assert block.get_registry().latest("x").state == "READY"
    assert block.check().ok


def test_a_wrong_secret_is_access_denied_and_names_the_block(seaweedfs: Server) -> None:
    """In the error of the store and in the report of the check, neither of which holds the secret."""
    block = s3(seaweedfs, secret_access_key="pLaNtEd+wrong")
    with pytest.raises(AccessDenied, match="S3Registry for s3://") as caught:
        block.get_registry()
    report = block.check()
    assert isinstance(report.error, AccessDenied)
    assert "pLaNtEd" not in str(caught.value) + repr(report)


@pytest.mark.prefect
def test_a_flow_on_a_server_that_ignores_the_condition_is_refused(rclone: Server, prefect_server: str) -> None:
    """It fails before it writes anything, and says why and what to use instead; nobody had to ask `doctor`."""
    name = f"b-{random_token()[:8]}"
    block = s3(rclone)
    block.save(name)

    @registry_run(f"data-registry-s3/{name}")
    @flow
    def publish() -> None:
        raise AssertionError("the body ran")

    state = publish(return_state=True)
    assert isinstance(state, State)
    with pytest.raises(UnsupportedStorage, match=r"created a second time.*honours If-None-Match"):
        state.result()
    assert list(rclone.storage(block.prefix).list("")) == []


def test_a_role_is_assumed(moto: Server) -> None:
    """Its credentials are fetched when they are needed, also after a trip to another process."""
    role = {"role_arn": "arn:aws:iam::123456789012:role/registry", "sts_endpoint_url": moto.endpoint}
    block = s3(moto, **role)
    registry = block.open()
    assert registry.registry_id
    again = pickle.loads(pickle.dumps(registry))
    assert [info.key for info in again.storage.list("")] == ["registry.json"]


def test_google_is_reached_with_what_the_form_says(fake_gcs: Server) -> None:
    """An emulator takes no credentials."""
    block = GCSRegistry(
        bucket=fake_gcs.bucket,
        prefix=f"b-{random_token()[:8]}",
        endpoint_url=fake_gcs.endpoint,
        anonymous=True,
        project="registry",
    )
    assert block.check().ok
    assert block.open().registry_id


@pytest.mark.parametrize("path", ["file", "file/below", "file/far/below"])
def test_a_folder_that_cannot_be_made_is_not_an_empty_registry(path: str, tmp_path: Path) -> None:
    """A file is in the way: that is trouble with the store, and nothing is "not found"."""
    (tmp_path / "file").write_text("in the way")
    block = LocalRegistry(path=str(tmp_path / path))
    with pytest.raises(StorageError, match="cannot be made"):
        block.open()
    assert isinstance(block.check().error, StorageError)
