"""What all operations of provenance have: a registry, the run that a call belongs to, who asks, single records."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from prefect_registry.errors import FormatError, InvalidInput, NotFound
from prefect_registry.ids import parse_run_id
from prefect_registry.ledger.dropping import was_never_saved
from prefect_registry.ledger.holder import login_name
from prefect_registry.records.base import Record
from prefect_registry.records.cells import CellGeneration

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

V = TypeVar("V", bound=Record)
LONGEST_REASON_CHARACTERS = 1_000


class Holding:
    """Common to the parts of :class:`~prefect_registry.provenance.service.Provenance`.

    Args:
        registry: The registry.
        by: Who registers and changes; the user's login name, unless given.
    """

    def __init__(self, registry: Registry, *, by: str | None = None) -> None:
        self.registry = registry
        self.ledger = registry.ledger
        self.by = by if by is not None else login_name()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.registry.url}>"

    def run_of(self, run_id: str | None) -> str | None:
        """The run that a call belongs to: given, or the one around the calling code."""
        return parse_run_id(run_id) if run_id is not None else self.ledger.surrounding()

    def now(self) -> datetime:
        """What time it is, in UTC, by the store's clock."""
        self.ledger.store.know_time()
        return self.ledger.store.clock.now()

    def latest(self, type_: str, name: str, run_id: str | None) -> CellGeneration | None:
        """The visible generation of a cell, tombstones included; None where there is none, or only what was taken
        back.
        """
        found = self.ledger.cells.latest(type_, name, run_id, guess=0)
        return None if found is None or was_never_saved(found) else found

    def standing(self, type_: str, name: str, run_id: str | None, noun: str) -> CellGeneration:
        """The visible generation of a cell that is not deleted. Raises ``NotFound``."""
        found = self.latest(type_, name, run_id)
        if found is None or found.deleted:
            raise not_found(noun, name)
        return found


def not_found(noun: str, id_: str, todo: str | None = None) -> NotFound:
    """The error for an id that nothing has; ``todo`` is what its caller may have meant."""
    return NotFound(
        f"There is no {noun} {id_!r:.200}",
        why="It was never registered, is not visible yet, or was deleted",
        todo=todo or "Check the id, and that it is the right registry",
        committed="no",
    )


def parsed(cls: type[V], generation: CellGeneration) -> V:
    """What a generation holds. Raises ``FormatError``."""
    try:
        return cls.model_validate(generation.value)
    except ValidationError as error:
        raise FormatError(
            f"The record {generation.type} {generation.name!r:.200} cannot be read",
            why=str(error.errors(include_url=False, include_input=False)[0]["msg"]),
            todo="It was damaged, or written by something else; nothing was changed",
        ) from error


def reason_problems(reason: object) -> list[str]:
    """Why ``reason`` cannot be the reason of a change."""
    if not isinstance(reason, str) or not reason.strip():
        return ["reason: why it is changed must be told"]
    if len(reason) > LONGEST_REASON_CHARACTERS:
        return [f"reason: it has {len(reason):,} characters; at most {LONGEST_REASON_CHARACTERS:,} are allowed"]
    return []


def check_id(value: object, name: str) -> str:
    """``value`` if it can be the id of something. Raises ``InvalidInput``."""
    if not isinstance(value, str) or not value or len(value) > 2_000 or "\0" in value:
        raise InvalidInput.of(name, [f"{name} must be a text of up to 2,000 characters, not {value!r:.60}"])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput.of(name, [f"{name} is not valid Unicode: {value!r:.60}"]) from None
    return value
