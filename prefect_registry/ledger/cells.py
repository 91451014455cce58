"""Named cells: sequences of immutable generations, written by compare-and-create (DESIGN.md P2 to P5, P9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from prefect_registry.errors import AlreadyExists, IntegrityError, RevisionConflict, StorageError
from prefect_registry.ledger import observers, paths
from prefect_registry.ledger.held import Look, changed, held
from prefect_registry.ledger.leases import Leases
from prefect_registry.ledger.outcomes import GenerationState, Outcomes
from prefect_registry.ledger.runs import Runs
from prefect_registry.ledger.store import Store
from prefect_registry.records.cells import CellGeneration, CellRef


class _Any:
    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()
"""Write on top of whatever is there: last writer wins, and the history keeps both."""

Expected = int | None | _Any
Change = Callable[[Mapping[str, Any] | None], Mapping[str, Any] | None]


class Cells:
    """Reads and writes cells, in a run or outside any."""

    def __init__(self, store: Store, outcomes: Outcomes, runs: Runs, leases: Leases) -> None:
        self._store = store
        self._outcomes = outcomes
        self._runs = runs
        self._leases = leases
        self._known: dict[CellRef, int] = {}

    # -- reading -------------------------------------------------------------------------------------------------

    def latest(
        self,
        type_: str,
        name: str,
        run_id: str | None = None,
        as_of: datetime | None = None,
        guess: int | None = None,
    ) -> CellGeneration | None:
        """The newest visible generation, tombstones included, or None.

        Inside ``run_id`` what it staged counts too (P3); with ``as_of``, only what was visible at that time. With
        ``guess``, the generation of that number is read beside the listing: a right guess saves a round trip.
        """
        cell = CellRef.named(type_, name)
        if guess is None or self._store.has(paths.cell_key(cell, guess)):
            newest = self._newest(cell)
        else:
            calls: list[Callable[[], Any]] = [
                partial(self._newest, cell),
                partial(self._store.peek, paths.cell_key(cell, guess), CellGeneration),
            ]
            newest = self._store.together(calls)[0]
        return self.visible_from(self._generation(cell, newest, name), run_id, as_of) if newest >= 0 else None

    def newest(self, type_: str, name: str) -> CellGeneration | None:
        """The newest generation, visible or not: where :meth:`visible_from` begins to look."""
        cell = CellRef.named(type_, name)
        newest = self._newest(cell)
        return self._generation(cell, newest, name) if newest >= 0 else None

    def visible_from(
        self, newest: CellGeneration, run_id: str | None = None, as_of: datetime | None = None
    ) -> CellGeneration | None:
        """The same, for those who have the newest generation at hand, from a listing of many cells."""
        cell = CellRef.named(newest.type, newest.name)
        document = newest
        while True:
            if self._outcomes.state_of(document.tx, cell, document.gen, run_id) == "visible" and (
                as_of is None or self._visible_since(document) <= as_of
            ):
                return document
            if document.base is None:
                return None
            document = self._generation(cell, document.base, document.name)

    def _visible_since(self, document: CellGeneration) -> datetime:
        root = self._outcomes.root_decision(document.tx) if document.tx is not None else None
        return root.closed_at if root is not None else document.at

    def generation(self, type_: str, name: str, gen: int, run_id: str | None = None) -> CellGeneration | None:
        """One generation, if it exists and is visible."""
        cell = CellRef.named(type_, name)
        document = self._store.peek(paths.cell_key(cell, gen), CellGeneration)
        if document is None or document.name != name:
            return None
        visible = self._outcomes.state_of(document.tx, cell, gen, run_id) == "visible"
        return document if visible else None

    def history(self, type_: str, name: str, run_id: str | None = None) -> list[CellGeneration]:
        """Every visible generation, oldest first, tombstones included."""
        cell = CellRef.named(type_, name)
        keys = paths.generations(self._store.storage.list(paths.cell_prefix(cell)))
        found = self._store.read_many(keys, CellGeneration) if keys else []
        return [
            d
            for d in found
            if d is not None and d.name == name and self._outcomes.state_of(d.tx, cell, d.gen, run_id) == "visible"
        ]

    def state(self, cell: CellRef, document: CellGeneration, run_id: str | None = None) -> GenerationState:
        """Whether a generation is visible, dead or undecided, seen from inside ``run_id``."""
        return self._outcomes.state_of(document.tx, cell, document.gen, run_id)

    # -- writing -------------------------------------------------------------------------------------------------

    def write(
        self,
        type_: str,
        name: str,
        value: Mapping[str, Any],
        *,
        run_id: str | None = None,
        expected: Expected = ANY,
        deleted: bool = False,
        reason: str | None = None,
        blind: bool = False,
        fresh: bool = False,
        guarded: bool = True,
        patience_seconds: float | None = None,
    ) -> CellGeneration:
        """Create the cell's next generation.

        Args:
            run_id: The run the write belongs to; None makes it visible at once (P2).
            expected: The generation ``value`` was computed from (None: the cell has none), or ``ANY``.
            blind: Try generation 0 without looking first: one round trip for what is probably new.
            fresh: The caller has just read ``expected``: try the number behind it without looking again. Nobody else
                can have that number if what was read is still the newest.
            guarded: Look at the run's decision beside the write; False when the caller does that for many writes.
            patience_seconds: How long to wait for another run that holds the cell; None for the store's settings.

        Raises:
            RevisionConflict: The visible generation is not ``expected``, or became another one meanwhile (P5).
            UndecidedConflict: Another run holds the cell and stayed undecided (P4).
        """
        cell = CellRef.named(type_, name)
        draft = self._draft(type_, name, value, run_id, deleted, reason)
        if blind and (expected is ANY or expected is None):
            written = self._try(cell, draft, run_id, guarded)
            if written is not None:
                return written
        look = self._as_just_seen(cell, draft.name, run_id, expected) if fresh else None
        if look is not None:
            written = self._try(cell, self._behind(look, draft, run_id), run_id, guarded)
            if written is not None:
                return written
        return self._write_at_the_end(cell, draft, run_id, expected, guarded, patience_seconds)

    def first(
        self, type_: str, name: str, value: Mapping[str, Any], *, run_id: str | None = None, reason: str | None = None,
        guarded: bool = True,
    ) -> CellGeneration | None:  # fmt: skip
        """Create a cell by its generation 0; None when there is one of that name already, visible or not: whoever
        looks for a name that nobody has goes on to the next one instead of waiting.
        """
        draft = self._draft(type_, name, value, run_id, reason=reason)
        return self._try(CellRef.named(type_, name), draft, run_id, guarded)

    def update(
        self, type_: str, name: str, change: Change, *, run_id: str | None = None, reason: str | None = None
    ) -> CellGeneration:
        """Compute the next generation from the visible one: ``change(value or None)`` returns the new value, or None
        for a tombstone; computed afresh whenever the visible one has changed meanwhile.
        """
        for attempt in range(20):
            base = self.latest(type_, name, run_id)
            current = base.value if base is not None and not base.deleted else None
            value = change(current)
            try:
                return self.write(
                    type_,
                    name,
                    value if value is not None else {},
                    run_id=run_id,
                    expected=base.gen if base is not None else None,
                    deleted=value is None,
                    reason=reason,
                )
            except RevisionConflict:
                if attempt == 19:
                    raise
                self._store.clock.sleep(self._store.settings.poll_seconds * self._store.random())
        raise AssertionError("unreachable")

    def _draft(
        self,
        type_: str,
        name: str,
        value: Mapping[str, Any],
        run_id: str | None,
        deleted: bool = False,
        reason: str | None = None,
    ) -> CellGeneration:
        if run_id is None:  # its own time counts, and the hour of its touch
            self._store.know_time()
        return CellGeneration(
            write_id=self._store.ids.write_id(),
            type=type_,
            name=name,
            gen=0,
            tx=run_id,
            base=None,
            at=self._store.clock.now(),
            deleted=deleted,
            reason=reason,
            value=dict(value),
        )

    def _write_at_the_end(
        self,
        cell: CellRef,
        draft: CellGeneration,
        run_id: str | None,
        expected: Expected,
        guarded: bool,
        patience: float | None,
    ) -> CellGeneration:
        while True:
            look = self._look_until_decided(cell, draft.name, run_id, patience)
            if expected is not ANY and look.base_gen != expected:
                raise changed(draft, look.base_gen, expected)
            written = self._try(cell, self._behind(look, draft, run_id), run_id, guarded)
            if written is not None:
                return written

    def _behind(self, look: Look, draft: CellGeneration, run_id: str | None) -> CellGeneration:
        """The draft as the next generation of what the cell showed."""
        return draft.model_copy(
            update={
                "gen": look.newest + 1,
                "base": look.base_gen,
                "base_tx": look.base_tx,
                "at": self._time_after(look.base) if run_id is None else self._store.clock.now(),
            }
        )

    def _try(
        self, cell: CellRef, candidate: CellGeneration, run_id: str | None, guarded: bool
    ) -> CellGeneration | None:
        """Create one generation beside its touch (P9); None when the number is taken by another write."""
        owner = run_id or self._store.operation()
        touch = partial(self._store.storage.put, paths.touch_key(owner, cell, candidate.gen), b"")
        untouched: list[StorageError] = []
        # In this order: a store that does one thing after the other has the touch first (P9, decision 0030).
        calls: list[Callable[[], object]] = [
            partial(_noting, touch, untouched),
            partial(self._create, cell, candidate),
        ]
        try:
            if run_id is not None and guarded:
                listed = partial(self._outcomes.lists_cell, cell=cell, gen=candidate.gen)
                created = self._runs.within(run_id, calls, f"write {cell.type} {candidate.name!r}", listed)[-1]
            else:
                created = self._store.storage.in_order(calls)[-1]
        except BaseException:
            self._tell(candidate)  # it may be there
            raise
        if not created:
            return None
        self._tell(candidate)
        if untouched:
            self._touch_at_last(touch, candidate)
        self._known[cell] = max(candidate.gen, self._known.get(cell, -1))
        return candidate

    def _tell(self, candidate: CellGeneration) -> None:
        if candidate.tx is not None and not self._runs.stands_alone(candidate.tx):
            observers.cell_written(self._store.storage.url, candidate)

    def touch(self, document: CellGeneration) -> None:
        """Touch a generation once more, for a writer that may have died between creating it and touching it: without
        a touch no index shows it, and its run does not list it (P9).
        """
        owner = document.tx or self._store.operation()
        cell = CellRef.named(document.type, document.name)
        self._store.storage.put(paths.touch_key(owner, cell, document.gen), b"")

    def _touch_at_last(self, touch: Callable[[], object], candidate: CellGeneration) -> None:
        """The generation is there, and its touch is not: try once more, and say what is true if that fails too."""
        try:
            touch()
        except StorageError as error:
            error.committed = "yes" if candidate.tx is None else "no"
            error.todo = (
                f"It is visible, but the journal does not show it. {error.todo}"
                if candidate.tx is None
                else "Write it again: its run would leave this one out"
            )
            raise

    def _time_after(self, base: CellGeneration | None) -> datetime:
        """Of a write that is visible at once: now (it may have waited), and later than what it stands on and every
        decision met. In a run, the time of its decision is what counts.
        """
        if base is not None:
            self._store.clock.met(base.at)
        return self._store.clock.decision_time()

    def _create(self, cell: CellRef, candidate: CellGeneration) -> bool:
        try:
            self._store.create(paths.cell_key(cell, candidate.gen), candidate)
        except AlreadyExists:
            return False
        return True

    # -- looking -------------------------------------------------------------------------------------------------

    def _look_until_decided(self, cell: CellRef, name: str, run_id: str | None, patience: float | None) -> Look:
        """Look at the cell; while another run's undecided generation is in the way, wait, abort it or give up (P4)."""
        settings = self._store.settings
        started = self._store.clock.monotonic()
        while True:
            look = self._look(cell, name, run_id)
            if look.undecided is None:
                return look
            if self._leases.abort_if_over(look.undecided, f"its lease was over and {cell.type} {name!r} was wanted"):
                continue
            younger = look.younger
            allowed = settings.younger_wait_seconds if younger else settings.undecided_wait_seconds
            allowed = patience if patience is not None else allowed
            waited = self._store.clock.monotonic() - started
            if waited >= allowed * (0.8 + 0.2 * self._store.random() if younger else 1.0):
                raise held(f"{cell.type} {name!r}", look.undecided, self._leases.describe(look.undecided), waited)
            self._store.clock.sleep(min(settings.poll_seconds * (1 + self._store.random()) * (1 + waited), 1.0))

    def _look(self, cell: CellRef, name: str, run_id: str | None) -> Look:
        newest = self._newest(cell)
        gen: int | None = newest if newest >= 0 else None
        while gen is not None:
            document = self._generation(cell, gen, name)
            state = self._outcomes.state_of(document.tx, cell, gen, run_id)
            if state == "visible":
                return Look(newest, document, base_tx=self._outcomes.staged_by(document.tx, run_id))
            if state == "undecided":
                assert document.tx is not None
                return Look(newest, None, *self._outcomes.in_the_way(document.tx, run_id))
            gen = document.base
        return Look(newest, None)

    def _as_just_seen(self, cell: CellRef, name: str, run_id: str | None, expected: Expected) -> Look | None:
        """What :meth:`_look` would find if nobody has written since ``expected`` was read; None when that was not the
        newest generation then.
        """
        newest = self._known.get(cell, -1)
        if expected is None:
            return Look(-1, None) if newest < 0 else None
        if isinstance(expected, _Any) or expected != newest or not self._store.has(paths.cell_key(cell, newest)):
            return None
        document = self._generation(cell, newest, name)
        if self._outcomes.state_of(document.tx, cell, newest, run_id) != "visible":
            return None
        return Look(newest, document, base_tx=self._outcomes.staged_by(document.tx, run_id))

    def _newest(self, cell: CellRef) -> int:
        """The highest generation number; lists only behind the highest that this process has seen."""
        known = self._known.get(cell, -1)
        after = paths.cell_key(cell, known) if known >= 0 else ""
        for found in self._store.storage.list(paths.cell_prefix(cell), after):
            known = max(known, paths.gen_of_key(found.key))
        if known >= 0:
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[cell] = max(known, self._known.get(cell, -1))
        return known

    def _generation(self, cell: CellRef, gen: int, name: str) -> CellGeneration:
        key = paths.cell_key(cell, gen)
        document = self._store.peek(key, CellGeneration)
        if document is None or document.name != name:
            raise IntegrityError(
                f"Generation {gen} of {cell.type} {name!r} "
                + ("is missing" if document is None else "has another name"),
                why=f"Generations are never deleted or replaced, yet {key} is not what the cell needs",
                todo="Check the store (fsck) and restore the object from a backup",
                key=key,
            )
        return document


def _noting(call: Callable[[], object], errors: list[StorageError]) -> None:
    """Make a call whose failure is looked at later."""
    try:
        call()
    except StorageError as error:
        errors.append(error)
