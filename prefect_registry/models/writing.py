"""Several cells by one decision: in the surrounding run, or by a run that is opened for them (DESIGN.md P2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from prefect_registry.errors import RegistryError, RevisionConflict, StorageError, UndecidedConflict
from prefect_registry.ledger import observers
from prefect_registry.ledger.dropping import Staged, drop
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.models.exceptions import DuplicateError
from prefect_registry.records.base import as_reason
from prefect_registry.records.cells import CellGeneration

LONGEST_REASON_CHARACTERS = 1_000


@dataclass(frozen=True)
class Write:
    """One generation to be written.

    Attributes:
        expected: The generation that ``value`` was computed from; None for what must not be there yet.
        subject: What is told to be there already when it is: ``version '1' of model 'digits'``.
    """

    type: str
    name: str
    value: Mapping[str, Any]
    subject: str
    expected: int | None = None
    deleted: bool = False


@dataclass
class Batch:
    """What is written under one run. Nothing of it is visible before that is decided.

    Attributes:
        doubtful: What may have been written: the store did not say.
        given_up: What is to be done outside the registry when nothing of it will ever be visible.
    """

    ledger: Ledger
    run_id: str
    doing: str
    reason: str | None
    written: list[CellGeneration] = field(default_factory=list)
    doubtful: list[Write] = field(default_factory=list)
    given_up: list[Callable[[], object]] = field(default_factory=list)

    def write(self, *writes: Write) -> None:
        """Write them, all at the same time.

        Raises:
            DuplicateError: One must not be there yet, and is.
            RevisionConflict: One is not what it was computed from any more.
        """
        calls: list[Callable[[], object]] = [partial(self._write, write) for write in writes]
        self.ledger.runs.within(self.run_id, calls, self.doing)

    def _write(self, write: Write) -> None:
        try:
            self.written.append(write_one(self.ledger, write, self.run_id, self.reason, guarded=False))
        except StorageError:
            self.doubtful.append(write)  # it may be there
            raise

    def also(self, generation: CellGeneration | None) -> None:
        """Something that another domain has written for this batch in the same run."""
        if generation is not None and generation.tx == self.run_id:
            self.written.append(generation)

    def when_given_up(self, call: Callable[[], object]) -> None:
        """Call this when nothing of the batch will ever be visible."""
        self.given_up.append(call)

    def take_back(self) -> None:
        """Drop what was written, since the rest could not be, and the run around goes on."""
        doubtful = [found for write in self.doubtful if (found := self._arrived(write)) is not None]
        for generation in reversed([*self.written, *doubtful]):
            staged = Staged.of(generation)
            if staged is not None:
                drop(self.ledger, staged, f"{self.doing} failed"[:LONGEST_REASON_CHARACTERS])

    def _arrived(self, write: Write) -> CellGeneration | None:
        """A write whose answer was lost, if it is there: records tell their ids and times."""
        found = self.ledger.cells.latest(write.type, write.name, self.run_id)
        if found is None or found.tx != self.run_id:
            return None
        return found if orjson.dumps(found.value) == orjson.dumps(dict(write.value)) else None

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

    In a run it is staged there; when the block fails, what it has written is taken back, and the run can go on.
    Outside any, a run is opened for the block, and committed at its end.
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
    batch = Batch(ledger, run_id, doing, why)
    try:
        yield batch
    except BaseException as error:
        try:
            batch.take_back()
        except RegistryError as second:
            error.add_note(f"What it had written could not be taken back: {second}")
        else:
            batch.clean_up(error)
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
        except RevisionConflict:
            if write.expected is not None:
                raise
            there = ledger.cells.latest(write.type, write.name, run_id)
            if there is None or there.gen == expected:
                raise
            if not there.deleted:
                raise duplicate(write.subject) from None
            expected = there.gen  # it was there once, and is not now


def duplicate(subject: str) -> DuplicateError:
    """The error for what is registered already."""
    return DuplicateError(f"{subject[:1].upper()}{subject[1:]} already exists", committed="no")
