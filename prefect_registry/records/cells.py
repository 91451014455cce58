"""A generation of a named cell (DESIGN.md P2, P5)."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

from pydantic import Field

from prefect_registry.names import key_of
from prefect_registry.records.base import Document, Moment
from prefect_registry.records.types import ALIAS, MODEL_ALIAS, MODEL_LINK, OBJECT

_IN_FOLDERS: Final = (OBJECT, ALIAS)
_BELOW_AN_ADDRESS: Final = (MODEL_LINK, MODEL_ALIAS)
"""Types whose names begin with an address, which has no ``@``: what follows may have some."""


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
    """Names one cell: its type (``document``, ``flow_run`` …) and the key of its name.

    The key of what belongs to an object has two segments, so that one listing shows all versions or aliases of a name:
    ``name@2.1`` is ``name/2.1`` (decision 0026).
    """

    type: str
    key: str

    @classmethod
    def named(cls, type_: str, name: str) -> CellRef:
        """The cell of that name."""
        if type_ in _IN_FOLDERS or type_ in _BELOW_AN_ADDRESS:
            owner, at, rest = name.rpartition("@") if type_ in _IN_FOLDERS else name.partition("@")
            if at:
                return cls(type_, f"{key_of(owner)}/{key_of(rest)}")
        return cls(type_, key_of(name))
