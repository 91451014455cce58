"""From a filled-in form to what the filesystem is opened with."""

from __future__ import annotations

import json
import os
import pickle
from typing import Any

import pytest

from prefect_registry.blocks import AzureRegistry, FsspecRegistry, GCSRegistry, LocalRegistry, S3Registry
from prefect_registry.storage.opening import open_storage

KEY = {
    "type": "service_account",
    "client_email": "a@b",
    "private_key": "-----",
    "token_uri": "https://t",
    "project_id": "p",
}


def test_a_bucket_alone_uses_the_credentials_of_the_environment() -> None:
    """No option at all is passed, so that s3fs looks where every AWS tool looks."""
    block = S3Registry(bucket="data")
    assert block.get_url() == "s3://data"
    assert block.get_storage_options() == {}


def test_every_field_of_s3_reaches_s3fs() -> None:
    """Each under the name that s3fs has for it."""
    block = S3Registry(
        bucket="data",
        prefix="/team/registry/",
        endpoint_url="https://minio.example.com:9000",
        region="eu-central-1",
        access_key_id="AK",
        secret_access_key="SK",
        session_token="ST",
        path_style=True,
        ca_bundle="/etc/ca.pem",
        storage_options={"requester_pays": True, "client_kwargs": {"api_version": "x"}},
    )
    assert block.get_url() == "s3://data/team/registry"
    assert block.get_storage_options() == {
        "endpoint_url": "https://minio.example.com:9000",
        "client_kwargs": {"region_name": "eu-central-1", "verify": "/etc/ca.pem", "api_version": "x"},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
        "key": "AK",
        "secret": "SK",
        "token": "ST",
        "requester_pays": True,
    }


def test_s3_anonymous_profile_and_tls_off() -> None:
    """The remaining ways to identify oneself, and a server whose certificate nobody knows."""
    assert S3Registry(bucket="b", anonymous=True).get_storage_options() == {"anon": True}
    assert S3Registry(bucket="b", profile="dev").get_storage_options() == {"profile": "dev"}
    assert S3Registry(bucket="b", verify_tls=False).get_storage_options() == {"client_kwargs": {"verify": False}}


def test_a_role_is_a_session_that_equals_another_of_the_same_settings() -> None:
    """So one process opens one registry for it; the session travels to other processes as its settings."""
    block = S3Registry(bucket="b", role_arn="arn:aws:iam::1:role/r", access_key_id="AK", secret_access_key="SECRETKEY")
    first, second = block.get_storage_options(), block.get_storage_options()
    assert first == second
    assert set(first) == {"session"}
    assert pickle.loads(pickle.dumps(first)) == first
    assert "SECRETKEY" not in repr(first)


def test_every_way_of_google_to_identify_oneself() -> None:
    """Key, path of a key, environment, none."""
    assert GCSRegistry(bucket="b").get_storage_options() == {"token": "google_default"}
    assert GCSRegistry(bucket="b", service_account_info=json.dumps(KEY)).get_storage_options() == {"token": KEY}
    assert GCSRegistry(bucket="b", service_account_file="/k.json").get_storage_options() == {"token": "/k.json"}
    emulator = GCSRegistry(bucket="b", prefix="p", anonymous=True, endpoint_url="http://127.0.0.1:1", project="x")
    assert emulator.get_url() == "gs://b/p"
    assert emulator.get_storage_options() == {"token": "anon", "endpoint_url": "http://127.0.0.1:1", "project": "x"}


def test_every_way_of_azure_to_identify_oneself() -> None:
    """Connection string, key, signature, service principal, environment."""
    for given in (
        {"connection_string": "AccountName=a;AccountKey=k"},
        {"account_name": "acc", "account_key": "k"},
        {"account_name": "acc", "sas_token": "sv=1&sig=2"},
        {"account_name": "acc", "tenant_id": "t", "client_id": "c", "client_secret": "s"},
        {"account_name": "acc"},
    ):
        assert AzureRegistry(container="c", **given).get_storage_options() == {"anon": False, **given}
    assert (
        AzureRegistry(container="c", account_name="a", sas_token="?sig=2").get_storage_options()["sas_token"] == "sig=2"
    )
    assert AzureRegistry(container="c", prefix="p", account_name="a").get_url() == "az://c/p"


def test_any_other_filesystem_gets_open_and_secret_options() -> None:
    """Secret ones come from JSON, because forms have no secret mapping."""
    block = FsspecRegistry(url="sftp://host/x/", storage_options={"port": 22}, secret_options='{"password": "p"}')
    assert block.get_url() == "sftp://host/x"
    assert block.get_storage_options() == {"port": 22, "password": "p"}


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("abfss://container@account.dfs.core.windows.net/x", "az://container/x"),
        ("ftp://user@host/x", "ftp://host/x"),
    ],
)
def test_a_user_without_a_password_is_no_secret(url: str, root: str) -> None:
    """Azure's own form of a URL has its container there, and reaches the same store as ``az://``."""
    block = FsspecRegistry(url=url)
    assert block.get_url() == url
    if root.startswith("az:"):
        pytest.importorskip("adlfs")
    assert open_storage(block.get_url(), block.get_storage_options()).url == root


def test_a_home_folder_is_that_of_the_worker() -> None:
    """The tilde stays in the document and means each worker's own home."""
    block = LocalRegistry(path="~/registry")
    assert block.path == "~/registry"
    assert block.get_url() == os.path.expanduser("~/registry")


@pytest.mark.parametrize(
    ("cls", "data", "field"),
    [
        (LocalRegistry, {}, "path"),
        (LocalRegistry, {"path": ""}, "path"),
        (LocalRegistry, {"path": "registry"}, "path"),
        (LocalRegistry, {"path": "s3://bucket"}, "path"),
        (S3Registry, {}, "bucket"),
        (S3Registry, {"bucket": "  "}, "bucket"),
        (S3Registry, {"bucket": None}, "bucket"),
        (S3Registry, {"bucket": "s3://data"}, "bucket"),
        (S3Registry, {"bucket": "data/team"}, "bucket"),
        (S3Registry, {"bucket": "b", "prefix": "a/../b"}, "prefix"),
        (S3Registry, {"bucket": "b", "prefix": "s3://b/a"}, "prefix"),
        (S3Registry, {"bucket": "b", "endpoint_url": "minio:9000"}, "endpoint_url"),
        (S3Registry, {"bucket": "b", "endpoint_url": "http://u:p@minio:9000"}, "endpoint_url"),
        (S3Registry, {"bucket": "b", "access_key_id": "AK"}, "secret_access_key"),
        (S3Registry, {"bucket": "b", "secret_access_key": "SK"}, "access_key_id"),
        (S3Registry, {"bucket": "b", "session_token": "ST"}, "access_key_id"),
        (S3Registry, {"bucket": "b", "anonymous": True, "profile": "p"}, "anonymous"),
        (S3Registry, {"bucket": "b", "verify_tls": False, "ca_bundle": "/ca"}, "verify_tls"),
        (S3Registry, {"bucket": "b", "verify_tls": "perhaps"}, "verify_tls"),
        (S3Registry, {"bucket": "b", "role_arn": "my-role"}, "role_arn"),
        (S3Registry, {"bucket": "b", "role_external_id": "x"}, "role_arn"),
        (S3Registry, {"bucket": "b", "credentials_block": "prod"}, "credentials_block"),
        (S3Registry, {"bucket": "b", "credentials_block": "gcp-credentials/prod"}, "credentials_block"),
        (S3Registry, {"bucket": "b", "storage_options": "requester_pays"}, "storage_options"),
        (GCSRegistry, {"bucket": "gs://b"}, "bucket"),
        (GCSRegistry, {"bucket": "b", "service_account_info": "not json"}, "service_account_info"),
        (GCSRegistry, {"bucket": "b", "service_account_info": '{"type": "service_account"}'}, "service_account_info"),
        (GCSRegistry, {"bucket": "b", "service_account_info": "[]"}, "service_account_info"),
        (GCSRegistry, {"bucket": "b", "anonymous": True, "service_account_file": "/k"}, "service_account_file"),
        (AzureRegistry, {"container": "c"}, "account_name"),
        (AzureRegistry, {"container": "c", "account_name": "https://a.blob.core.windows.net"}, "account_name"),
        (AzureRegistry, {"container": "c", "account_name": "a", "client_id": "i"}, "client_id"),
        (AzureRegistry, {"container": "c", "account_name": "a", "account_key": "k", "sas_token": "s"}, "account_key"),
        (FsspecRegistry, {"url": "/data"}, "url"),
        (FsspecRegistry, {"url": "ftp://user:pw@host/x"}, "url"),
        (FsspecRegistry, {"url": "ftp://:pw@host/x"}, "url"),
        (FsspecRegistry, {"url": "ftp://user:p@w@host/x"}, "url"),
        (FsspecRegistry, {"url": "ftp://host/x", "secret_options": "password"}, "secret_options"),
    ],
)
def test_a_wrong_field_is_named(cls: Any, data: dict[str, Any], field: str) -> None:
    """In code by pydantic's error, and when a document is loaded by one of ours that says where to mend it."""
    from pydantic import ValidationError

    from prefect_registry.errors import ConfigurationError

    with pytest.raises(ValidationError, match=field):
        cls(**data)
    with pytest.raises(ConfigurationError, match=f"{field}.*Correct the block in the Prefect UI"):
        cls.model_validate(data)


def test_every_wrong_field_is_named_at_once() -> None:
    """Nobody likes to mend a form field by field."""
    from prefect_registry.errors import ConfigurationError

    with pytest.raises(ConfigurationError) as caught:
        S3Registry.model_validate({"bucket": "a/b", "endpoint_url": "minio", "role_arn": "r"})
    assert all(field in str(caught.value) for field in ("bucket", "endpoint_url", "role_arn"))


def test_what_a_form_sends_for_cleared_fields_means_not_set() -> None:
    """Forms send null or spaces; secrets are pasted with a newline behind them."""
    block = S3Registry.model_validate(
        {
            "bucket": " data ",
            "region": None,
            "storage_options": None,
            "access_key_id": "AK\n",
            "secret_access_key": " SK ",
        }
    )
    assert block.get_url() == "s3://data"
    assert block.get_storage_options() == {"key": "AK", "secret": "SK"}


def test_a_document_of_a_newer_release_loads() -> None:
    """Fields that this release does not know are kept and ignored."""
    block = S3Registry.model_validate({"bucket": "data", "invented_later": "x"})
    assert block.get_url() == "s3://data"
