"""A generation of a named cell (DESIGN.md P2, P5)."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from prefect_registry.records.base import Document, Moment


class CellGeneration(Document):
    """One immutable state of a cell. ``tx`` is the run that wrote it, or None: visible at once.

    ``base`` is the generation that this one was computed from, and ``base_tx`` the run that wrote it if it was not
    published then: the same run, one around it, or one nested there. ``deleted`` marks a tombstone.
    """

    SCHEMA: ClassVar[str] = "cell/1"

    type: str
    name: str
    gen: int
    tx: str | None
    base: int | None
    base_tx: str | None = None
    at: Moment
    deleted: bool = False
    reason: str | None = None
    value: dict[str, Any] = Field(default_factory=dict)


class CellRef(NamedTuple):
    """Names one cell: its type (``document``, ``flow_run`` …) and the key of its name."""

    type: str
    key: str
