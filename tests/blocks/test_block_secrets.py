"""A secret typed into a form appears nowhere but in the filesystem's own options."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

import pytest
from azure.core.pipeline.policies._retry import RetryPolicyBase
from pydantic import SecretStr, ValidationError

from prefect_registry.blocks import AzureRegistry, FsspecRegistry, GCSRegistry, LocalRegistry, S3Registry
from prefect_registry.errors import RegistryError

PLANTED = "pLaNtEd+sEcReT/0123456789=="
CLOSED = "http://127.0.0.1:9"
KEY = {"type": "service_account", "client_email": "a@b", "token_uri": CLOSED, "private_key": PLANTED}


def settings(cls: Any, field: str) -> dict[str, Any]:
    """Settings of a store that cannot be reached, with the secret in ``field``."""
    base: dict[Any, dict[str, Any]] = {
        LocalRegistry: {"path": "/proc/no/such/folder"},
        S3Registry: {
            "bucket": "b",
            "endpoint_url": CLOSED,
            "access_key_id": "AK",
            "secret_access_key": "SK",
            "region": "r",
        },
        GCSRegistry: {"bucket": "b", "endpoint_url": CLOSED},
        AzureRegistry: {"container": "c", "account_name": "acc", "storage_options": {"account_host": "127.0.0.1:9"}},
        FsspecRegistry: {"url": "ftp://127.0.0.1:9/x"},
    }
    value = PLANTED
    if field == "service_account_info":
        value = json.dumps(KEY)
    if field == "secret_options":
        value = json.dumps({"username": "u", "password": PLANTED})
    if field == "connection_string":
        value = f"AccountName=acc;AccountKey={PLANTED};BlobEndpoint={CLOSED}/acc"
    extra = {"tenant_id": "t", "client_id": "c"} if field == "client_secret" else {}
    return {**base[cls], field: value, **extra}


def secret_fields() -> list[tuple[Any, str]]:
    types: list[Any] = [LocalRegistry, S3Registry, GCSRegistry, AzureRegistry, FsspecRegistry]
    return [(cls, name) for cls in types for name, f in cls.model_fields.items() if f.annotation is SecretStr]


def test_there_are_secret_fields() -> None:
    """The tests below would pass on nothing."""
    assert len(secret_fields()) == 9


@pytest.mark.parametrize(("cls", "field"), secret_fields())
def test_a_secret_is_not_shown(cls: Any, field: str) -> None:
    """Neither the block nor what is printed, dumped or formatted of it."""
    block = cls(**settings(cls, field))
    for shown in (repr(block), str(block), f"{block}", repr(block.model_dump()), block.model_dump_json(), block.label):
        assert PLANTED not in shown


@pytest.mark.parametrize(("cls", "field"), secret_fields())
def test_a_secret_is_not_in_the_error_about_another_field(cls: Any, field: str) -> None:
    """Pydantic would print what it refused, the whole form included."""
    other = next(iter(cls.model_fields))
    data = settings(cls, field) | {other: "not a name"}
    for refuse in (lambda: cls(**data), lambda: cls.model_validate(data)):
        with pytest.raises((ValidationError, RegistryError)) as caught:
            refuse()
        assert PLANTED not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("cls", "field"), secret_fields())
def test_a_secret_is_not_in_the_error_about_itself(cls: Any, field: str) -> None:
    """A value that is refused is not quoted."""
    for data in (settings(cls, field) | {field: [PLANTED]}, settings(cls, field) | {field: {PLANTED: PLANTED}}):
        with pytest.raises((ValidationError, RegistryError)) as caught:
            cls.model_validate(data)
        assert PLANTED not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("cls", "field"), secret_fields())
def test_a_secret_is_not_in_the_error_of_a_store_that_fails(
    cls: Any, field: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening and checking fail with an error and a report that hold no secret, and log none."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "127.0.0.1:9")  # where service principals are looked up
    monkeypatch.setattr(RetryPolicyBase, "BACKOFF_MAX", 0.01)  # ten times; else with 17 seconds of waiting between them
    caplog.set_level(logging.INFO)  # clients of other packages print the access key's id when they are debugged
    caplog.set_level(logging.DEBUG, logger="prefect_registry")
    block = cls(**settings(cls, field))
    with pytest.raises(RegistryError) as caught:
        block.open()
    report = block.check()
    assert not report.ok
    shown = (
        "".join(traceback.format_exception(caught.value)) + repr(caught.value.as_dict()) + repr(report) + caplog.text
    )
    assert PLANTED not in shown
    assert block.label in str(caught.value)
