"""What a materializer makes of an object, and what it is given to make the object again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
        source: The bytes; a file on this disk, which is read while it is stored and must not change meanwhile; an open
            binary file that can be sought, read from its start, perhaps twice; or a function that writes the file to
            this disk, called once.
    """

    path: str
    source: bytes | Path | BinaryIO | Write


@dataclass(frozen=True)
class Payload:
    """An object as it is stored.

    Attributes:
        parts: Its files, in any order. Payloads of at most 16 KiB in all lie in the object's record itself.
        init: JSON facts that loading needs beside the files; at most 64 KiB. They are part of what the object is:
            objects with the same files and other facts differ.
    """

    parts: Sequence[Part]
    init: Mapping[str, Any] = field(default_factory=dict)


class StoredPayload(ABC):
    """A payload that is read. Every byte that is handed out was checked against the manifest, unless the caller of
    ``load`` asked for ``verify="none"`` or, for :meth:`open`, reads only parts of a file.

    Errors: ``NotFound`` of a path that the payload does not have, ``IntegrityError`` naming the file that is damaged
    or missing, ``StorageUnavailable`` when the store cannot be reached.
    """

    init: Mapping[str, Any]
    lazy: bool
    """Whether the caller of ``load`` asked for an object that reads only what is used."""
    output_dir: Path | None
    """Where the caller of ``load`` wants files and folders that an object consists of."""

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
        """A whole file on this disk, to be read while ``Materializer.load`` runs, and never changed or handed out."""

    @abstractmethod
    def export(self, folder: Path) -> Path:
        """Write all files below ``folder``, which is made; they belong to the caller. Returns ``folder``."""
