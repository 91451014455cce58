"""Taking back what one part of an undecided run wrote to named cells, while the run goes on (P14).

A generation is never deleted (P1): the next one puts back what was there before. Where nothing was, it is a tombstone
that counts as nothing: the number can be saved in the run again, and there is nothing to restore.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect_registry.errors import InvalidInput, InvalidState, RegistryError, RevisionConflict
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import paths, spoiled
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.outcomes import GenerationState
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES
from prefect_registry.records.runs import Decision
from prefect_registry.records.types import ALIAS, MODEL_TYPES, OBJECT, PROV_TYPES, RECORD_TYPES

DROPS = "drops"
"""Field of a generation that takes another one back: the number of that."""
RESTORES = "restores"
DROPPED_TYPES = (*RECORD_TYPES, OBJECT, ALIAS, *MODEL_TYPES, *PROV_TYPES)
"""Types of cells that a failed task attempt takes back."""
STAGED_TEXT = rf"run_[0-9a-z]{{26}}/(?:{'|'.join(DROPPED_TYPES)})/\S+/[0-9]{{10}}\.json/"
"""What the text of a :class:`Staged` begins with."""
_TEXT = re.compile(rf"(run_[0-9a-z]{{26}})/((?:{'|'.join(DROPPED_TYPES)})/\S+/[0-9]{{10}}\.json)/(\S+)")


@dataclass(frozen=True)
class Staged:
    """What was, or may have been, written to a cell of one of :data:`DROPPED_TYPES` in a run.

    Attributes:
        key: The key of the generation.
        write_id: Tells this write from another one that took the same number.
    """

    run_id: str
    key: str
    write_id: str

    @classmethod
    def of(cls, generation: CellGeneration) -> Staged | None:
        """The same for a generation; None for other types, and for what only takes another one back."""
        if generation.type not in DROPPED_TYPES or generation.tx is None or DROPS in generation.value:
            return None
        cell = CellRef.named(generation.type, generation.name)
        return cls(generation.tx, paths.cell_key(cell, generation.gen), generation.write_id)

    @classmethod
    def parse(cls, text: str) -> Staged:
        """What ``str`` has written. Raises ``InvalidInput``."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidInput.of("what is staged", [f"{text!r:.100} names no generation that can be taken back"])
        return cls(match[1], paths.CELLS + match[2], match[3])

    def __str__(self) -> str:
        return f"{self.run_id}/{self.key.removeprefix(paths.CELLS)}/{self.write_id}"


def drop(ledger: Ledger, staged: Staged, reason: str) -> bool:
    """Take a write back, whether it is the last one or others have written over it; False when it did not happen, or
    its run is aborted: then nobody sees it.

    Raises:
        InvalidState: The run is committed, and so are those around it.
    """
    end = ledger.store.decision(staged.run_id)
    if end is not None and not end.committed:
        return False
    run_id = _where(ledger, staged.run_id, end)
    while True:
        made = ledger.store.peek(staged.key, CellGeneration)
        now = ledger.cells.latest(made.type, made.name, run_id) if made is not None else None
        if made is None or made.write_id != staged.write_id or now is None:
            return False
        cell = _Cell(ledger, CellRef.named(made.type, made.name), now)
        if made.gen in cell.dropped:
            return False
        left = cell.without(made.gen)
        try:
            ledger.cells.write(
                made.type, made.name, _value(made, left), run_id=run_id, expected=now.gen,
                deleted=left is None or left.deleted, reason=reason,
            )  # fmt: skip
        except RevisionConflict:
            continue
        return True


def drop_nested_dataset(ledger: Ledger, dataset_id: str, reason: str) -> bool:
    """Take back a dataset of a run that is committed, and nested in one that is not decided, by a tombstone in that
    one; False when its run is no such run.

    Raises:
        InvalidState: The run around it was decided meanwhile.
    """
    run_id, _ = parse_inner_id(dataset_id, "ds", "dataset")
    around = _where(ledger, run_id, ledger.store.decision(run_id))
    if around == run_id:
        return False
    ledger.cells.write(LATER_STATES, dataset_id, {"state": "DELETED"}, run_id=around, deleted=True, reason=reason)
    return True


@dataclass
class TakenBack:
    """What became of writes that were to be taken back.

    Attributes:
        published: Those that the run has published: somebody committed it meanwhile.
        left: Those that may be seen in the run, or may still land there. They are tried again before it is committed.
        errors: Why.
    """

    published: list[CellGeneration] = field(default_factory=list)
    left: list[CellGeneration] = field(default_factory=list)
    errors: list[RegistryError] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it will ever be visible."""
        return not self.published and not self.left


def take_back(ledger: Ledger, generations: Sequence[CellGeneration], reason: str, may_arrive: bool = True) -> TakenBack:
    """:func:`drop` all that was, or may have been, written in a run, the last one first. Raises no ``RegistryError``:
    what cannot be taken back now is tried again, and the run is not committed before (``ledger/spoiled.py``).

    Args:
        may_arrive: Whether what is not there may still arrive: a request was not answered.
    """
    result = TakenBack()
    for generation in reversed(generations):
        staged = Staged.of(generation)
        if staged is None:
            continue
        try:
            state = _dropped(ledger, staged, generation, reason, may_arrive)
        except RegistryError as error:
            result.errors.append(error)
            state = "undecided"
        if state == "visible":
            result.published.append(generation)
        elif state == "undecided":
            result.left.append(generation)
            spoiled.remember(staged.run_id, str(staged), partial(drop, ledger, staged, reason))
    return result


def _dropped(
    ledger: Ledger, staged: Staged, generation: CellGeneration, reason: str, may_arrive: bool
) -> GenerationState:
    """Drop a write; afterwards it is dead, visible to everybody, or nobody knows yet what becomes of it."""
    try:
        if drop(ledger, staged, reason) or not may_arrive:
            return "dead"
        if ledger.store.peek(staged.key, CellGeneration) is not None:
            return "dead"  # what is there is another one's, or was dropped before
    except InvalidState:
        pass  # its run is decided
    cell = CellRef.named(generation.type, generation.name)
    return ledger.outcomes.state_of(generation.tx, cell, generation.gen)


def _where(ledger: Ledger, run_id: str, end: Decision | None) -> str:
    """The run in which a write of ``run_id``, whose decision is ``end``, can be taken back: itself; or, if it is
    committed, and nested in one that is not decided, that one.
    """
    if end is None or not end.committed:
        return run_id
    around = reversed(ledger.outcomes.ancestors(run_id))
    return next((above for above in around if ledger.store.decision(above) is None), run_id)


class _Cell:
    """A cell as a run sees it, and which of the generations that are not published are dropped."""

    def __init__(self, ledger: Ledger, cell: CellRef, now: CellGeneration) -> None:
        self._ledger, self._cell, self._now = ledger, cell, now
        self.dropped: set[int] = set()
        document: CellGeneration | None = now
        while document is not None:
            if DROPS in document.value:
                self.dropped.add(int(document.value[DROPS]))
            document = self._read(document.base) if document.base_tx is not None else None

    def without(self, gen: int) -> CellGeneration | None:
        """What the cell shows when one more generation is dropped: the generation, or None for nothing."""
        dropped, document = {*self.dropped, gen}, self._now
        while True:
            restores = document.value.get(RESTORES)
            if DROPS in document.value or restores in dropped:
                below = restores
            elif document.gen in dropped:
                below = document.base
            else:
                return document
            found = self._read(below)
            if found is None:
                return None
            document = found

    def _read(self, gen: int | None) -> CellGeneration | None:
        return self._ledger.store.read(paths.cell_key(self._cell, gen), CellGeneration) if gen is not None else None


def kept_of(generations: list[CellGeneration]) -> list[CellGeneration]:
    """The generations that count: without those that were taken back in their run, and what took them back."""
    dropped = {generation.value.get(DROPS) for generation in generations}
    return [g for g in generations if DROPS not in g.value and g.gen not in dropped]


def was_never_saved(generation: CellGeneration) -> bool:
    """Whether a tombstone takes back the first thing that was written to its cell."""
    return generation.deleted and DROPS in generation.value and RESTORES not in generation.value


def before_of(generation: CellGeneration) -> int | None:
    """The number of the generation that was the cell's before this one: what was dropped never was."""
    found = generation.value.get(RESTORES) if DROPS in generation.value else generation.base
    return int(found) if found is not None else None


def _value(made: CellGeneration, left: CellGeneration | None) -> dict[str, Any]:
    named: dict[str, Any] = {name: made.value[name] for name in ("object", "version", "alias") if name in made.value}
    if left is None:
        return {**named, DROPS: made.gen}
    if left.deleted or left.type != OBJECT:
        return {**left.value, RESTORES: left.gen, DROPS: made.gen}
    return {**named, RESTORES: left.value.get(RESTORES, left.gen), DROPS: made.gen}
