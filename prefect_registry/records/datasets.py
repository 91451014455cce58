"""Documents of a dataset (DESIGN.md 2, 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from prefect_registry.records.base import Document, Moment, Record
from prefect_registry.records.runs import Reference

Mode = Literal["replace", "append", "replace_partitions"]
DatasetStep = Literal["begun", "staged", "rolled_back"]
DatasetState = Literal["PENDING", "STAGED", "READY", "ROLLED_BACK", "ARCHIVED", "DELETED"]
Partition = dict[str, Any]


LATER_STATES = "dataset"
"""The type of the cells, named by dataset ids, that hold what became of datasets after they were published."""


def later_state(value: Mapping[str, Any]) -> DatasetState:
    """What the value of such a cell makes of its dataset: READY again, ARCHIVED, or DELETED."""
    state = value.get("state")
    if state == "READY":
        return "READY"
    return "ARCHIVED" if state == "ARCHIVED" else "DELETED"


class FileEntry(Record):
    """One file of a manifest. ``path`` is relative to the dataset's folder; the rest is for Parquet files.

    ``columns`` is a digest of the columns' names and types: files that share it have the same schema.
    """

    path: str
    size: int
    sha256: str
    rows: int | None = None
    row_groups: int | None = None
    columns: str | None = None


class ManifestDocument(Document):
    """A manifest too large for its generation, in an object of its own."""

    SCHEMA: ClassVar[str] = "manifest/1"

    files: list[FileEntry]


class DatasetGeneration(Document):
    """One step of a dataset: generation 0 is ``begun``; then ``staged`` with its manifest, or ``rolled_back``.

    ``root`` is the key of the dataset's folder, so that a store can be moved; a URL when it is ``external``, outside
    the registry.
    ``own_run`` marks a dataset whose isolated run is closed by its commit (DESIGN.md P13). ``partitioning`` has the
    Arrow types of the columns that are spelled in folders (``month=1/``), as far as they are known.
    """

    SCHEMA: ClassVar[str] = "dataset/1"

    dataset_id: str
    run_id: str
    kind: str
    gen: int
    step: DatasetStep
    mode: Mode
    partition: Partition | None = None
    key: str | None = None
    own_run: bool = False
    parent_run: str | None = None
    at: Moment
    begun_at: Moment
    root: str = ""
    external: bool = False
    rows: int | None = None
    bytes: int = 0
    file_count: int = 0
    files: list[FileEntry] = Field(default_factory=list)
    manifest: Reference | None = None
    partitioning: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    task_run: str | None = None
    reason: str | None = None
