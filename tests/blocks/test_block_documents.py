"""Registry blocks as documents on a real Prefect server: saved, loaded, edited, reused, refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from prefect_registry.blocks import AzureRegistry, FsspecRegistry, GCSRegistry, LocalRegistry, S3Registry
from prefect_registry.blocks.documents import find, read
from prefect_registry.errors import ConfigurationError

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def name() -> str:
    return f"b-{uuid.uuid4().hex[:8]}"


def edit(slug: str, name: str, data: dict[str, Any]) -> None:
    """Change a document as the UI does: through the API, past every validator of ours."""
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(name, slug)
        client.request(
            "PATCH",
            "/block_documents/{id}",
            path_params={"id": document.id},
            json={"data": data, "merge_existing_data": True},
        )


@pytest.mark.parametrize(
    "block",
    [
        LocalRegistry(path="/data/registry"),
        S3Registry(bucket="b", secret_access_key="SK", access_key_id="AK", storage_options={"requester_pays": True}),
        GCSRegistry(bucket="b", service_account_file="/k.json"),
        AzureRegistry(container="c", account_name="a", account_key="AccountKey"),
        FsspecRegistry(url="sftp://host/x", secret_options='{"password": "p"}'),
    ],
    ids=lambda block: type(block).__name__,
)
def test_what_is_saved_is_what_is_loaded(block: Any, name: str) -> None:
    """Each type round-trips through the server, secrets included, by its class and by its slug."""
    block.save(name)
    for loaded in (type(block).load(name), Block.load(f"{block.get_block_type_slug()}/{name}")):
        assert type(loaded) is type(block)
        assert loaded.get_url() == block.get_url()
        assert loaded.get_storage_options() == block.get_storage_options()
        assert loaded.label == f"{block.get_block_type_slug()}/{name}"


def test_the_server_hides_secrets_unless_they_are_asked_for(name: str) -> None:
    """What the UI and the command line show has stars in their place."""
    S3Registry(bucket="b", access_key_id="AK", secret_access_key="pLaNtEd").save(name)
    with get_client(sync_client=True) as client:
        shown = client.read_block_document_by_name(name, "data-registry-s3", include_secrets=False)
    assert "pLaNtEd" not in shown.model_dump_json()
    assert shown.data["bucket"] == "b"


@pytest.mark.parametrize("load", [S3Registry.load, lambda name: Block.load(f"data-registry-s3/{name}")])
def test_a_document_that_was_spoilt_in_the_ui_names_its_wrong_field_when_it_is_loaded(load: Any, name: str) -> None:
    """The UI runs no validator of ours, so loading does."""
    S3Registry(bucket="b").save(name)
    edit("data-registry-s3", name, {"endpoint_url": "minio:9000"})
    with pytest.raises(ConfigurationError, match="endpoint_url must start with http"):
        load(name)


def test_a_document_of_the_first_release_loads(name: str) -> None:
    """One that holds nothing but the required field, and one with a field that is gone since."""
    S3Registry(bucket="b").save(name)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(name, "data-registry-s3")
        client.request(
            "PATCH",
            "/block_documents/{id}",
            path_params={"id": document.id},
            json={"data": {"bucket": "old", "gone_since": "x"}, "merge_existing_data": False},
        )
    assert S3Registry.load(name).get_url() == "s3://old"


def test_documents_are_found_in_a_running_event_loop(name: str) -> None:
    """Prefect's own `load` would return a coroutine there."""
    LocalRegistry(path="/data").save(name)

    async def inside() -> str:
        return read(f"data-registry-local/{name}").data["path"]

    assert asyncio.run(inside()) == "/data"


def test_a_missing_document_is_named() -> None:
    """With the way to see what there is."""
    assert find("nobody", ["data-registry-s3"]) == []
    with pytest.raises(ConfigurationError, match="There is no block aws-credentials/nobody"):
        S3Registry(bucket="b", credentials_block="aws-credentials/nobody").get_storage_options()


def test_no_answer_from_the_api_is_not_the_same_as_no_such_block() -> None:
    """The error names the API's address and the ways out."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(ConfigurationError, match=r"http://127\.0\.0\.1:9/api.* could not be asked.*by its URL"),
    ):
        find("prod", ["data-registry-s3"])


# -- credentials that a company already keeps in blocks of prefect-aws, prefect-gcp and prefect-azure ------------------
# Their documents are made here through classes of the same name and fields, so that those packages need not be there.


def foreign(type_name: str, fields: dict[str, Any], **data: Any) -> str:
    """Save a document of a type of another package. Returns its reference."""
    namespace = {
        "_block_type_name": type_name,
        "__annotations__": {name: annotation | None for name, annotation in fields.items()},
        **dict.fromkeys(fields),
    }
    cls = type(Block)(type_name.replace(" ", ""), (Block,), namespace)
    name = f"c-{uuid.uuid4().hex[:8]}"
    cls(**data).save(name)
    return f"{cls.get_block_type_slug()}/{name}"


AWS_FIELDS = {
    "aws_access_key_id": str,
    "aws_secret_access_key": SecretStr,
    "aws_session_token": str,
    "profile_name": str,
    "region_name": str,
    "aws_client_parameters": dict,
    "assume_role_arn": str,
    "assume_role_kwargs": dict,
}


def test_credentials_come_from_a_block_of_prefect_aws() -> None:
    """Keys, region, address of the server and certificates, without prefect-aws being installed."""
    reference = foreign(
        "AWS Credentials",
        AWS_FIELDS,
        aws_access_key_id="AK",
        aws_secret_access_key="SK",
        region_name="eu-west-1",
        aws_client_parameters={"endpoint_url": "https://s3.corp", "verify_cert_path": "/ca.pem", "use_ssl": True},
    )
    block = S3Registry(bucket="b", credentials_block=reference)
    assert block.get_storage_options() == {
        "key": "AK",
        "secret": "SK",
        "endpoint_url": "https://s3.corp",
        "client_kwargs": {"region_name": "eu-west-1", "verify": "/ca.pem"},
    }


def test_fields_of_the_registry_win_over_its_credentials_block() -> None:
    """A key pair is taken whole: never one half of each."""
    reference = foreign(
        "AWS Credentials",
        AWS_FIELDS,
        aws_access_key_id="AK",
        aws_secret_access_key="SK",
        aws_session_token="ST",
        region_name="eu-west-1",
    )
    block = S3Registry(
        bucket="b", credentials_block=reference, region="us-east-2", access_key_id="X", secret_access_key="Y"
    )
    assert block.get_storage_options() == {"key": "X", "secret": "Y", "client_kwargs": {"region_name": "us-east-2"}}


def test_a_role_of_the_credentials_block_is_assumed() -> None:
    """prefect-aws lets a credentials block name a role."""
    reference = foreign(
        "AWS Credentials",
        AWS_FIELDS,
        aws_access_key_id="AK",
        aws_secret_access_key="SK",
        assume_role_arn="arn:aws:iam::1:role/r",
        assume_role_kwargs={"ExternalId": "e", "RoleSessionName": "s"},
    )
    options = S3Registry(bucket="b", credentials_block=reference).get_storage_options()
    given = options["session"]._arguments
    assert (given["role_arn"], given["external_id"], given["session_name"]) == ("arn:aws:iam::1:role/r", "e", "s")
    assert given["access_key_id"] == "AK"


def test_credentials_come_from_a_minio_block() -> None:
    """The other type of prefect-aws."""
    reference = foreign(
        "MinIO Credentials",
        {"minio_root_user": str, "minio_root_password": SecretStr, "region_name": str, "aws_client_parameters": dict},
        minio_root_user="root",
        minio_root_password="pw",
        aws_client_parameters={"endpoint_url": "http://minio:9000", "config": {"s3": {"addressing_style": "path"}}},
    )
    assert S3Registry(bucket="b", credentials_block=reference).get_storage_options() == {
        "key": "root",
        "secret": "pw",
        "endpoint_url": "http://minio:9000",
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }


def test_credentials_come_from_a_block_of_prefect_gcp() -> None:
    """The content of a key, the path of one, and neither."""
    from prefect.types import SecretDict

    fields = {"service_account_file": str, "service_account_info": SecretDict, "project": str}
    key = {"type": "service_account", "private_key": "k"}
    by_key = foreign("GCP Credentials", fields, service_account_info=key, project="p")
    assert GCSRegistry(bucket="b", credentials_block=by_key).get_storage_options() == {"token": key, "project": "p"}
    by_path = foreign("GCP Credentials", fields, service_account_file="/k.json")
    assert GCSRegistry(bucket="b", credentials_block=by_path).get_storage_options() == {"token": "/k.json"}
    ambient = foreign("GCP Credentials", fields, project="p")
    options = GCSRegistry(bucket="b", credentials_block=ambient, project="q").get_storage_options()
    assert options == {"token": "google_default", "project": "q"}


def test_credentials_come_from_a_block_of_prefect_azure() -> None:
    """A connection string, or the address of an account with the credentials of the environment."""
    fields = {"connection_string": SecretStr, "account_url": str}
    by_string = foreign("Azure Blob Storage Credentials", fields, connection_string="AccountName=a;AccountKey=k")
    options = AzureRegistry(container="c", credentials_block=by_string).get_storage_options()
    assert options == {"anon": False, "connection_string": "AccountName=a;AccountKey=k"}
    by_url = foreign("Azure Blob Storage Credentials", fields, account_url="https://acc.blob.core.windows.net/")
    options = AzureRegistry(container="c", credentials_block=by_url).get_storage_options()
    assert options == {"anon": False, "account_name": "acc", "account_host": "acc.blob.core.windows.net"}


# -- in use ------------------------------------------------------------------------------------------------------------


def test_a_flow_publishes_to_the_registry_of_a_loaded_block(name: str, tmp_path: Path) -> None:
    """The way the example of the block shows it."""
    LocalRegistry(path=str(tmp_path)).save(name)

    @flow
    def publish() -> int:
        registry = LocalRegistry.load(name).get_registry()
        with registry.run("test") as run, run.dataset("greetings") as ds, ds.open("hello.txt", "wb") as file:
            file.write(b"hello")
        return len(list(registry.datasets(kind="greetings")))

    assert publish() == 1


async def test_the_asynchronous_twins_do_the_same(name: str, tmp_path: Path) -> None:
    """In an event loop, without blocking it."""
    await LocalRegistry(path=str(tmp_path)).asave(name)
    block = await LocalRegistry.aload(name)
    registry = await block.aget_registry()
    assert registry is block.get_registry()
    assert (await block.acheck()).ok


def test_checking_makes_no_registry(tmp_path: Path) -> None:
    """It tries the store, and leaves nothing behind."""
    report = LocalRegistry(path=str(tmp_path / "new")).check()
    assert report.ok
    assert [path for path in tmp_path.rglob("*") if path.is_file() and ".tmp" not in path.parts] == []


@pytest.mark.parametrize("module", ["prefect_registry.blocks", "prefect_registry"])
def test_prefects_own_command_registers_the_types(module: str, prefect_server: str) -> None:
    """`prefect block register -m`, as every integration documents it."""
    import os

    command = [sys.executable, "-m", "prefect", "block", "register", "-m", module]
    done = subprocess.run(
        command, env={**os.environ, "PREFECT_API_URL": prefect_server}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "registered 5 blocks" in done.stdout
