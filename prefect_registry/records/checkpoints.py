"""Checkpoints of the catalog: which Parquet tables make one up, and what of the journal they hold (DESIGN.md 6)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from prefect_registry.records.base import Document, Moment, Record


class TableFile(Record):
    """One Parquet file of one table: its key, and what it must be. ``size`` is in bytes."""

    key: str
    size: int
    sha256: str
    rows: int


class Part(Record):
    """The rows of a range of sealed hours: those behind ``after`` up to and with ``through`` (``2026-11-21/07``).

    A table without rows in the range has no file. An empty ``after`` is the beginning of the journal.
    """

    name: str
    after: str
    through: str
    tables: dict[str, TableFile] = Field(default_factory=dict)


class Checkpoint(Document):
    """``catalog/checkpoints/<gen>.json``: one whole state of the catalog.

    ``parts`` follow each other without a gap, up to ``sealed``, the newest hour that never needs listing again.
    ``rest`` has what no part may keep: runs that are not settled, the watch list, and what is newer than ``sealed`` but
    became visible together with something that is not. ``newest`` is the greatest store timestamp that the writer had
    seen. ``form`` is the number of the tables' columns (``INDEX_FORMAT``).
    """

    SCHEMA: ClassVar[str] = "checkpoint/1"

    registry_id: str
    generation: int
    previous: int | None = None
    created_at: Moment
    form: int
    sealed: str
    newest: Moment
    parts: list[Part] = Field(default_factory=list)
    rest: dict[str, TableFile] = Field(default_factory=dict)

    def files(self) -> list[TableFile]:
        """Every table file that it names."""
        return [file for part in self.parts for file in part.tables.values()] + list(self.rest.values())
