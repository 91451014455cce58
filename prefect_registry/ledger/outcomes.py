"""What is visible: the outcome of a run with the runs it is nested in, and the state of what it wrote (P3).

``effective``, ``state_of`` and ``inside`` are the functions of the same names in the protocol model.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.cells import CellRef
from prefect_registry.records.runs import Decision, Outcome

GenerationState = Literal["visible", "dead", "undecided"]


class Outcomes:
    """Answers about decided and undecided runs. Decisions are immutable, so answers about decided chains are free."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cells: dict[str, frozenset[tuple[str, str, int]]] = {}

    def ancestors(self, run_id: str) -> list[str]:
        """The runs around ``run_id``, outermost first: empty for a root or isolated run."""
        if not self._store.has(paths.begin_key(run_id)) and self._store.has(paths.end_key(run_id)):
            end = self._store.decision(run_id)
            if end is not None and (end.ancestors or end.committed):
                return end.ancestors
        begin = self._store.begin(run_id)
        return begin.ancestors if begin is not None else []

    def effective(self, run_id: str) -> Outcome | None:
        """Committed or aborted for good, the runs around it taken into account; None while that is open."""
        end = self._store.decision(run_id)
        if end is not None and not end.committed:
            return "aborted"
        undecided = end is None
        for parent, child in pairwise([*self.ancestors(run_id), run_id]):
            up = self._store.decision(parent)
            if up is None:
                undecided = True
            elif not up.committed or child not in self._store.members(up).runs:
                return "aborted"
        return None if undecided else "committed"

    def root_decision(self, run_id: str) -> Decision | None:
        """The decision that published an effectively committed run: its own, or that of the outermost run."""
        chain = [*self.ancestors(run_id), run_id]
        return self._store.decision(chain[0])

    def in_the_way(self, tx: str, run_id: str | None) -> tuple[str, bool]:
        """The outermost undecided run around ``tx`` that is not also around ``run_id``; and whether ``run_id`` is the
        younger of the two, compared where their chains part, so that both sides agree (P4).
        """
        theirs = [*self.ancestors(tx), tx]
        ours = [*self.ancestors(run_id), run_id] if run_id is not None else []
        common = 0
        while common < min(len(theirs), len(ours)) and theirs[common] == ours[common]:
            common += 1
        theirs, ours = theirs[common:], ours[common:]
        blocking = next((run for run in theirs if self._store.decision(run) is None), tx)
        return blocking, bool(ours and theirs and ours[0] > theirs[0])

    def lists_cell(self, decision: Decision, cell: CellRef, gen: int) -> bool:
        """Whether a decision publishes that generation."""
        cells = self._cells.get(decision.run_id)
        if cells is None:
            if len(self._cells) > 1_000:
                self._cells.clear()
            cells = self._cells[decision.run_id] = frozenset(self._store.members(decision).cells)
        return (cell.type, cell.key, gen) in cells

    def state_of(self, tx: str | None, cell: CellRef, gen: int, within: str | None = None) -> GenerationState:
        """The state of a generation of a named cell that ``tx`` wrote, seen from inside run ``within`` (P3)."""
        if tx is None:
            return "visible"
        own = self._store.decision(tx) if tx != within else None
        if own is not None and not (own.committed and self.lists_cell(own, cell, gen)):
            return "dead"
        if within is not None and self.inside(tx, within):
            return "visible"
        outcome = self.effective(tx)
        if outcome is None:
            return "undecided"
        return "visible" if outcome == "committed" else "dead"

    def staged_by(self, tx: str | None, within: str | None) -> str | None:
        """``tx``, if what it wrote is visible only inside the run ``within``, or around it, and not published yet."""
        return tx if tx is not None and within is not None and self.inside(tx, within) else None

    def inside(self, tx: str, run_id: str) -> bool:
        """Whether what ``tx`` wrote is visible inside ``run_id`` although undecided outside: its own, its ancestors',
        and that of their committed nested runs.
        """
        around = {run_id, *self.ancestors(run_id)}
        while tx not in around:
            end = self._store.decision(tx)
            above = self.ancestors(tx)
            if end is None or not end.committed or not above:
                return False
            parent = self._store.decision(above[-1])
            if parent is not None and tx not in self._store.members(parent).runs:
                return False
            tx = above[-1]
        return True
