"""What the object stores have in common: S3, Google Cloud Storage and Azure, over the clients of fsspec.

A backend says how to send one request of each kind and what the answer means. Here is everything around it: one client
per process (a fork gets its own), time limits, concurrency, listings in order, and whole files in parts.

The clients' own retries are off, so that a call is one attempt. What cannot be switched off (aiohttp sends an
idempotent request again on a broken connection) is what the reading back of
:class:`~prefect_registry.storage.resolving.ResolvingStorage` is for.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import os
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any, BinaryIO, TypeVar

from typing_extensions import override

from prefect_registry.errors import NotFound, RegistryError, StorageError, StorageUnavailable
from prefect_registry.storage import failures
from prefect_registry.storage.base import (
    CopyOf,
    Download,
    ObjectInfo,
    Progress,
    Storage,
    Stored,
    Upload,
    check_document,
    check_key,
    check_prefix,
)
from prefect_registry.storage.concurrency import in_parallel
from prefect_registry.storage.copies import check_sizes, copy_inside
from prefect_registry.storage.looping import Request
from prefect_registry.storage.ordering import in_key_order, safe_start
from prefect_registry.storage.parts import download_in_parts, persistent, upload_in_parts
from prefect_registry.storage.ranges import range_reader
from prefect_registry.storage.secrets import Scrubber

T = TypeVar("T")

THREADS = 16
CONNECT_SECONDS = 5
CALL_SECONDS = 60.0
PART_SECONDS = 600.0
STREAM_BYTES = 256 << 10
_DELETES_AT_ONCE = 32

_clients: dict[tuple[int, int], Any] = {}  # a parent's clients are kept in its children: closing them there would hang
_lock = threading.Lock()


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


class RemoteStorage(Storage):
    """An object store behind an fsspec client.

    Args:
        url: ``scheme://bucket/prefix``.
        storage_options: What the client needs (endpoint, credentials …), as for ``fsspec.filesystem``.
    """

    read_seconds = 20.0
    """How long an answer may take once a request is sent."""

    part_bytes = 8 << 20
    """Files up to this size are sent in one request; larger ones in parts of it."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(storage_options or {})
        scheme, _, path = url.partition("://")
        self.bucket, _, prefix = path.strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._url = f"{scheme}://{self.bucket}/{prefix}".rstrip("/")
        self._scrub = Scrubber(self._options)
        self._bucket_seen = False

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._url, self._options))

    def __del__(self) -> None:
        _clients.pop((os.getpid(), id(self)), None)

    @property
    @override
    def url(self) -> str:
        return self._url

    # What a backend says ------------------------------------------------------------------------------------------

    @abstractmethod
    def new_client(self) -> Any:
        """A filesystem of fsspec with caches off, for this process."""

    @abstractmethod
    async def send(self, client: Any, name: str, data: bytes, create: bool) -> None:
        """Store a whole object in one request; with ``create``, only if it is absent."""

    @abstractmethod
    async def fetch(self, client: Any, name: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of an object, or those from ``start`` up to ``end``."""

    @abstractmethod
    async def stream(self, client: Any, name: str, start: int, end: int | None, take: Callable[[bytes], None]) -> None:
        """Give those bytes to ``take`` as they come."""

    @abstractmethod
    async def head(self, client: Any, name: str) -> ObjectInfo | None:
        """Size and time of an object, under any key, or None."""

    @abstractmethod
    async def page(
        self, client: Any, prefix: str, start_after: str, token: str
    ) -> tuple[builtins.list[ObjectInfo], str]:
        """The next objects below ``prefix`` under their full names, and the token of the page after it, if any."""

    @abstractmethod
    async def remove(self, client: Any, names: Sequence[str]) -> None:
        """Delete up to 1,000 objects; missing ones are fine."""

    @abstractmethod
    def explain(self, error: Exception, key: str) -> Exception:
        """What an exception of the client means, as an error of this package."""

    @abstractmethod
    async def copy(self, client: Any, source: str, name: str, size: int) -> tuple[int | None, str | None]:
        """Copy an object, which should have ``size`` bytes. What the store tells of the new one: size, sha256."""

    @abstractmethod
    async def begin(self, client: Any, name: str) -> Any:
        """Begin an upload in parts."""

    @abstractmethod
    async def part(self, client: Any, upload: Any, number: int, offset: int, data: bytes, total: int | None) -> Any:
        """Send part ``number`` (from 1). ``total`` is the size of the object, known with the last part."""

    @abstractmethod
    async def complete(self, client: Any, upload: Any, parts: Sequence[Any]) -> None:
        """Make the object appear."""

    @abstractmethod
    async def abandon(self, client: Any, upload: Any) -> None:
        """Take the parts back."""

    copies = 2
    """How often a part stands in memory while it is sent: once for us, and once in the client's buffer."""

    parts_in_order = False
    """Whether a part may be sent only after the one before it was taken."""

    # What follows from it -----------------------------------------------------------------------------------------

    def client(self) -> Any:
        """This process's filesystem of fsspec."""
        key = (os.getpid(), id(self))
        found = _clients.get(key)
        if found is None:
            with _lock:
                found = _clients.get(key)
                if found is None:
                    found = _clients[key] = self._made_client()
        return found

    def _made_client(self) -> Any:
        try:
            return self.new_client()
        except ImportError as error:
            raise StorageError(
                f"{self._url} needs a package that is not installed",
                why=str(error),
                todo="Install the package of this kind of storage (s3fs, gcsfs or adlfs)",
            ) from error
        except Exception as error:
            raise self._explained(error, "") from None

    def run(self, key: str, call: Callable[..., Awaitable[T]], *args: Any, seconds: float = CALL_SECONDS) -> T:
        """Run a request of the backend on the client's event loop, and translate what it raises."""
        try:
            return self._seen(self._request(call, *args, seconds=seconds).answer())
        except Exception as error:
            raise self._explained(error, key) from None  # the original may hold credentials

    def _seen(self, result: T) -> T:
        self._bucket_seen = self._bucket_seen or result is not None
        return result

    def _request(self, call: Callable[..., Awaitable[T]], *args: Any, seconds: float = CALL_SECONDS) -> Request[T]:
        client = self.client()
        return Request(client.loop, call, (client, *args), seconds)

    def start(self, call: Callable[..., Awaitable[T]], *args: Any) -> Future[T]:
        """Start a request without waiting for it; :meth:`outcome` does."""
        client = self.client()

        async def limited() -> T:
            return await asyncio.wait_for(call(client, *args), PART_SECONDS)

        return asyncio.run_coroutine_threadsafe(limited(), client.loop)

    def outcome(self, future: Future[T], key: str) -> T:
        """The result of what was started, or its error as one of this package."""
        try:
            return future.result()
        except Exception as error:
            raise self._explained(error, key) from None

    def _explained(self, error: Exception, key: str) -> Exception:
        explained = self.explained(error, key)
        if isinstance(explained, NotFound) and not self._bucket_seen:
            return self._bucket_missing(key) or explained
        return explained

    def explained(self, error: Exception, key: str) -> Exception:
        """As :meth:`explain`, for errors that may be of this package already."""
        return error if isinstance(error, RegistryError) else self.explain(error, key)

    def _bucket_missing(self, key: str) -> StorageError | None:
        """Some stores answer the same for a missing object and a missing bucket: find out, once."""
        try:
            self._request(self.page, self._prefix, "", "").answer()
        except Exception as error:
            explained = self.explained(error, key)
            if isinstance(explained, NotFound):
                return failures.no_bucket(self._url, self.bucket)
            return explained if isinstance(explained, StorageError) else None
        self._bucket_seen = True
        return None

    def said(self, error: BaseException) -> str:
        """What the client said, without secrets."""
        text = " ".join(str(error).split())[:500]
        return self._scrub(f"The client said: {type(error).__name__}: {text}" if text else type(error).__name__)

    @override
    def create(self, key: str, data: bytes) -> None:
        try:
            self.run(key, self.send, self._name(key), check_document(data), True)
        except NotFound:
            raise failures.no_bucket(self._url, self.bucket) from None

    @override
    def put(self, key: str, data: bytes) -> None:
        try:
            self.run(key, self.send, self._name(key), data, False)
        except NotFound:
            raise failures.no_bucket(self._url, self.bucket) from None

    @override
    def get(self, key: str) -> bytes:
        return self.run(key, self.fetch, self._name(key))

    @override
    def prefetch(self, key: str) -> Callable[[], bytes]:
        name = self._name(key)

        def answer() -> bytes:
            try:
                return self._seen(request.answer())
            except Exception as error:
                raise self._explained(error, key) from None

        try:
            request = self._request(self.fetch, name)
        except RuntimeError:  # the event loop has ended, as get will say
            return functools.partial(self.get, key)
        return answer

    @override
    def open(self, key: str) -> BinaryIO:
        info = self.info(key)
        if info is None:
            raise failures.not_found(self._url, key)
        name, fetch = self._name(key), persistent(self, self.fetch)
        return range_reader(info.size, lambda start, end: self.run(key, fetch, name, start, end))

    @override
    def info(self, key: str) -> ObjectInfo | None:
        found = self.run(key, self.head, self._name(key))
        if found is None and not self._bucket_seen and (missing := self._bucket_missing(key)):
            raise missing
        return found and ObjectInfo(key, found.size, found.modified)

    @override
    def concurrently(self, calls: Sequence[Callable[[], T]]) -> builtins.list[T]:
        return in_parallel(calls, THREADS)

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> builtins.list[Stored]:
        stored: builtins.list[Stored] = []
        unchecked: dict[str, CopyOf] = {}

        def send(file: Upload) -> Stored:
            if isinstance(file.source, CopyOf):
                source = self._name(file.source.key)
                known = copy_inside(self, source, self._name(file.key), file.source, progress)
                done = Stored(file.key, file.source.size, file.source.sha256)
                if not known:
                    unchecked[file.key] = file.source
                    return done
            else:
                done = upload_in_parts(self, self._name(file.key), file.key, file.source, progress)
            stored.append(done)
            return done

        try:
            sent = self.concurrently([functools.partial(send, file) for file in files])
            check_sizes(self, unchecked)
            return sent
        except StorageUnavailable as error:
            error.context["stored"] = [asdict(done) for done in stored]
            raise

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        fetched: builtins.list[str] = []

        def fetch(file: Download) -> None:
            download_in_parts(self, self._name(file.key), file, progress)
            fetched.append(str(file.target))

        try:
            self.concurrently([functools.partial(fetch, file) for file in files])
        except StorageUnavailable as error:
            error.context["fetched"] = fetched
            raise

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        full = self._prefix + check_prefix(prefix)
        after = safe_start(prefix, start_after)
        return in_key_order(self._pages(full, self._prefix + after if after else ""), prefix, start_after)

    def _pages(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        token = ""
        while True:
            try:
                found, token = self.run(prefix, self.page, prefix, start_after, token)
            except NotFound:
                raise failures.no_bucket(self._url, self.bucket) from None
            for info in found:
                if not info.key.endswith("/"):  # an empty object that some tools make in place of a folder
                    yield ObjectInfo(info.key[len(self._prefix) :], info.size, info.modified)
            if not token:
                return

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        names = [self._name(key) for key in keys]
        calls = [
            functools.partial(self.run, names[i], self.remove, names[i : i + 1000], seconds=PART_SECONDS)
            for i in range(0, len(names), 1000)
        ]
        in_parallel(calls, 3)

    @override
    def fs(self) -> tuple[object, str]:
        return self.client(), f"{self.bucket}/{self._prefix}".rstrip("/")

    @override
    def storage_options(self) -> dict[str, object]:
        return dict(self._options)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)


async def each(calls: Iterable[Awaitable[None]]) -> None:
    """Await all, a bounded number at a time; then the first error, if any, is raised."""
    gate = asyncio.Semaphore(_DELETES_AT_ONCE)

    async def one(call: Awaitable[None]) -> None:
        async with gate:
            await call

    for outcome in await asyncio.gather(*(one(call) for call in calls), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
