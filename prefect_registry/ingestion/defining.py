"""Defining publications, and looking at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast

from prefect_registry.asynchronous import twin
from prefect_registry.errors import FormatError, InvalidInput, NotFound, RevisionConflict
from prefect_registry.ingestion.cells import PUBLICATION, Seen, Shelf
from prefect_registry.ingestion.models import STATE, Collection, bound
from prefect_registry.ingestion.plans import plan_problems
from prefect_registry.names import name_problems
from prefect_registry.records.cells import CellGeneration

if TYPE_CHECKING:
    from prefect_registry.ingestion.service import Ingestion
    from prefect_registry.registry import Registry


@dataclass(frozen=True)
class Difference:
    """What applying a definition does to a publication, and to which of its fields. ``absent`` ones are not defined,
    and are left alone, unless they are to be removed: ``remove``.
    """

    id: str
    action: Literal["create", "update", "unchanged", "absent", "remove"]
    fields: tuple[str, ...] = ()


class Publications:
    """Publications of one state of the registry, by id."""

    def __init__(self, found: Mapping[str, Seen]) -> None:
        self._found = found

    def __iter__(self) -> Iterator[Collection]:
        return (seen.collection for seen in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def visible(self) -> Publications:
        """Those that the public sees: public, with data or a reason for having none."""
        return Publications({id: seen for id, seen in self._found.items() if seen.collection.visible})


class Defining:
    """Publications of :class:`Ingestion`, and their definitions."""

    registry: Registry
    shelf: Shelf
    _given_now: Callable[[], datetime] | None

    def now(self) -> datetime:
        """What time it is, in UTC."""
        return (self._given_now or self.registry.ledger.store.clock.now)().astimezone(UTC)

    def publications(self) -> Publications:
        """All publications."""
        return Publications(self.shelf.look())

    def publication(self, id: str) -> Collection:
        """One of them. Raises ``NotFound``."""
        found = self.shelf.publication(id)
        if found is None:
            raise NotFound(f"There is no publication {id!r:.200}", todo="Check the id, or apply its definition")
        return found

    def history(self, publication: str) -> list[CellGeneration]:
        """Every state that a publication was in, oldest first."""
        return self.registry.ledger.cells.history(PUBLICATION, publication)

    def put(self, collection: Collection) -> Collection:
        """Add a publication, or change the definition of one. What its jobs have written of it stays.

        Raises:
            InvalidInput: Lists every problem.
        """
        problems = [*name_problems(collection.id, "id"), *plan_problems(collection.plan).values()]
        if "/" in str(collection.id):
            problems.append(f"id {collection.id!r:.80} has a slash")
        if problems:
            raise InvalidInput.of(f"publication {collection.id!r:.80}", problems)
        kept = kept_of(collection)
        wanted = collection.model_dump(exclude=kept)
        for attempt in range(10):
            newest = self.registry.ledger.cells.latest(PUBLICATION, collection.id)
            state = newest.value if newest is not None and not newest.deleted else {}
            found = self._readable(newest)
            if found is not None and found.model_dump(exclude=kept) == wanted:
                return found
            merged = Collection.model_validate({**{n: v for n, v in state.items() if n in kept}, **wanted})
            # On what was read, also a tombstone: what jobs write meanwhile must not be taken back.
            merged._gen = newest.gen if newest is not None else None
            merged._ingestion = cast("Ingestion", self)
            try:
                self.shelf.save_publication(merged, self.now())
            except RevisionConflict:
                if attempt == 9:
                    raise
                continue
            return merged
        raise AssertionError("unreachable")

    def compare(self, collections: Iterable[Collection], *, remove_absent: bool = False) -> list[Difference]:
        """What :meth:`put` would change of publications, by id; with it, those that are not among ``collections``."""
        others: Literal["remove", "absent"] = "remove" if remove_absent else "absent"
        now = {c.id: c for c in self.publications()}
        found = [_difference(c, now.get(c.id)) for c in collections]
        known = {d.id for d in found}
        found += [Difference(id, others) for id in now if id not in known]
        return sorted(found, key=lambda d: d.id)

    def _readable(self, found: CellGeneration | None) -> Collection | None:
        """A publication from its cell; None when it is not there, or cannot be read, so that it is defined anew."""
        if found is None or found.deleted:
            return None
        with suppress(FormatError):
            return bound(found.value, found.gen, cast("Ingestion", self))
        return None

    def pause(self, id: str, frozen: bool = True) -> Collection:
        """Leave a publication alone from now on, or no longer. Jobs that are at work go on."""
        found = self.shelf.change_publication(id, self.now(), frozen=frozen)
        return found if found is not None else self.publication(id)

    aput = twin(put)
    apublications = twin(publications)
    apublication = twin(publication)
    ahistory = twin(history)
    apause = twin(pause)
    acompare = twin(compare)


def kept_of(definition: Collection) -> set[str]:
    """Fields of a publication that a definition leaves as they are: what jobs write; and whether it is frozen, and its
    policy, unless it says so.
    """
    return {*STATE, *({"frozen", "publication_policy"} - definition.model_fields_set)}


def _difference(wanted: Collection, now: Collection | None) -> Difference:
    if now is None:
        return Difference(wanted.id, "create")
    kept = kept_of(wanted)
    before, after = now.model_dump(exclude=kept), wanted.model_dump(exclude=kept)
    changed = tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))
    return Difference(wanted.id, "update" if changed else "unchanged", changed)
