"""Files of models to S3 and back out: what ``save_to_s3`` of reference system 4 does, over the storage of the package.

Which keys were there before is looked up first, so that an upload that fails, or whose registration fails, can be taken
back without touching what others have stored. That look-up is no lock: nobody else may write the same keys meanwhile.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prefect_registry.errors import IntegrityError, InvalidInput
from prefect_registry.models.local_files import files_at
from prefect_registry.models.utils import bucket_problems, s3_parts_of, s3_uri_from
from prefect_registry.storage import Storage, Upload
from prefect_registry.storage.concurrency import in_parallel
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.s3 import S3Storage
from prefect_registry.storage.secrets import without_credentials

Told = Callable[[int, int], object]
"""Told how many bytes are sent, and how many there are, now and then and once at the end; from several threads, one
at a time."""

SMALLEST_PART_BYTES: Final = 5 << 20
"""S3 takes no smaller part but the last (Amazon S3 User Guide, "multipart upload limits")."""
_MIB = 1 << 20


@dataclass
class S3Params:
    """Where ``upload_artifact_and_register_model`` uploads to.

    Attributes:
        s3_prefix: Keys are ``<s3_prefix>/<path below the folder>``; slashes around it mean nothing.
        endpoint_url: ``AWS_S3_ENDPOINT`` when None, else Amazon's, or what its configuration files say.
        access_key_id: ``AWS_ACCESS_KEY_ID`` when None, else what Amazon's clients find: profiles, roles …
        secret_access_key: ``AWS_SECRET_ACCESS_KEY`` when None, and so on.
        region: ``AWS_DEFAULT_REGION`` when None, and so on.
        multipart_threshold: In bytes: larger files are sent in parts.
        multipart_chunksize: In bytes: the size of a part, 5 MiB at least.
        max_pool_connections: How many connections are open, and files on their way, at the same time.
    """

    bucket_name: str
    s3_prefix: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    region: str | None = None
    multipart_threshold: int = _MIB
    multipart_chunksize: int = _MIB
    max_pool_connections: int = 10


@dataclass(frozen=True)
class Uploaded:
    """What an upload has stored.

    Attributes:
        uri: Of the prefix below which the files lie.
        created: URIs of the keys that were not there before: what :func:`delete_from_s3` may take back.
        replaced: URIs of the keys that were.
    """

    uri: str
    created: tuple[str, ...]
    replaced: tuple[str, ...]


def save_to_s3(
    path: str | os.PathLike[str],
    bucket_name: str,
    s3_prefix: str,
    *,
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    region: str | None = None,
    multipart_threshold: int = _MIB,
    multipart_chunksize: int = _MIB,
    max_pool_connections: int = 10,
    progress: Told | None = None,
) -> str:
    """Store a file, or all files of a folder, and return the URI of the prefix; see :func:`upload_to_s3`.

    The arguments are the fields of :class:`S3Params`.
    """
    params = S3Params(
        bucket_name,
        s3_prefix,
        endpoint_url,
        access_key_id,
        secret_access_key,
        region,
        multipart_threshold,
        multipart_chunksize,
        max_pool_connections,
    )
    return upload_to_s3(path, params, progress).uri


def upload_to_s3(path: str | os.PathLike[str], params: S3Params, progress: Told | None = None) -> Uploaded:
    """Store a file, or all files of a folder, several at once; replaces what is there under the same keys.

    Links to files are followed, links to folders are not (as ``os.walk`` does). Each file's size in the store is
    checked. When anything fails, the keys that were not there before are deleted again.

    Raises:
        InvalidInput: There is no such file or folder, or it has nothing to upload, or ``params`` cannot be meant.
        IntegrityError: A file changed while it was sent, or the store has another size than was sent.
        AccessDenied, StorageError: The store refused; it must allow to list, read and write below the prefix, and
            to delete there, for taking back.
    """
    if problems := list(_problems(params)):
        raise InvalidInput.of("S3Params", problems)
    prefix = params.s3_prefix.strip("/")
    files = {f"{prefix}/{below}" if prefix else below: file for below, file in files_at(Path(path)).items()}
    sizes = {key: file.stat().st_size for key, file in files.items()}
    bucket = _Bucket(params)
    known = set(bucket.sizes(files))
    created = [key for key in files if key not in known]
    try:
        bucket.send(files, sizes, progress)
    except BaseException as error:
        _take_back(bucket, created, error)
        raise
    return Uploaded(
        bucket.address(prefix),
        created=tuple(bucket.address(key) for key in created),
        replaced=tuple(bucket.address(key) for key in files if key in known),
    )


def delete_from_s3(
    uris: Iterable[str],
    *,
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    region: str | None = None,
) -> None:
    """Delete exactly these objects, such as ``Uploaded.created``; one that is missing is fine.

    Endpoint and region are those of the URIs unless they are given.

    Raises:
        InvalidInput: One of them is no URI of an object in S3; then nothing is deleted.
    """
    keys: dict[tuple[str, str | None, str | None], list[str]] = defaultdict(list)
    for uri in uris:
        parts = s3_parts_of(uri)
        if not parts.path or parts.path.endswith("/"):
            raise InvalidInput.of("The URIs", [f"{uri!r:.200} names no object"])
        keys[parts.bucket, endpoint_url or parts.endpoint, region or parts.region].append(parts.path)
    for (bucket, endpoint, place), names in keys.items():
        params = S3Params(bucket, "", endpoint, access_key_id, secret_access_key, place)
        if problems := list(_problems(params)):
            raise InvalidInput.of("The credentials", problems)
        _Bucket(params).storage.delete_many(names)


class _Bucket:
    """A whole bucket as a storage, with the settings of an upload."""

    def __init__(self, params: S3Params) -> None:
        self.params = params
        options = _storage_options(params)
        self._s3 = S3Storage(f"s3://{params.bucket_name}", options, proved=True)  # nothing here is create-if-absent
        self.storage: Storage = ResolvingStorage(self._s3)

    def address(self, key: str) -> str:
        """The URI of a key. An endpoint that nobody named is the one that the client has found."""
        endpoint, region = _endpoint(self.params), self.params.region
        if endpoint is None:
            found = self._s3.client().s3.meta
            endpoint = str(found.endpoint_url)
            region = region or (None if found.region_name == "aws-global" else found.region_name)
        return s3_uri_from(key, self.params.bucket_name, endpoint=without_credentials(endpoint), region=region)

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """The sizes of those that are there."""
        found = self._each([functools.partial(self.storage.info, key) for key in keys])
        return {info.key: info.size for info in found if info is not None}

    def send(self, files: dict[str, Path], sizes: dict[str, int], progress: Told | None) -> None:
        """Store all, and see that they are there as they were when they were counted."""
        meter = _Meter(sum(sizes.values()), progress)
        params, part_bytes = self.params, max(SMALLEST_PART_BYTES, self.params.multipart_chunksize)
        whole = max(params.multipart_threshold, part_bytes)
        sent: dict[str, int] = {}
        for limit, wanted in ((whole, False), (part_bytes, True)):  # first what goes in one request each
            self._s3.part_bytes = limit
            group = [Upload(key, file) for key, file in files.items() if (sizes[key] >= whole) is wanted]
            calls = [functools.partial(self.storage.upload, [upload], meter.add) for upload in group]
            sent.update((stored.key, stored.size) for (stored,) in self._each(calls))
        stored = self.sizes(files)
        wrong = [key for key in files if not sizes[key] == sent[key] == stored.get(key)]
        if wrong:
            key = wrong[0]
            there = "no bytes" if key not in stored else f"{stored[key]:,} bytes"
            raise IntegrityError(
                f"{len(wrong):,} of the files are not in the store as they are here, such as {key!r}",
                why=f"It had {sizes[key]:,} bytes, {sent[key]:,} were sent, and the store has {there}",
                todo="See that nobody changes the files or writes the same keys meanwhile, and upload again",
                keys=wrong,
            )
        meter.finish()

    def _each(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return in_parallel(calls, self.params.max_pool_connections)


class _Meter:
    """Sums what was sent. What is sent twice, as its answer was lost, counts up to the whole."""

    def __init__(self, total: int, told: Told | None) -> None:
        self._total, self._told = total, told
        self._done = 0
        self._last: int | None = None
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done = min(self._done + count, self._total)
            self._tell()

    def finish(self) -> None:
        with self._lock:
            self._done = self._total
            self._tell()

    def _tell(self) -> None:
        if self._told is not None and self._done != self._last:
            self._told(self._done, self._total)
            self._last = self._done


def _take_back(bucket: _Bucket, keys: Sequence[str], error: BaseException) -> None:
    try:
        bucket.storage.delete_many(keys)
    except Exception as second:  # whatever it is, the first error is the one to tell
        error.add_note(f"What was uploaded could not be deleted again: {second}")


def _endpoint(params: S3Params) -> str | None:
    return params.endpoint_url or os.environ.get("AWS_S3_ENDPOINT") or None


def _storage_options(params: S3Params) -> dict[str, Any]:
    """For ``s3fs``. Credentials of the environment are left to the client, which knows session tokens and more."""
    options: dict[str, Any] = {"config_kwargs": {"max_pool_connections": params.max_pool_connections}}
    if params.access_key_id or params.secret_access_key:
        key, secret = _credentials(params)
        options |= {"key": key, "secret": secret}
    if endpoint := _endpoint(params):
        options["endpoint_url"] = endpoint
    if region := params.region or os.environ.get("AWS_DEFAULT_REGION"):
        options["client_kwargs"] = {"region_name": region}
    return options


def _credentials(params: S3Params) -> tuple[str | None, str | None]:
    key = params.access_key_id or os.environ.get("AWS_ACCESS_KEY_ID")
    return key, params.secret_access_key or os.environ.get("AWS_SECRET_ACCESS_KEY")


def _problems(params: S3Params) -> Iterator[str]:
    yield from bucket_problems(params.bucket_name, "bucket_name")
    if not isinstance(params.s3_prefix, str):
        yield f"s3_prefix must be a string, not {type(params.s3_prefix).__name__}"
    for name in ("multipart_threshold", "multipart_chunksize", "max_pool_connections"):
        value = getattr(params, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"{name} must be a whole number from 1, not {value!r:.80}"
    if (params.access_key_id or params.secret_access_key) and not all(_credentials(params)):
        yield "access_key_id and secret_access_key must be given together"


__all__ = ["S3Params", "Uploaded", "delete_from_s3", "save_to_s3", "upload_to_s3"]
