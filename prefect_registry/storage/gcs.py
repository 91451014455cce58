"""Google Cloud Storage, over gcsfs (its JSON API). ``create`` is ``ifGenerationMatch=0`` in a single request."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from typing_extensions import override

from prefect_registry.ids import random_token
from prefect_registry.storage import failures
from prefect_registry.storage.base import ObjectInfo
from prefect_registry.storage.remote import CONNECT_SECONDS, STREAM_BYTES, RemoteStorage, each

_OBJECT = "b/{}/o/{}"
_REWRITE = "b/{}/o/{}/rewriteTo/b/{}/o/{}"
_INCOMPLETE = 308
"""Of an upload in parts: not all of it is there yet."""
_BINARY = "application/octet-stream"
_PAGE_FIELDS = "nextPageToken,items(name,size,updated)"


class GCSStorage(RemoteStorage):
    """A bucket, or a prefix of one: ``gs://bucket/prefix``.

    Args:
        url: Where.
        storage_options: Those of ``gcsfs.GCSFileSystem``: ``token`` (a path, a dict, or how to find credentials),
            ``project``, ``endpoint_url``, ``requester_pays`` …
    """

    part_bytes = 40 << 20
    copies = 1
    parts_in_order = True

    @override
    def new_client(self) -> Any:
        if str(self._options.get("endpoint_url", "")).startswith("http://"):
            # An emulator: gcsfs would ask it for the bucket's type over TLS, and hang.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        import aiohttp
        from gcsfs.core import GCSFileSystem

        client = GCSFileSystem(**self._options, use_listings_cache=False, skip_instance_cache=True)
        client.requests_timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=self.read_seconds)
        once = getattr(GCSFileSystem._request, "__wrapped__", None)
        if once is not None:  # gcsfs would try six times, for half a minute
            client._request = functools.partial(once, client)
        return client

    @override
    async def send(self, client: Any, name: str, data: bytes, create: bool) -> None:
        url = f"{client._location}/upload/storage/v1/b/{quote(self.bucket)}/o"
        if not create:
            body, headers = io.BytesIO(data), {"Content-Type": _BINARY}
            await client._call("POST", url, uploadType="media", name=name, headers=headers, data=body)
            return
        # In two parts, as gcsfs does it, because emulators look at the condition only there. The boundary is random:
        # gcsfs's own, "==0==", cuts data that contains it.
        boundary = random_token()
        start = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps({'name': name})}\r\n"
        start += f"--{boundary}\r\nContent-Type: {_BINARY}\r\n\r\n"
        body = io.BytesIO(start.encode() + data + f"\r\n--{boundary}--\r\n".encode())
        headers = {"Content-Type": f'multipart/related; boundary="{boundary}"'}
        options = {"uploadType": "multipart", "ifGenerationMatch": "0"}
        await client._call("POST", url, headers=headers, data=body, **options)

    @override
    async def fetch(self, client: Any, name: str, start: int = 0, end: int | None = None) -> bytes:
        limits = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        _, data = await client._call("GET", _OBJECT, self.bucket, name, headers=limits, alt="media")
        return bytes(data)

    @override
    async def stream(self, client: Any, name: str, start: int, end: int | None, take: Callable[[bytes], None]) -> None:
        from gcsfs.retry import validate_response

        await client._set_session()
        url = client._format_path(_OBJECT, (self.bucket, name))
        headers = client._get_headers({"Range": f"bytes={start}-{'' if end is None else end - 1}"})
        params = client._get_params({"alt": "media"})
        async with client.session.get(url, params=params, headers=headers, timeout=client.requests_timeout) as answer:
            if answer.status >= 400:
                validate_response(answer.status, await answer.read(), url)
            while chunk := await answer.content.read(STREAM_BYTES):
                take(chunk)

    @override
    async def head(self, client: Any, name: str) -> ObjectInfo | None:
        try:
            found = await client._call("GET", _OBJECT, self.bucket, name, json_out=True, fields="name,size,updated")
        except FileNotFoundError:
            return None
        return _info(found)

    @override
    async def page(self, client: Any, prefix: str, start_after: str, token: str) -> tuple[list[ObjectInfo], str]:
        options = {"prefix": prefix, "maxResults": 1000, "fields": _PAGE_FIELDS}
        if token:
            options["pageToken"] = token
        if start_after:
            options["startOffset"] = start_after  # inclusive; the caller leaves it out
        answer = await client._call("GET", "b/{}/o", self.bucket, json_out=True, **options)
        return [_info(item) for item in answer.get("items", ())], answer.get("nextPageToken", "")

    @override
    async def remove(self, client: Any, names: Sequence[str]) -> None:
        await each(self._remove_one(client, name) for name in names)

    async def _remove_one(self, client: Any, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await client._call("DELETE", _OBJECT, self.bucket, name)

    @override
    async def copy(self, client: Any, source: str, name: str, size: int) -> tuple[int | None, str | None]:
        headers, token = {"Content-Type": "application/json"}, dict[str, str]()
        while True:  # what takes long is done in pieces, each asked for with the token of the one before
            answer = await client._call(
                "POST", _REWRITE, self.bucket, source, self.bucket, name, headers=headers, json_out=True, **token
            )
            if answer["done"]:
                return int(answer["resource"]["size"]), None
            token = {"rewriteToken": answer["rewriteToken"]}

    @override
    async def begin(self, client: Any, name: str) -> Any:
        from gcsfs.core import initiate_upload

        return await initiate_upload(client, self.bucket, name, _BINARY)

    @override
    async def part(self, client: Any, upload: Any, number: int, offset: int, data: bytes, total: int | None) -> Any:
        end = offset + len(data) - 1
        headers = {"Content-Range": f"bytes {offset}-{end}/{'*' if total is None else total}", "Content-Type": _BINARY}
        status, answer, *_ = await client._request("POST", upload, headers=headers, data=io.BytesIO(data))
        if status != _INCOMPLETE:
            return
        kept = answer.get("Range")  # the store may take less than it was given, also of the last part; none: nothing
        begin = int(kept.rpartition("-")[2]) + 1 if kept else 0
        if offset < begin <= end:
            await self.part(client, upload, number, begin, data[begin - offset :], total)
        elif begin <= offset or total is not None:
            said = f"It has taken {begin:,} of {end + 1:,} bytes"
            raise failures.unavailable(self.url, "", said)

    @override
    async def complete(self, client: Any, upload: Any, parts: Sequence[Any]) -> None:
        """Nothing to do: the last part says that it is the last."""

    @override
    async def abandon(self, client: Any, upload: Any) -> None:
        await client._call("DELETE", upload)

    @override
    def explain(self, error: Exception, key: str) -> Exception:
        said = self.said(error)
        status = _status_of(error)
        if isinstance(error, FileNotFoundError) or status == 404:
            return failures.not_found(self.url, key)
        if isinstance(error, FileExistsError) or status == 412:
            return failures.already_exists(self.url, key)
        if status == 416:
            return failures.corrupt(self.url, key, "It is shorter than was recorded")
        if status in (401, 403) or str(error).startswith("Forbidden") or _is_credentials(error):
            return failures.denied(self.url, key, said)
        if status == 507:
            return failures.full(self.url, key, said)
        if status and status < 500 and status not in (408, 409, 429):
            return failures.refused(self.url, key, said)
        if isinstance(error, (TypeError, ValueError)) and not isinstance(error, json.JSONDecodeError):
            return failures.refused(self.url, key, said)
        return failures.unavailable(self.url, key, said)


def _info(item: dict[str, Any]) -> ObjectInfo:
    updated = datetime.fromisoformat(item["updated"])
    return ObjectInfo(item["name"], int(item.get("size", 0)), updated)


def _status_of(error: Exception) -> int:
    """The HTTP status in one of gcsfs's or aiohttp's errors, 0 without an answer."""
    code = getattr(error, "code", None) or getattr(error, "status", None)
    return int(code) if isinstance(code, (int, str)) and str(code).isdigit() else 0


def _is_credentials(error: Exception) -> bool:
    """Google's library could not get a token, and trying again will not help."""
    module, name = type(error).__module__, type(error).__name__
    if module.startswith("google.auth"):
        return name != "TransportError" and not getattr(error, "retryable", False)
    return name == "FileNotFoundError" and "credentials" in str(error)
