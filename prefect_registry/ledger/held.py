"""What a cell shows to who wants to write it, and what they are told when they cannot (DESIGN.md P4, P5)."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_registry.errors import RevisionConflict, UndecidedConflict
from prefect_registry.ledger.leases import HolderNote
from prefect_registry.records.cells import CellGeneration


@dataclass(frozen=True)
class Look:
    """What a cell showed: ``newest`` number in it (-1: empty), ``base`` the newest visible generation,
    ``undecided`` the run that must be decided before anything can be written, ``younger`` whether the writer gives
    way to it sooner, ``base_tx`` the run of the base if that is not published yet.
    """

    newest: int
    base: CellGeneration | None
    undecided: str | None = None
    younger: bool = False
    base_tx: str | None = None

    @property
    def base_gen(self) -> int | None:
        """The number of the base, None when there is none."""
        return self.base.gen if self.base is not None else None


def changed(draft: CellGeneration, found: int | None, expected: object) -> RevisionConflict:
    """The visible generation is ``found`` (None: there is none), and not what the draft was computed from."""
    there = "there is none" if found is None else f"generation {found} is there now"
    wanted = "none was expected" if expected is None else f"generation {expected} was expected"
    return RevisionConflict(
        f"{draft.type} {draft.name!r} changed meanwhile",
        why=f"{there}; {wanted}",
        todo="Read it again and repeat the change",
        committed="no",
        type=draft.type,
        name=draft.name,
        found=found,
    )


def held(subject: str, run_id: str, holder: HolderNote, waited: float) -> UndecidedConflict:
    """An undecided run holds the cell, and has been waited for as long as allowed."""
    return UndecidedConflict(
        f"{subject} is held by run {run_id}, which is neither committed nor aborted",
        why=f"{holder.text}; waited {waited:.1f} s",
        todo=f"Try again when that run is closed. If it is dead, it can be taken after {holder.available_after}",
        committed="no",
        run_id=run_id,
        holder=holder.text,
        available_after=holder.available_after,
    )
