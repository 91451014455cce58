"""What the client libraries raise, and what it means: one table per store (facts from their documentation)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from fsspec.exceptions import FSTimeoutError
from gcsfs.retry import HttpError, validate_response
from google.auth.exceptions import DefaultCredentialsError, TransportError
from s3fs.errors import translate_boto_error

from prefect_registry.errors import (
    AccessDenied,
    AlreadyExists,
    IntegrityError,
    NotFound,
    StorageError,
    StorageUnavailable,
    UnsupportedStorage,
)
from prefect_registry.storage.gcs import GCSStorage
from prefect_registry.storage.s3 import S3Storage

S3 = S3Storage("s3://bucket/prefix", {"key": "K", "secret": "planted-secret"})
GCS = GCSStorage("gs://bucket/prefix", {"token": "anon"})


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        ("PreconditionFailed", 412, AlreadyExists),
        ("ConditionalRequestConflict", 409, StorageUnavailable),
        ("OperationAborted", 409, StorageUnavailable),
        ("SlowDown", 503, StorageUnavailable),
        ("InternalError", 500, StorageUnavailable),
        ("RequestTimeout", 400, StorageUnavailable),
        ("TooManyRequests", 429, StorageUnavailable),
        ("SomethingNew", 502, StorageUnavailable),
        ("NoSuchKey", 404, NotFound),
        ("NoSuchBucket", 404, StorageError),
        ("AccessDenied", 403, AccessDenied),
        ("InvalidAccessKeyId", 403, AccessDenied),
        ("SignatureDoesNotMatch", 403, AccessDenied),
        ("ExpiredToken", 400, AccessDenied),
        ("SomethingNew", 401, AccessDenied),
        ("InvalidRange", 416, IntegrityError),
        ("XMinioStorageFull", 507, StorageError),
        ("NotImplemented", 501, StorageError),
        ("InvalidArgument", 400, StorageError),
        ("PermanentRedirect", 301, StorageError),
    ],
)
def test_s3_answers(code: str, status: int, meaning: type[Exception]) -> None:
    """S3's own error code decides, wherever s3fs has put it."""
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(answer, "PutObject")  # type: ignore[arg-type]
    for raised in (error, translate_boto_error(error)):
        assert type(S3.explain(raised, "key")) is meaning


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), StorageUnavailable),
        (ConnectTimeoutError(endpoint_url="http://x"), StorageUnavailable),
        (ReadTimeoutError(endpoint_url="http://x"), StorageUnavailable),
        (FSTimeoutError(), StorageUnavailable),
        (TimeoutError(), StorageUnavailable),
        (ConnectionResetError(), StorageUnavailable),
        (RuntimeError("never seen before"), StorageUnavailable),
        (NoCredentialsError(), AccessDenied),
        (ParamValidationError(report="Invalid bucket name"), StorageError),
        (SSLError(endpoint_url="https://x", error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), StorageError),
        (TypeError("unexpected keyword"), StorageError),
    ],
)
def test_s3_without_an_answer(error: Exception, meaning: type[Exception]) -> None:
    """Without an answer the outcome is open, unless the request was never made."""
    assert type(S3.explain(error, "key")) is meaning


def _google(status: int, message: str = "m") -> Exception:
    try:
        validate_response(status, f'{{"error": {{"code": {status}, "message": "{message}"}}}}'.encode(), "b/x/o")
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (_google(412), AlreadyExists),
        (_google(404), NotFound),
        (_google(401, "Invalid Credentials"), AccessDenied),
        (_google(403), AccessDenied),
        (_google(429), StorageUnavailable),
        (_google(500), StorageUnavailable),
        (_google(502), StorageUnavailable),
        (_google(503), StorageUnavailable),
        (_google(408), StorageUnavailable),
        (_google(409), StorageUnavailable),
        (_google(416), IntegrityError),
        (_google(400), StorageError),
        (_google(400, "invalid argument"), StorageError),
        (HttpError({"code": 400, "message": "x"}), StorageError),
        (DefaultCredentialsError("none found"), AccessDenied),
        (TransportError("no route"), StorageUnavailable),
        (FSTimeoutError(), StorageUnavailable),
        (ConnectionResetError(), StorageUnavailable),
    ],
)
def test_gcs_answers(error: Exception, meaning: type[Exception]) -> None:
    """Google's status decides, in whatever gcsfs has wrapped it."""
    assert type(GCS.explain(error, "key")) is meaning


def test_every_explanation_has_three_sentences_and_no_secret() -> None:
    """What happened, why, and what to do; the client's own words without secrets."""
    for storage in (S3, GCS):
        error = storage.explain(ConnectionResetError("with planted-secret and ?X-Amz-Signature=abcdef"), "key")
        assert isinstance(error, StorageUnavailable)
        assert error.what
        assert error.why
        assert error.todo
        assert "abcdef" not in str(error)
    assert "planted-secret" not in str(S3.explain(ConnectionResetError("with planted-secret"), "key"))


def test_an_old_botocore_is_refused() -> None:
    """A client that would drop the condition silently is found out before the first write."""

    def knowing(*names: str) -> Any:
        shape = SimpleNamespace(input_shape=SimpleNamespace(members=dict.fromkeys(names)))
        service = SimpleNamespace(operation_model=lambda name: shape)
        return SimpleNamespace(s3=SimpleNamespace(meta=SimpleNamespace(service_model=service)))

    S3._check_conditional(knowing("Body", "IfNoneMatch"))
    with pytest.raises(UnsupportedStorage, match="botocore"):
        S3._check_conditional(knowing("Body"))
