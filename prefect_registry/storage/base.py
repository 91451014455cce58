"""The one narrow interface under everything: bytes under keys, on any filesystem (DESIGN.md 5).

Implementations make **one attempt** per call and classify what went wrong; retrying and the resolution of lost answers
are :class:`prefect_registry.storage.resolving.ResolvingStorage`, which wraps them all. Keys are relative,
``/``-separated, without empty, ``.`` or ``..`` segments. Every method is synchronous, thread-safe, and works again
after a fork. Instances pickle as their configuration, never as live clients.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

from prefect_registry.errors import InvalidInput

T = TypeVar("T")
Progress = Callable[[int], None]

LARGEST_DOCUMENT_BYTES = 1 << 20
LONGEST_KEY_BYTES = 1000
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f\\\ud800-\udfff]+"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing tells: ``size`` in bytes, ``modified`` by the store's own clock (UTC)."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class CopyOf:
    """An object of the same store whose size in bytes and hexadecimal sha256 are known from a verified manifest.

    Uploading it makes the store copy it: its bytes are not sent, and its copy shares nothing with it.
    """

    key: str
    size: int
    sha256: str


Readable = Path | BinaryIO | bytes
"""What this process can read to send it: a local path, an open binary file (from where it stands), or bytes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to store under ``key``: something to send, or an object of the same store to copy."""

    key: str
    source: Readable | CopyOf


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored: ``size`` in bytes and the hexadecimal ``sha256`` of the bytes that were sent or copied."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Download:
    """One object to fetch into ``target``. With ``sha256``, bytes that differ raise ``IntegrityError``."""

    key: str
    target: Path
    size: int | None = None
    sha256: str | None = None


class Storage(ABC):
    """Bytes under keys. Ten operations; nothing else in the package touches a filesystem of the user."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Root as people write it (``s3://bucket/prefix``), without credentials and without a slash at the end."""

    @property
    def near(self) -> bool:
        """Whether asking costs next to nothing, so that who does not know what is there looks before it writes."""
        return False

    def unguarded(self) -> Storage:
        """The same storage, taken at its word: it writes without first trying out whether the store can be trusted."""
        return self

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Store 1 byte to 1 MiB under ``key`` only if it is absent, in one atomic, durable request.

        Raises:
            AlreadyExists: The store says that the key exists. It may be our own write whose answer was lost.
            StorageUnavailable: No certain answer; the bytes may have landed.
            AccessDenied, StorageError: Refused; the bytes did not land.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` (may be empty) under ``key``, replacing what is there. Atomic."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole object, never from a cache. Raises ``NotFound``."""

    def prefetch(self, key: str) -> Callable[[], bytes] | None:
        """Begin a :meth:`get` and go on; calling what this returns, once, waits for it: bytes, or what get raises.

        None where a get cannot be under way while its thread does something else: then run it :meth:`concurrently`.
        """
        return None

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """A seekable binary file for reading parts of an object. Raises ``NotFound``."""

    @abstractmethod
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        """Store whole files, several at once, streaming; sha256 computed on the way. Replaces what is there.

        ``progress`` gets the number of bytes since its last call. Durable on return. Order as given.

        A :class:`CopyOf` is copied inside the store. That it still has its size is always checked, its sha256 where
        the bytes pass by or the store tells it; what else may be wrong with it, a reader of the copy finds.

        Raises:
            NotFound: The object to copy is missing; ``context["key"]`` is its key.
            IntegrityError: It is not what its manifest says. Where the store copies by itself, what it copied may
                stand under the new key.
        """

    @abstractmethod
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        """Fetch whole objects, several at once, each verified and then moved into place.

        Raises ``NotFound`` for a missing object, ``IntegrityError`` for other bytes than expected.
        """

    def concurrently(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run calls on this storage at the same time, as far as the store profits from it. Results in order.

        Every call is finished before this returns; then the first error, in order, is raised.
        """
        return _all_or_first_error(calls)

    def in_order(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """As :meth:`concurrently`, for calls each of which is one :meth:`create` or :meth:`put` of this storage.

        Where that is as fast as all at once they are made one after the other, so that a process that dies between
        two has made the first; they are durable when this returns, and perhaps not before.
        """
        return self.concurrently(calls)

    @abstractmethod
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below ``prefix`` (which is empty or ends in ``/``), ascending by key (UTF-8 bytes), uncached.

        Only keys greater than ``start_after``. Nothing below a missing prefix is an empty listing; a missing bucket is
        ``StorageError``.
        """

    def names(self, prefix: str) -> Iterator[str]:
        """The names directly below ``prefix``, in any order; with a slash those that have objects below them.

        All that were there when it began, and of those that came since, any; with a slash also what a writer is about
        to put an object below. One that was deleted and came again may be told twice.
        """
        cut, last = len(prefix), ""
        for info in self.list(prefix):
            name, slash, _ = info.key[cut:].partition("/")
            if name + slash != last:
                yield (last := name + slash)

    @abstractmethod
    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete exactly these objects; a missing one is fine. Raises when any of them could not be deleted."""

    @abstractmethod
    def info(self, key: str) -> ObjectInfo | None:
        """Size and store time of one object, or None. Never from a cache."""

    def fs(self) -> tuple[object, str]:
        """The fsspec filesystem and the path of the root on it, for readers such as pyarrow and pandas."""
        raise InvalidInput(f"{self.url} has no fsspec filesystem", todo="Use open() instead")

    def storage_options(self) -> dict[str, object]:
        """What fsspec needs beside the URL to open the same store; may hold secrets, so never log it."""
        return {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"


def _all_or_first_error(calls: Sequence[Callable[[], T]]) -> list[T]:
    outcomes: list[T] = []
    first: BaseException | None = None
    for call in calls:
        try:
            outcomes.append(call())
        except Exception as error:
            first = first or error
    if first is not None:
        raise first
    return outcomes


def check_key(key: str) -> str:
    """``key`` if it is a legal one. Keys are made by the package, so this guards against our own mistakes."""
    if not _KEY.fullmatch(key) or (len(key) > LONGEST_KEY_BYTES // 4 and len(key.encode()) > LONGEST_KEY_BYTES):
        raise InvalidInput(f"{key!r:.200} is not a legal key", committed="no")
    return key


def check_prefix(prefix: str) -> str:
    """``prefix`` if it is empty or a legal key with a slash behind it (DESIGN.md 3)."""
    if prefix and (prefix[-1] != "/" or not _KEY.fullmatch(prefix[:-1])):
        raise InvalidInput(f"{prefix!r:.200} is not a legal prefix", todo="End it with a slash", committed="no")
    return prefix


def check_document(data: bytes) -> bytes:
    """``data`` if one conditional PUT may carry it (never empty: an empty one is not atomic everywhere)."""
    if not 0 < len(data) <= LARGEST_DOCUMENT_BYTES:
        raise InvalidInput(
            f"a document has {len(data):,} bytes; 1 to {LARGEST_DOCUMENT_BYTES:,} are allowed", committed="no"
        )
    return data
