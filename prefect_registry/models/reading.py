"""Single records of the model registry, read from the store itself (DESIGN.md 4: one read is linearizable)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from prefect_registry.errors import FormatError
from prefect_registry.ledger import paths
from prefect_registry.ledger.dropping import DROPS, RESTORES
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.models.addresses import NOUNS, address_of, alias_name, model_address, version_address
from prefect_registry.models.converting import value_class
from prefect_registry.models.exceptions import ModelNotFound
from prefect_registry.records.base import Record
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.models import (
    ModelAliasValue,
    ModelArtifactValue,
    ModelExternalIdValue,
    ModelLinkValue,
    ModelRecord,
    ModelVersionValue,
    RegisteredModelValue,
)
from prefect_registry.records.types import (
    MODEL,
    MODEL_ALIAS,
    MODEL_ARTIFACT,
    MODEL_EXTERNAL_ID,
    MODEL_LINK,
    MODEL_VERSION,
)

R = TypeVar("R", bound=ModelRecord)
V = TypeVar("V", bound=Record)


@dataclass(frozen=True)
class Kept(Generic[R]):
    """A visible record, and the generation that holds it."""

    record: R
    generation: CellGeneration


class Shelf:
    """Reads models, versions, artifacts, links and aliases by what names them; inside a run or outside any."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # -- records -------------------------------------------------------------------------------------------------

    def at(self, type_: str, address: str, run_id: str | None, as_of: datetime | None = None) -> Kept[Any] | None:
        """The record of a cell, or None."""
        generation = self.ledger.cells.latest(type_, address, run_id, as_of, guess=0)
        if generation is None or generation.deleted:
            return None
        return Kept(parsed(value_class(type_), generation), generation)

    def by_id(self, type_: str, id_: str, run_id: str | None, as_of: datetime | None = None) -> Kept[Any]:
        """The record of an id. Raises ``ModelNotFound``; ``MalformedId`` for what is no id."""
        found = self.at(type_, address_of(type_, id_), run_id, as_of)
        if found is None or found.record.id != id_:
            raise ModelNotFound(f"There is no {NOUNS[type_]} {id_}", committed="no", id=id_)
        return found

    def model(self, name: str, run_id: str | None, as_of: datetime | None = None) -> Kept[RegisteredModelValue] | None:
        """A registered model by its name."""
        found = self.at(MODEL, model_address(name), run_id, as_of)
        return found if found is not None and found.record.name == name else None

    def version(
        self, model: str, name: str, run_id: str | None, as_of: datetime | None = None
    ) -> Kept[ModelVersionValue] | None:
        """A version by the id of its model, and its name."""
        address = version_address(address_of(MODEL, model), name)
        found = self.at(MODEL_VERSION, address, run_id, as_of)
        return found if found is not None and (found.record.model, found.record.name) == (model, name) else None

    def by_external_id(
        self,
        artifacts: bool,
        external_id: str,
        types: tuple[str, ...],
        run_id: str | None,
        as_of: datetime | None = None,
    ) -> Kept[Any] | None:
        """What has an external id: an artifact, or a model or version (one namespace, SEEDS)."""
        name = external_name(artifacts, external_id)
        generation = self.ledger.cells.latest(MODEL_EXTERNAL_ID, name, run_id, as_of, guess=0)
        if generation is None or generation.deleted:
            return None
        named = parsed(ModelExternalIdValue, generation)
        if named.type not in types:
            return None
        found = self.at(named.type, address_of(named.type, named.id), run_id, as_of)
        return found if found is not None and found.record.id == named.id else None

    # -- what belongs to a version -------------------------------------------------------------------------------

    def links(self, version: str, run_id: str | None, as_of: datetime | None = None) -> list[ModelLinkValue]:
        """The links of a version to its artifacts, by its id: one listing, and the links beside each other."""
        prefix = f"{paths.CELLS}{MODEL_LINK}/{address_of(MODEL_VERSION, version)}/"
        return [v for v in self._below(prefix, ModelLinkValue, run_id, as_of) if v.version == version]

    def link(self, name: str, run_id: str | None) -> ModelLinkValue | None:
        """One link, by the name of its cell."""
        generation = self.ledger.cells.latest(MODEL_LINK, name, run_id, guess=0)
        return parsed(ModelLinkValue, generation) if generation is not None and not generation.deleted else None

    def artifacts(
        self, version: str, run_id: str | None, as_of: datetime | None = None
    ) -> list[Kept[ModelArtifactValue]]:
        """The artifacts of a version, in the order in which they were registered."""
        calls: list[Callable[[], Kept[Any] | None]] = [
            partial(self.at, MODEL_ARTIFACT, address_of(MODEL_ARTIFACT, link.artifact), run_id, as_of)
            for link in self.links(version, run_id, as_of)
        ]
        found = self.ledger.store.together(calls) if calls else []
        there = [kept for kept in found if kept is not None]
        return sorted(there, key=lambda kept: (kept.record.created_at, kept.record.id))

    # -- aliases -------------------------------------------------------------------------------------------------

    def alias(
        self, model: str, alias: str, run_id: str | None, as_of: datetime | None = None
    ) -> tuple[ModelAliasValue | None, CellGeneration | None]:
        """Where an alias points, and the generation of its cell, which may be a tombstone."""
        name = alias_name(address_of(MODEL, model), alias)
        generation = self.ledger.cells.latest(MODEL_ALIAS, name, run_id, as_of, guess=0)
        if generation is None or generation.deleted:
            return None, generation
        return parsed(ModelAliasValue, generation), generation

    def aliases(self, model: str, run_id: str | None, as_of: datetime | None = None) -> list[ModelAliasValue]:
        """The aliases of a model, by its id, sorted by their names."""
        prefix = f"{paths.CELLS}{MODEL_ALIAS}/{address_of(MODEL, model)}/"
        found = (v for v in self._below(prefix, ModelAliasValue, run_id, as_of) if v.model == model)
        return sorted(found, key=lambda value: value.alias)

    def _below(self, prefix: str, cls: type[V], run_id: str | None, as_of: datetime | None) -> list[V]:
        """What is visible of the cells in one folder."""
        store = self.ledger.store
        newest = {k.rpartition("/")[0]: k for k in paths.generations(store.storage.list(prefix))}
        documents = store.read_many(list(newest.values()), CellGeneration) if newest else []
        calls: list[Callable[[], CellGeneration | None]] = [
            partial(self.ledger.cells.visible_from, document, run_id, as_of)
            for document in documents
            if document is not None
        ]
        visible = store.together(calls) if calls else []
        return [parsed(cls, g) for g in visible if g is not None and not g.deleted]


def external_name(artifact: bool, external_id: str) -> str:
    """The name of the cell that keeps an external id unique."""
    return f"{'artifact' if artifact else 'context'}:{external_id}"


def parsed(cls: type[V], generation: CellGeneration) -> V:
    """What a generation holds. Raises ``FormatError``."""
    try:
        # A record that was put back is itself, and what is written on top of it must not say that it puts one back.
        return cls.model_validate({k: v for k, v in generation.value.items() if k not in (DROPS, RESTORES)})
    except ValidationError as error:
        raise FormatError(
            f"The record {generation.type} {generation.name!r:.200} cannot be read",
            why=str(error.errors(include_url=False, include_input=False)[0]["msg"]),
            todo="It was damaged, or written by something else; nothing was changed",
        ) from error
