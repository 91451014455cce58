"""What became visible of registered models, in the words of those who tell of it: logs, events, artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prefect_registry.ledger.dropping import kept_of
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.types import MODEL, MODEL_ALIAS, MODEL_VERSION

TOLD_TYPES = (MODEL, MODEL_VERSION, MODEL_ALIAS)
"""The types of cells of which anything is told."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version that was registered. ``by`` registered it; ``write_id`` tells it from a later one of that name."""

    model: str
    version: str
    id: str
    by: str | None
    write_id: str


@dataclass(frozen=True)
class MovedModelAlias:
    """An alias that points at another version than before; None: at none, now or before."""

    model: str
    alias: str
    version: str | None
    version_id: str | None
    previous: str | None
    by: str | None
    write_id: str


@dataclass(frozen=True)
class ChangedState:
    """A model or version that was archived, or restored. ``id`` is its own; ``version`` is None for a model."""

    kind: Literal["model", "version"]
    model: str
    version: str | None
    id: str
    state: str
    by: str | None
    write_id: str


@dataclass(frozen=True)
class PublishedModels:
    """All of it that became visible together, by the names of models."""

    versions: Sequence[RegisteredVersion] = ()
    aliases: Sequence[MovedModelAlias] = ()
    states: Sequence[ChangedState] = ()

    def __bool__(self) -> bool:
        return bool(self.versions or self.aliases or self.states)


def published_models(generations: Iterable[CellGeneration]) -> PublishedModels:
    """What generations that became visible together mean: of each cell, how it is now against how it was before them.

    What was dropped, and what drops it, means nothing; nor do generations of other types.
    """
    cells: dict[tuple[str, str], _Cell] = {}
    for generation in sorted(generations, key=lambda g: g.gen):
        if generation.type in TOLD_TYPES:
            cells.setdefault((generation.type, generation.name), _Cell()).generations.append(generation)
    versions = [told for cell in cells.values() for told in cell.version()]
    aliases = [told for cell in cells.values() for told in cell.alias()]
    states = [told for cell in cells.values() for told in cell.state()]
    return PublishedModels(
        sorted(versions, key=lambda v: (v.model, v.id)),
        sorted(aliases, key=lambda a: (a.model, a.alias)),
        sorted(states, key=lambda s: (s.model, s.version or "")),
    )


@dataclass
class _Cell:
    """What became visible of one cell, oldest first."""

    generations: list[CellGeneration] = field(default_factory=list)

    @property
    def kept(self) -> list[CellGeneration]:
        """Without what failed task attempts wrote, and what took it back."""
        return kept_of(self.generations)

    @property
    def now(self) -> CellGeneration:
        return self.generations[-1]

    @property
    def registrations(self) -> list[CellGeneration]:
        return [g for g in self.kept if not g.deleted and not g.value.get("changed")]

    def version(self) -> Iterator[RegisteredVersion]:
        if self.now.type != MODEL_VERSION or self.now.deleted or not self.registrations:
            return
        made = self.registrations[-1]
        yield RegisteredVersion(
            str(made.value.get("model_name")), str(made.value.get("name")), str(made.value.get("id")),
            made.value.get("by"), made.write_id,
        )  # fmt: skip

    def alias(self) -> Iterator[MovedModelAlias]:
        if self.now.type != MODEL_ALIAS or not self.kept:
            return
        last, target = self.kept[-1], {} if self.now.deleted else self.now.value
        before = self.generations[0].value.get("previous")  # the first one was made of what was visible then
        if target.get("version_name") == before:
            return
        yield MovedModelAlias(
            str(last.value.get("model_name")), str(last.value.get("alias")), target.get("version_name"),
            target.get("version"), before, last.value.get("by"), last.write_id,
        )  # fmt: skip

    def state(self) -> Iterator[ChangedState]:
        changes = [g for g in self.kept if "state" in (g.value.get("changed") or ())]
        if self.now.type == MODEL_ALIAS or self.now.deleted or not changes:
            return
        state, last = str(self.now.value.get("state")), changes[-1]
        before = self.registrations[0].value.get("state") if self.registrations else _other(changes[0])
        if state == before:
            return
        of_version = self.now.type == MODEL_VERSION
        yield ChangedState(
            kind="version" if of_version else "model",
            model=str(last.value.get("model_name" if of_version else "name")),
            version=str(last.value.get("name")) if of_version else None,
            id=str(last.value.get("id")),
            state=state,
            by=last.value.get("by"),
            write_id=last.write_id,
        )


def _other(change: CellGeneration) -> Any:
    """The state before a change of it: there are two."""
    return "LIVE" if change.value.get("state") == "ARCHIVED" else "ARCHIVED"
