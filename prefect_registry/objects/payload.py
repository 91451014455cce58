"""What a materializer makes of an object, and what it is given to make the object again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

Write = Callable[[BinaryIO], object]
"""Writes a whole file to an open binary file that can be sought."""


@dataclass(frozen=True)
class Part:
    """One file of a payload.

    Attributes:
        path: Relative, ``/``-separated; unique within the payload (``names.path_problems`` says what is refused).
        source: The bytes; a file on this disk, which is read while it is stored and must not change meanwhile; or a
            function that writes the file, called once.
    """

    path: str
    source: bytes | Path | Write


def _nothing_changed() -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Payload:
    """An object as it is stored.

    Attributes:
        parts: Its files, in any order. Payloads of at most 16 KiB in all lie in the object's record itself.
        init: JSON facts that loading needs beside the files; at most 64 KiB. They are part of what the object is:
            objects with the same files and other facts differ.
        changes: Called once all parts are read and before anything is published: what has changed meanwhile of the
            files on this disk that the parts name, one sentence each. Anything yielded means that the object must not
            be published.
        keep: What has to live until the parts are stored: a temporary folder that the parts name.
    """

    parts: Sequence[Part]
    init: Mapping[str, Any] = field(default_factory=dict)
    changes: Callable[[], Iterable[str]] = field(default=_nothing_changed, compare=False, repr=False)
    keep: object = field(default=None, compare=False, repr=False)


class StoredPayload(ABC):
    """A payload that is read. Every byte that is handed out was checked against the manifest, unless the caller of
    ``load`` asked for ``verify="none"`` or, for :meth:`open`, reads only parts of a file.

    Errors: ``NotFound`` of a path that the payload does not have, ``IntegrityError`` naming the file that is damaged
    or missing, ``StorageUnavailable`` when the store cannot be reached.
    """

    init: Mapping[str, Any]
    lazy: bool = False
    """Whether the caller of ``load`` asked for an object that reads only what is used. Such an object may go on to call
    :meth:`read` and :meth:`open` after ``Materializer.load`` has returned."""
    output_dir: Path | None = None
    """Where the caller of ``load`` wants files and folders to be; ``None`` means a temporary folder that is removed
    when the process ends."""

    @abstractmethod
    def paths(self) -> list[str]:
        """The files, sorted."""

    @abstractmethod
    def size(self, path: str) -> int:
        """How many bytes a file has."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A whole file."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """A seekable binary file that reads parts. Close it."""

    @abstractmethod
    def local(self, path: str) -> Path:
        """A whole file on this disk, to be read while ``Materializer.load`` runs, and never changed or handed out.

        It may be memory-mapped for longer: it is only ever deleted or replaced by renaming, never written to again.
        """

    @abstractmethod
    def export(self, folder: Path) -> Path:
        """Write all files below ``folder``, which is made if it is not there; they belong to the caller. Returns
        ``folder``.
        """
