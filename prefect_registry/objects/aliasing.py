"""Aliases of objects. Each is a cell of its own: a move is one conditional write, its generations are its history."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect_registry.errors import InvalidInput
from prefect_registry.ledger import observers
from prefect_registry.objects.versions import Version, Wanted, alias_problems
from prefect_registry.records.base import as_reason
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.objects import AliasValue
from prefect_registry.records.types import ALIAS

if TYPE_CHECKING:
    from prefect_registry.objects.service import Objects

LONGEST_REASON_CHARACTERS = 1_000


def set_alias(
    objects: Objects, name: str, alias: str, version: object, run_id: str | None, reason: str | None
) -> Version | None:
    """Point an alias at a version: that of the name, that beside it, or the latest. Returns where it pointed before."""
    wanted = Wanted.of(name, version)
    return _move(objects, _named(wanted.name, alias), wanted, run_id, reason)


def remove_alias(objects: Objects, name: str, alias: str, run_id: str | None, reason: str | None) -> Version | None:
    """Remove an alias; returns where it pointed."""
    return _move(objects, _named(Wanted.of_all(name, "remove_alias").name, alias), None, run_id, reason)


def alias_history(objects: Objects, name: str, alias: str, run_id: str | None) -> list[CellGeneration]:
    """Every move of an alias, oldest first."""
    cell = str(_named(Wanted.of_all(name, "alias_history").name, alias))
    return objects.ledger.cells.history(ALIAS, cell, run_id)


def _named(name: str, alias: str) -> Wanted:
    problems = list(alias_problems(alias))
    if problems:
        raise InvalidInput.of("the alias", problems)
    return Wanted(name, None, alias)


def _move(
    objects: Objects, wanted: Wanted, target: Wanted | None, run_id: str | None, reason: str | None
) -> Version | None:
    ledger, cell, why = objects.ledger, str(wanted), as_reason(reason, LONGEST_REASON_CHARACTERS)
    looks: list[Callable[[], Any]] = [partial(ledger.cells.latest, ALIAS, cell, run_id, guess=0)]
    if target is not None:
        looks.append(partial(objects.get, target, run_id))
    before, found = [*ledger.store.together(looks), None][:2]
    pointed = None
    if before is not None and not before.deleted:
        pointed = Version.parse(AliasValue.model_validate(before.value).version)
    if found is None and pointed is None:
        raise objects.finding.missing(wanted, run_id)
    if found is not None and found.version == pointed:
        return pointed
    version = str(found.version if found is not None else pointed)
    value = AliasValue(object=wanted.name, alias=str(wanted.alias), version=version)
    written = ledger.cells.write(
        ALIAS, cell, value.model_dump(), run_id=run_id, deleted=found is None,
        expected=before.gen if before is not None else None, fresh=True, reason=why,
    )  # fmt: skip
    if run_id is None:
        observers.cell_published(ledger.store.storage.url, written)
    return pointed
