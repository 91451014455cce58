"""Several cells by one decision: in the surrounding run, or by a run that is opened for them (DESIGN.md P2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

from prefect_registry.errors import (
    OutcomeUnknown,
    RegistryError,
    RevisionConflict,
    StorageError,
    StorageUnavailable,
    UndecidedConflict,
)
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import take_back
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.models.exceptions import DuplicateError
from prefect_registry.records.base import as_reason
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.runs import Decision

T = TypeVar("T")
LONGEST_REASON_CHARACTERS = 1_000
MOST_TRIES = 20
"""How often a change is computed afresh when others are faster."""


@dataclass(frozen=True)
class Write:
    """One generation to be written.

    Attributes:
        expected: The generation that ``value`` was computed from; None for what must not be there yet.
        subject: What is told to be there already when it is: ``version '1' of model 'digits'``.
        moves: It is a change of what may be there as well as not: then nothing is a duplicate.
    """

    type: str
    name: str
    value: Mapping[str, Any]
    subject: str
    expected: int | None = None
    deleted: bool = False
    moves: bool = False


@dataclass
class Batch:
    """What is written under one run. Nothing of it is visible before that is decided.

    Attributes:
        written: What was written, for certain.
        staged: What was, or may have been, written in the surrounding run.
        is_unknown: Whether a write whose outcome is not known is not among that.
        may_arrive: Whether something of that may be there later, and is not now: the store did not answer.
        given_up: What is to be done outside the registry when nothing of it will ever be visible.
    """

    ledger: Ledger
    run_id: str
    doing: str
    reason: str | None
    written: list[CellGeneration] = field(default_factory=list)
    staged: list[CellGeneration] = field(default_factory=list)
    is_unknown: bool = False
    may_arrive: bool = False
    given_up: list[Callable[[], object]] = field(default_factory=list)
    _subjects: dict[tuple[str, str], str] = field(default_factory=dict)

    def write(self, *writes: Write | Callable[[], Write]) -> None:
        """Write them, all at the same time. What is given as a function is computed afresh whenever what it was
        computed from has changed meanwhile.

        Raises:
            DuplicateError: One must not be there yet, and is.
            RevisionConflict: One is not what it was computed from any more.
        """
        self._within([partial(self._write, write) for write in writes])

    def first(self, write: Write) -> bool:
        """Create a cell by its generation 0; False when there is one of that name already, visible or not."""
        return self._within([partial(self._first, write)])[0]

    def _within(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        return self.ledger.runs.within(self.run_id, calls, self.doing, self._is_published)

    def _is_published(self, decision: Decision) -> bool:
        """Whether somebody has committed the run meanwhile with all that is written so far."""
        cells = [(CellRef.named(g.type, g.name), g.gen) for g in self.written]
        return all(self.ledger.outcomes.lists_cell(decision, cell, gen) for cell, gen in cells)

    def _write(self, write: Write | Callable[[], Write]) -> None:
        store = self.ledger.store
        for attempt in count(1):
            wanted = write() if callable(write) else write
            self._subjects[wanted.type, wanted.name] = wanted.subject
            try:
                with self.noting():
                    self.written.append(write_one(self.ledger, wanted, self.run_id, self.reason, guarded=False))
                return
            except RevisionConflict:
                if not callable(write) or attempt == MOST_TRIES:
                    raise
                store.clock.sleep(store.settings.poll_seconds * store.random())

    def _first(self, write: Write) -> bool:
        self._subjects[write.type, write.name] = write.subject
        with self.noting():
            written = self.ledger.cells.first(
                write.type, write.name, write.value, run_id=self.run_id, reason=self.reason, guarded=False
            )
        if written is not None:
            self.written.append(written)
        return written is not None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What the block writes in the surrounding run is of this batch, and is taken back with it."""
        noted: list[CellGeneration] = []
        try:
            with observers.noting(noted):
                yield
        except BaseException as error:
            refused = isinstance(error, RegistryError) and not isinstance(error, (OutcomeUnknown, StorageUnavailable))
            self.may_arrive = self.may_arrive or not refused
            self.is_unknown = self.is_unknown or (isinstance(error, OutcomeUnknown) and not noted)
            raise
        finally:
            self.staged += noted

    def also(self, generation: CellGeneration | None) -> None:
        """Something that another domain has written for this batch in the same run."""
        if generation is not None and generation.tx == self.run_id:
            self.written.append(generation)

    def when_given_up(self, call: Callable[[], object]) -> None:
        """Call this when nothing of the batch will ever be visible."""
        self.given_up.append(call)

    def give_up(self, error: BaseException) -> None:
        """Take back what was written, since the rest could not be, and the run around goes on. What cannot be taken
        back, or has been published meanwhile, ``error`` tells; then nothing outside the registry is undone (P10).
        """
        reason = f"{self.doing} failed"[:LONGEST_REASON_CHARACTERS]
        taken = take_back(self.ledger, self.staged, reason, self.may_arrive)
        if isinstance(error, StorageError) and error.committed is None:
            error.committed = "yes" if taken.published else "unknown" if taken.left else "no"
        if taken.published:
            self._tell_published(error, taken.published)
        if taken.left:
            why = "; ".join(dict.fromkeys(str(each) for each in taken.errors)) or "It may still arrive"
            error.add_note(
                f"What it had written could not be taken back: {self._named(taken.left)}. {why} "
                f"This is tried again, and run {self.run_id} is not committed while it is there"
            )
        if taken.is_whole and not self.is_unknown:
            if isinstance(error, OutcomeUnknown):  # now it is known
                error.committed, error.todo = "no", "Nothing of it is left in the run; try again"
            self.clean_up(error)
        elif self.given_up:
            error.add_note("Nothing outside the registry was undone, as what was written may be visible")

    def _tell_published(self, error: BaseException, published: list[CellGeneration]) -> None:
        part = f"{self._named(published)} is published, as run {self.run_id} was committed meanwhile; the rest is not"
        if not isinstance(error, RegistryError):
            error.add_note(part)
            return
        error.committed = "yes"
        error.why = f"{error.why.removesuffix('.')}. A part is done: {part}"
        error.todo = "Look at what is there, and add what is missing in another run"

    def _named(self, generations: Iterable[CellGeneration]) -> str:
        names = [self._subjects.get((g.type, g.name), f"{g.type} {g.name!r:.250}") for g in generations]
        return ", ".join(dict.fromkeys(reversed(names)))

    def clean_up(self, error: BaseException) -> None:
        """What was to be done when the batch is given up."""
        for call in self.given_up:
            try:
                call()
            except Exception as second:  # whatever it is, the first error is the one to tell
                error.add_note(f"Something outside the registry could not be undone: {second}")


@contextmanager
def deciding(ledger: Ledger, doing: str, run_id: str | None, reason: str | None = None) -> Iterator[Batch]:
    """All that is written to the batch in the block becomes visible together, or nothing does.

    In a run it is staged there; when the block fails, what it has written is taken back, and the run can go on. If the
    store does not answer then, the run is not committed before that has succeeded. Outside any, a run is opened for the
    block, and committed at its end.
    """
    why = as_reason(reason, LONGEST_REASON_CHARACTERS)
    doing = doing[:250]
    if run_id is None:
        batch = Batch(ledger, "", doing, why)
        try:
            with ledger.implicit_run(doing, notes=why) as own:
                batch.run_id = own
                yield batch
        except BaseException as error:
            if batch.given_up and _is_aborted(ledger, batch.run_id, error):
                batch.clean_up(error)
            raise
        for generation in batch.written:
            observers.cell_published(ledger.store.storage.url, generation)
        return
    ledger.drop_spoiled(run_id)  # by a call that failed before, perhaps this one
    batch = Batch(ledger, run_id, doing, why)
    try:
        yield batch
    except BaseException as error:
        batch.give_up(error)
        raise


def _is_aborted(ledger: Ledger, run_id: str, error: BaseException) -> bool:
    """Whether nothing of a run that has failed will ever be visible. When nobody knows, nothing is cleaned up (P10)."""
    try:
        return ledger.outcomes.effective(run_id) == "aborted"
    except RegistryError:
        error.add_note("Nothing outside the registry was undone, as it is not known whether the run is committed")
        return False


def write_one(
    ledger: Ledger, write: Write, run_id: str | None, reason: str | None, guarded: bool = True
) -> CellGeneration:
    """Write one generation: in a run it is staged there, outside any it is visible at once.

    Raises ``DuplicateError`` and ``RevisionConflict`` as :meth:`Batch.write` does.
    """
    expected = write.expected
    while True:
        try:
            return ledger.cells.write(
                write.type, write.name, write.value, run_id=run_id, expected=expected, deleted=write.deleted,
                reason=reason, blind=expected is None, fresh=expected is not None, guarded=guarded,
            )  # fmt: skip
        except UndecidedConflict as error:  # cells have names that nobody knows
            error.what = error.what.replace(f"{write.type} {write.name!r}", write.subject)
            raise
        except RevisionConflict as error:  # likewise
            error.what = error.what.replace(f"{write.type} {write.name!r}", write.subject)
            if write.expected is not None:
                raise
            there = ledger.cells.latest(write.type, write.name, run_id)
            if there is None or there.gen == expected or (write.moves and not there.deleted):
                raise
            if not there.deleted:
                raise duplicate(write.subject) from None
            expected = there.gen  # it was there once, and is not now


def duplicate(subject: str) -> DuplicateError:
    """The error for what is registered already."""
    return DuplicateError(f"{subject[:1].upper()}{subject[1:]} already exists", committed="no")
