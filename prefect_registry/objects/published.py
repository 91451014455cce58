"""What became visible of objects, in the words of those who tell of it: logs, events, artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_registry.ledger.dropping import DROPS
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.types import ALIAS, OBJECT


@dataclass(frozen=True)
class SavedObject:
    """A version that was saved. ``write_id`` tells it from a later one under the same number."""

    name: str
    version: str
    class_: str
    size: int
    file_count: int
    write_id: str

    @property
    def id(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def prefix(self) -> str:
        """The name up to its last slash; empty without one."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class MovedAlias:
    """An alias that points at another version than before; None: it was removed."""

    name: str
    alias: str
    version: str | None
    write_id: str


def published_of(generation: CellGeneration) -> SavedObject | MovedAlias | None:
    """What a generation saved or moved; None for what deletes, restores or drops, and for what is no object's."""
    value = generation.value
    if DROPS in value:
        return None
    if generation.type == ALIAS:
        version = None if generation.deleted else str(value.get("version"))
        return MovedAlias(str(value.get("object")), str(value.get("alias")), version, generation.write_id)
    if generation.type != OBJECT or generation.deleted or "materializer" not in value:
        return None
    return SavedObject(
        name=str(value.get("object")),
        version=str(value.get("version")),
        class_=str(value.get("class", "")),
        size=int(value.get("size", 0)),
        file_count=int(value.get("file_count", 0)),
        write_id=generation.write_id,
    )
