"""What the generation of an object version holds (DESIGN.md 2, 3)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from prefect_registry.records.base import Record
from prefect_registry.records.datasets import FileEntry
from prefect_registry.records.runs import Reference

PAYLOAD = "payload"
"""The type of the cells, named by the ids of payloads, that tell which bytes of objects retention has released."""
MOST_INLINE_BYTES = 16 * 1024
"""How large a payload may be to lie in the generation itself (DESIGN.md 3)."""


class InlineFile(Record):
    """A file of a payload that lies in the record: its bytes in base64."""

    path: str
    size: int
    sha256: str
    data: str


class ObjectValue(Record):
    """One object version.

    Attributes:
        object: The name, and ``version``; together the name of the cell.
        materializer: The name of the form that the files have.
        class_: The class of what was saved, ``module:qualname``; for people, never imported.
        init: JSON facts that loading needs beside the files.
        digest: sha256 over ``materializer``, ``init`` and every file's path, size and sha256: equal for equal content.
        root: The key of the folder that holds the files, below the data of the run that wrote them; empty for inline
            ones.
        payload: The id of the files, ``pl_`` and what an inner id has; empty for inline ones.
        metadata: JSON of the user's.
        restores: The generation of this cell that this one is the same as, after a deletion; then the rest is empty.
    """

    object: str
    version: str
    materializer: str = ""
    class_: str = Field(default="", alias="class")
    init: dict[str, Any] = Field(default_factory=dict)
    digest: str = ""
    size: int = 0
    file_count: int = 0
    inline: list[InlineFile] = Field(default_factory=list)
    root: str = ""
    payload: str = ""
    files: list[FileEntry] = Field(default_factory=list)
    manifest: Reference | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    restores: int | None = None


class AliasValue(Record):
    """Where an alias of an object points."""

    object: str
    alias: str
    version: str


class ObjectSettings(Record):
    """How a registry keeps objects: fixed when it first keeps one."""

    version_objects: bool = False
    mutable: bool = False
