"""Azure Blob Storage, over adlfs and Azure's own client inside it. ``create`` is ``If-None-Match: *``.

adlfs's path functions cut keys at ``?`` and ``#``, so requests go to the client directly.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from prefect_registry.storage import failures
from prefect_registry.storage.base import ObjectInfo
from prefect_registry.storage.remote import CONNECT_SECONDS, RemoteStorage, each

_DENIED = {
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "PublicAccessNotPermitted",
}
_PAGE = 5000
_COPY_POLL_SECONDS = 1.0
_ONCE = {"retry_total": 0}  # Azure's client would wait 15 seconds before its first retry
# adlfs takes a blob without this for a folder if it is empty
_METADATA = {"is_directory": "false"}


class _CopyFailed(Exception):
    """Azure gave up copying in the background. Trying again may help."""


class AzureStorage(RemoteStorage):
    """A container, or a prefix of one: ``az://container/prefix``.

    Args:
        url: Where.
        storage_options: Those of ``adlfs.AzureBlobFileSystem``: ``account_name`` with ``account_key``, ``sas_token``
            or a service principal, or ``connection_string`` …
    """

    @override
    def new_client(self) -> Any:
        from adlfs import AzureBlobFileSystem

        options = {"connection_timeout": CONNECT_SECONDS, "read_timeout": self.read_seconds, **self._options}
        return AzureBlobFileSystem(**options, use_listings_cache=False, skip_instance_cache=True)

    def _blob(self, client: Any, name: str) -> Any:
        return client.service_client.get_blob_client(self.bucket, name)

    @override
    async def send(self, client: Any, name: str, data: bytes, create: bool) -> None:
        async with self._blob(client, name) as blob:
            await blob.upload_blob(data, overwrite=not create, metadata=_METADATA, **_ONCE)

    @override
    async def fetch(self, client: Any, name: str, start: int = 0, end: int | None = None) -> bytes:
        async with self._blob(client, name) as blob:
            length = None if end is None else end - start
            stream = await blob.download_blob(
                offset=start if start or length else None, length=length, max_concurrency=1, **_ONCE
            )
            return bytes(await stream.readall())

    @override
    async def stream(self, client: Any, name: str, start: int, end: int | None, take: Callable[[bytes], None]) -> None:
        async with self._blob(client, name) as blob:
            length = None if end is None else end - start
            answer = await blob.download_blob(offset=start, length=length, max_concurrency=1, **_ONCE)
            async for chunk in answer.chunks():
                take(chunk)

    @override
    async def head(self, client: Any, name: str) -> ObjectInfo | None:
        async with self._blob(client, name) as blob:
            try:
                found = await blob.get_blob_properties(**_ONCE)
            except Exception as error:
                if getattr(error, "status_code", 0) == 404:
                    return None
                raise
        return ObjectInfo(name, found.size, found.last_modified)

    @override
    async def page(self, client: Any, prefix: str, start_after: str, token: str) -> tuple[list[ObjectInfo], str]:
        async with client.service_client.get_container_client(self.bucket) as container:
            blobs = container.list_blobs(name_starts_with=prefix, results_per_page=_PAGE, **_ONCE)
            pages = blobs.by_page(continuation_token=token or None)
            found = [ObjectInfo(b.name, b.size, b.last_modified) async for b in await anext(pages)]
            return found, pages.continuation_token or ""

    @override
    async def remove(self, client: Any, names: Sequence[str]) -> None:
        await each(self._remove_one(client, name) for name in names)

    async def _remove_one(self, client: Any, name: str) -> None:
        async with self._blob(client, name) as blob:
            try:
                await blob.delete_blob(**_ONCE)
            except Exception as error:
                if getattr(error, "status_code", 0) != 404:
                    raise

    @override
    async def copy(self, client: Any, source: str, name: str, size: int) -> tuple[int | None, str | None]:
        async with self._blob(client, source) as original, self._blob(client, name) as blob:
            answer = await blob.start_copy_from_url(original.url, **_ONCE)  # within an account it is done at once
            if answer["copy_status"] == "success":
                return None, None
            while True:
                await asyncio.sleep(_COPY_POLL_SECONDS)
                found = await blob.get_blob_properties(**_ONCE)
                if found.copy.id != answer["copy_id"]:
                    raise _CopyFailed("another copy took its place")
                if found.copy.status != "pending":
                    break
        if found.copy.status != "success":
            raise _CopyFailed(f"{found.copy.status}: {found.copy.status_description}")
        return int(found.size), None

    @override
    async def begin(self, client: Any, name: str) -> Any:
        return name

    @override
    async def part(self, client: Any, upload: Any, number: int, offset: int, data: bytes, total: int | None) -> Any:
        block = base64.b64encode(f"{number:010}".encode()).decode()
        async with self._blob(client, upload) as blob:
            await blob.stage_block(block, data, length=len(data), **_ONCE)
        return block

    @override
    async def complete(self, client: Any, upload: Any, parts: Sequence[Any]) -> None:
        from azure.storage.blob import BlobBlock

        async with self._blob(client, upload) as blob:
            await blob.commit_block_list([BlobBlock(block) for block in parts], metadata=_METADATA, **_ONCE)

    @override
    async def abandon(self, client: Any, upload: Any) -> None:
        """Nothing to do: Azure forgets blocks that are not committed within a week."""

    @override
    def explain(self, error: Exception, key: str) -> Exception:
        from azure.core.exceptions import ClientAuthenticationError  # a key that is no base64 raises a kind of it

        said = self.said(error)
        code = getattr(error, "error_code", None)
        code = str(getattr(code, "value", code))
        status = int(getattr(error, "status_code", 0) or 0)
        if code == "ContainerNotFound":
            return failures.no_bucket(self.url, self.bucket)
        if status == 404 or isinstance(error, FileNotFoundError):
            return failures.not_found(self.url, key)
        if code in ("BlobAlreadyExists", "ConditionNotMet") or isinstance(error, FileExistsError):
            return failures.already_exists(self.url, key)
        if status == 416:
            return failures.corrupt(self.url, key, "It is shorter than was recorded")
        if code in _DENIED or status in (401, 403) or isinstance(error, ClientAuthenticationError):
            return failures.denied(self.url, key, said)
        if status == 412:
            return failures.already_exists(self.url, key)
        if status and status < 500 and status not in (408, 409, 429):
            return failures.refused(self.url, key, said)
        if isinstance(error, (TypeError, ValueError)):
            return failures.refused(self.url, key, said)
        return failures.unavailable(self.url, key, said)
