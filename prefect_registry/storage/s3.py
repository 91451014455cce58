"""Amazon S3 and everything that speaks its protocol (SeaweedFS, MinIO, Ceph, R2 …), over s3fs.

Requests are S3's own, sent through ``s3fs``: its path functions read ``?versionId=`` out of keys, write an empty
object unconditionally, and hide which of several errors happened.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import contextlib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from typing_extensions import override

from prefect_registry.errors import UnsupportedStorage
from prefect_registry.locks import ForkSafeLock
from prefect_registry.storage import failures
from prefect_registry.storage.base import ObjectInfo, Progress, Stored, Upload
from prefect_registry.storage.parts import MOST_PARTS, persistent
from prefect_registry.storage.remote import CONNECT_SECONDS, STREAM_BYTES, RemoteStorage, each

LARGEST_COPY_BYTES = 1 << 30
"""Copied in one request. S3 takes 5 GiB, but a server that is silent until it has copied them is taken for dead."""
COPY_PART_BYTES = 256 << 20
_COPIES_AT_ONCE = 4

_BUSY = {
    "ConditionalRequestConflict",  # 409: another conditional write was in progress; not the same as 412
    "OperationAborted",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "BadDigest",
    "IncompleteBody",
}
_DENIED = {
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "InvalidSecurity",
    "NotSignedUp",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_MISSING = {"NoSuchKey", "NotFound", "404"}
_FULL = {"EntityTooLarge", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "507"}
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "MetadataRetrievalError",
}
_WRONG_SETTINGS = {"ParamValidationError", "InvalidRegionError", "NoRegionError", "UnsupportedS3ConfigurationError"}

# Amazon documents the condition. Whoever else speaks its protocol is asked: once per process, server and bucket.
_AWS = re.compile(r"^https?://([a-z0-9-]+\.)+(amazonaws\.com(\.cn)?|api\.aws)(:\d+)?(/|$)")
_proved: set[tuple[str, str]] = set()
_proving = ForkSafeLock()


def is_amazon(endpoint: str) -> bool:
    """Whether a server is one of AWS's own."""
    return _AWS.match(endpoint) is not None


class S3Storage(RemoteStorage):
    """A bucket, or a prefix of one: ``s3://bucket/prefix``.

    Args:
        url: Where.
        storage_options: Those of ``s3fs.S3FileSystem``: ``key``, ``secret``, ``token``, ``profile``, ``anon``,
            ``endpoint_url``, ``client_kwargs``, ``config_kwargs``, ``s3_additional_kwargs`` (for SSE-KMS),
            ``requester_pays`` …
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None, *, proved: bool = False) -> None:
        super().__init__(url, storage_options)
        self.proved = proved
        self._plain_copies = False

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return (functools.partial(type(self), proved=self.proved), (self.url, self._options))

    @override
    def unguarded(self) -> S3Storage:
        return self if self.proved else type(self)(self.url, self._options, proved=True)

    @override
    def create(self, key: str, data: bytes) -> None:
        self._prove()
        super().create(key, data)

    @override
    def put(self, key: str, data: bytes) -> None:
        self._prove()
        super().put(key, data)

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> builtins.list[Stored]:
        self._prove()
        return super().upload(files, progress)

    def _prove(self) -> None:
        """Before the first write of this process to a server that is not AWS's: does it honour the condition?"""
        if self.proved:
            return
        from prefect_registry.storage.probe import refuse_unless_create_only

        endpoint = str(self.client().s3.meta.endpoint_url)
        with _proving:
            if not is_amazon(endpoint) and (endpoint, self.bucket) not in _proved:
                refuse_unless_create_only(self.url, super().create, super().delete_many)
                _proved.add((endpoint, self.bucket))
        self.proved = True

    @override
    def new_client(self) -> Any:
        import s3fs

        options = dict(self._options)
        config: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": self.read_seconds,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "max_pool_connections": 64,
            # Our own sha256 covers what is stored; servers older than these checksums refuse them.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        config |= _mapping(options.pop("config_kwargs", None))
        client = s3fs.S3FileSystem(
            **options,
            config_kwargs=config,
            use_listings_cache=False,
            skip_instance_cache=True,
            default_fill_cache=False,
        )
        client.retries = 1
        client.connect()
        self._check_conditional(client)
        return client

    def _check_conditional(self, client: Any) -> None:
        """s3fs drops parameters that botocore does not know, silently: then a create would overwrite."""
        if "IfNoneMatch" not in client.s3.meta.service_model.operation_model("PutObject").input_shape.members:
            raise UnsupportedStorage(
                "The installed botocore cannot create an object only if it is absent",
                why="Its PutObject does not know IfNoneMatch",
                todo="Install botocore 1.35.20 or newer",
            )

    @override
    async def send(self, client: Any, name: str, data: bytes, create: bool) -> None:
        condition = {"IfNoneMatch": "*"} if create else {}
        await client._call_s3("put_object", Bucket=self.bucket, Key=name, Body=data, **condition)

    @override
    async def fetch(self, client: Any, name: str, start: int = 0, end: int | None = None) -> bytes:
        limits = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        answer = await client._call_s3("get_object", Bucket=self.bucket, Key=name, **limits)
        async with answer["Body"] as body:
            data: bytes = await body.read()
        return data

    @override
    async def stream(self, client: Any, name: str, start: int, end: int | None, take: Callable[[bytes], None]) -> None:
        limits = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        answer = await client._call_s3("get_object", Bucket=self.bucket, Key=name, **limits)
        async with answer["Body"] as body:
            while chunk := await body.read(STREAM_BYTES):
                take(chunk)

    @override
    async def head(self, client: Any, name: str) -> ObjectInfo | None:
        try:
            answer = await client._call_s3("head_object", Bucket=self.bucket, Key=name)
        except FileNotFoundError:
            return None
        return ObjectInfo(name, answer["ContentLength"], answer["LastModified"])

    @override
    async def page(self, client: Any, prefix: str, start_after: str, token: str) -> tuple[list[ObjectInfo], str]:
        position = {"ContinuationToken": token} if token else {"StartAfter": start_after} if start_after else {}
        answer = await client._call_s3("list_objects_v2", Bucket=self.bucket, Prefix=prefix, **position)
        found = [ObjectInfo(o["Key"], o["Size"], o["LastModified"]) for o in answer.get("Contents", ())]
        return found, answer["NextContinuationToken"] if answer.get("IsTruncated") else ""

    @override
    async def remove(self, client: Any, names: Sequence[str]) -> None:
        keys = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        try:
            answer = await client._call_s3("delete_objects", Bucket=self.bucket, Delete=keys)
        except OSError as error:
            if _code_of(error)[0] not in ("NotImplemented", "MethodNotAllowed", "501"):
                raise
            await each(client._call_s3("delete_object", Bucket=self.bucket, Key=name) for name in names)
            return
        failed = [e for e in answer.get("Errors", ()) if e.get("Code") not in ("NoSuchKey", "404")]
        if failed:
            raise _PartlyDeleted(failed[0].get("Code", ""), failed[0].get("Key", ""), len(failed))

    @override
    async def copy(self, client: Any, source: str, name: str, size: int) -> tuple[int | None, str | None]:
        if size > LARGEST_COPY_BYTES:
            return await self._copy_in_parts(client, source, name), None
        # As an upload would set them: from the storage options, not from the source. AWS, moto and MinIO hash the copy.
        asked = {} if self._plain_copies else {"ChecksumAlgorithm": "SHA256", "TaggingDirective": "REPLACE"}
        request = {
            "Bucket": self.bucket,
            "Key": name,
            "CopySource": {"Bucket": self.bucket, "Key": source},
            "MetadataDirective": "REPLACE",
            **self._source_key(),
        }
        try:
            answer = await client._call_s3("copy_object", **request, **asked)
        except OSError as error:
            if not asked or _code_of(error)[1] not in (400, 501):
                raise
            answer = await client._call_s3("copy_object", **request)  # a server that knows no checksums or no tags
            self._plain_copies = True
        result = answer.get("CopyObjectResult", {})
        told = result.get("ChecksumSHA256", "")
        if not told or "-" in told or result.get("ChecksumType") == "COMPOSITE":  # of parts, not of the bytes
            return None, None
        return None, base64.b64decode(told).hex()

    async def _copy_in_parts(self, client: Any, source: str, name: str) -> int:
        """Copy a large object, in as many bytes as it has now; one that is changed meanwhile is refused."""
        found = await client._call_s3("head_object", Bucket=self.bucket, Key=source)
        size, step = found["ContentLength"], max(COPY_PART_BYTES, -(-found["ContentLength"] // MOST_PARTS))
        upload = await self.begin(client, name)
        gate = asyncio.Semaphore(_COPIES_AT_ONCE)

        async def part(number: int, start: int) -> Any:
            request = {
                "PartNumber": number,
                "CopySource": {"Bucket": self.bucket, "Key": source},
                "CopySourceRange": f"bytes={start}-{min(start + step, size) - 1}",
                "CopySourceIfMatch": found["ETag"],
            }
            call = functools.partial(client._call_s3, "upload_part_copy", **upload, **request, **self._source_key())
            async with gate:
                answer = await persistent(self, call)()
            return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        tasks = [asyncio.ensure_future(part(i, start)) for i, start in enumerate(range(0, size, step), 1)]
        try:
            await self.complete(client, upload, await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                await self.abandon(client, upload)
            raise
        return int(size)

    def _source_key(self) -> dict[str, Any]:
        """A customer's own key (SSE-C) for what is read; for what is written s3fs sends it."""
        extra = _mapping(self._options.get("s3_additional_kwargs"))
        return {f"CopySource{name}": value for name, value in extra.items() if name.startswith("SSECustomer")}

    @override
    async def begin(self, client: Any, name: str) -> Any:
        answer = await client._call_s3("create_multipart_upload", Bucket=self.bucket, Key=name)
        return {"Bucket": self.bucket, "Key": name, "UploadId": answer["UploadId"]}

    @override
    async def part(self, client: Any, upload: Any, number: int, offset: int, data: bytes, total: int | None) -> Any:
        answer = await client._call_s3("upload_part", **upload, PartNumber=number, Body=data)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    @override
    async def complete(self, client: Any, upload: Any, parts: Sequence[Any]) -> None:
        await client._call_s3("complete_multipart_upload", **upload, MultipartUpload={"Parts": list(parts)})

    @override
    async def abandon(self, client: Any, upload: Any) -> None:
        await client._call_s3("abort_multipart_upload", **upload)

    @override
    def explain(self, error: Exception, key: str) -> Exception:
        code, status = _code_of(error)
        if code in _MISSING:  # the answer to every look for a decision: no text is made that nobody reads
            return failures.not_found(self.url, key)
        said = self.said(error.__cause__ or error)
        name = type(error).__name__
        if isinstance(error, _PartlyDeleted):
            return self._of_code(error.code, 0, error.key, said)
        if code or status:
            return self._of_code(code, status, key, said)
        if name in _NO_CREDENTIALS:
            return failures.denied(self.url, key, said)
        if name in _WRONG_SETTINGS or isinstance(error, (TypeError, ValueError)):
            return failures.refused(self.url, key, said)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return failures.refused(self.url, key, said)
        return failures.unavailable(self.url, key, said)

    def _of_code(self, code: str, status: int, key: str, said: str) -> Exception:
        if code in ("PreconditionFailed", "412") or status == 412:
            return failures.already_exists(self.url, key)
        if code == "NoSuchBucket":
            return failures.no_bucket(self.url, self.bucket)
        if code in _MISSING:
            return failures.not_found(self.url, key)
        if code in ("InvalidRange", "416"):
            return failures.corrupt(self.url, key, "It is shorter than was recorded")
        if code in _FULL or status == 507:
            return failures.full(self.url, key, said)
        if code in _DENIED or status in (401, 403):
            return failures.denied(self.url, key, said)
        if code in _BUSY or status in (408, 409, 425, 429) or (status >= 500 and status != 501):
            return failures.unavailable(self.url, key, said)
        return failures.refused(self.url, key, said)


class _PartlyDeleted(Exception):
    def __init__(self, code: str, key: str, count: int) -> None:
        super().__init__(f"{count} of the objects could not be deleted, the first, {key!r}, because of {code}")
        self.code, self.key = code, key


def _code_of(error: BaseException) -> tuple[str, int]:
    """S3's own error code and the HTTP status, which s3fs keeps only in the cause; empty without an answer."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, Mapping):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", "")), int(status or 0)
    return "", 0


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
