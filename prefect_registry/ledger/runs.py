"""Beginning a run, and refusing calls on one that is decided (DESIGN.md P6, P11, P14)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from prefect_registry.capture import Capture
from prefect_registry.errors import (
    AlreadyExists,
    InvalidState,
    NotFound,
    OutcomeUnknown,
    RunAborted,
    RunAlreadyClosed,
    StorageError,
    StorageUnavailable,
    in_run,
)
from prefect_registry.ids import parse_run_id
from prefect_registry.ledger import observers, paths
from prefect_registry.ledger.holder import DETACHED
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.store import Store
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.runs import Begin, Decision, Publish

T = TypeVar("T")
FLOW_RUN = "flow_run"
_MOST_LATE = 1_000


@dataclass(frozen=True)
class RunSpec:
    """What insert_run records of a run; values are checked by the caller."""

    purpose: str
    model_id: str | None = None
    revision: str | None = None
    config: Mapping[str, Any] | None = None
    publish: Publish = "on_close"
    lease_seconds: float | None = None
    parent: str | None = None
    isolated: bool = False
    implicit: bool = False
    flow_run: str | None = None
    prefect: Mapping[str, Any] | None = None
    detached: bool = False
    """It outlives the processes that work on it: no dead pid proves that nobody will finish it, and no thread keeps its
    lease. Whoever works on it signs (``Beats.sign``)."""
    capture: Capture | None = None


@dataclass(frozen=True)
class Attempt:
    """The outcome of beginning a run for a Prefect flow run.

    ``published`` is the decision of an earlier attempt that committed: then the body must not run again (P14).
    """

    begin: Begin
    published: Decision | None = None


class Runs:
    """Begins runs and guards calls on them."""

    def __init__(self, store: Store, outcomes: Outcomes, abort: Callable[[str, str], Decision]) -> None:
        self._store = store
        self._outcomes = outcomes
        self._abort = abort
        self.work_on: Callable[[Begin], object] = lambda begin: None
        self._late: dict[str, Callable[[], Mapping[str, Any]]] = {}

    # -- begin ---------------------------------------------------------------------------------------------------

    def new(self, spec: RunSpec) -> Begin:
        """The begin document of a new run, not stored yet. Looks up the chain of runs around a nested one."""
        now = self._store.clock.now()
        capture = spec.capture or Capture()
        ancestors: list[str] = []
        if spec.parent is not None:
            above = self.known(spec.parent)
            ancestors = [] if spec.isolated else [*above.ancestors, above.run_id]
        begin = Begin(
            write_id=self._store.ids.write_id(),
            run_id=self._store.ids.typeid("run", now),
            purpose=spec.purpose,
            model_id=spec.model_id,
            revision=spec.revision,
            config=dict(spec.config or {}),
            created_at=now,
            lease_seconds=spec.lease_seconds or self._store.settings.lease_seconds,
            publish=spec.publish,
            implicit=spec.implicit,
            parent=spec.parent,
            isolated=spec.isolated,
            ancestors=ancestors,
            flow_run=spec.flow_run,
            prefect=dict(spec.prefect or {}),
            code=dict(capture.code),
            environment=dict(capture.environment),
            worker=dict(capture.worker),
            holder=DETACHED if spec.detached else self._store.holder(),
        )
        if capture.late is not None:
            self._late[begin.run_id] = capture.late
            if len(self._late) > _MOST_LATE:
                with contextlib.suppress(KeyError, RuntimeError):  # another thread does the same
                    del self._late[next(iter(self._late))]
        return begin

    def learned(self, run_id: str) -> dict[str, Any]:
        """What has become known of the code of a run, begun in this process, since its begin was written."""
        late = self._late.get(run_id)
        return dict(late()) if late is not None else {}

    def start_beside(self, begin: Begin, work: Sequence[Callable[[], object]]) -> None:
        """Begin a run that is neither nested nor an attempt of a flow run, at the same time as its first work: no
        decision can list what that writes before the run exists.
        """
        calls: list[Callable[[], object]] = [partial(self.create_begin, begin), *work]
        with in_run(begin.run_id):
            self._store.together(calls)

    def start(self, spec: RunSpec, new: Begin | None = None) -> Attempt:
        """Begin a run: one round trip; a nested one looks at its parent after its marker has landed (P11).

        ``new``: what :meth:`new` made of ``spec`` before, for those who must know the id first.
        """
        begin = new or self.new(spec)
        calls: list[Callable[[], object]] = [partial(self.create_begin, begin)]
        nested = begin.parent is not None and not begin.isolated
        if nested:
            assert begin.parent is not None
            calls.append(partial(self._store.storage.put, paths.nested_key(begin.parent, begin.run_id), b""))
        if spec.flow_run is not None:
            calls.append(partial(self._touch_claim, begin, spec.flow_run, 0))  # before what it touches (P9)
            calls.append(partial(self._claim, begin, spec.flow_run, 0))
        with in_run(begin.run_id):
            self._store.storage.in_order(calls)
            if nested:
                self._refuse_decided_parent(begin)
            if spec.flow_run is not None:
                return Attempt(begin, self._supersede(begin, spec.flow_run))
        return Attempt(begin)

    def create_begin(self, begin: Begin) -> None:
        """Store ``begin.json``. Its id is new, so a lost answer that stays lost harms nobody: nothing refers to it."""
        try:
            self._store.create(paths.begin_key(begin.run_id), begin)
        except OutcomeUnknown as error:
            raise OutcomeUnknown(
                f"Run {begin.run_id} could not be begun",
                why=error.why or error.what,
                todo="Try again when the store answers; nothing was published",
                committed="no",
                run_id=begin.run_id,
            ) from error

    def _refuse_decided_parent(self, begin: Begin) -> None:
        innermost_first = [paths.end_key(above) for above in reversed(begin.ancestors)]
        decisions = self._store.read_many(innermost_first, Decision)
        decided = next((d for d in decisions if d is not None), None)
        if decided is not None:
            self._abort(begin.run_id, f"the run around it, {decided.run_id}, is {decided.outcome}")
            raise self.refusal(decided, "begin a run inside it", published=False)

    # -- attempts of a flow run (P14) ----------------------------------------------------------------------------

    def _claim(self, begin: Begin, flow_run: str, gen: int) -> bool:
        """Create generation ``gen`` of the flow run's cell; False when another attempt has that number."""
        cell = flow_run_cell(flow_run)
        document = CellGeneration(
            write_id=begin.write_id,
            type=cell.type,
            name=flow_run,
            gen=gen,
            tx=None,
            base=gen - 1 if gen else None,
            at=begin.created_at,
            value={"run_id": begin.run_id},
        )
        try:
            self._store.create(paths.cell_key(cell, gen), document)
        except AlreadyExists:
            return False
        return True

    def _touch_claim(self, begin: Begin, flow_run: str, gen: int) -> None:
        self._store.storage.put(paths.touch_key(begin.run_id, flow_run_cell(flow_run), gen), b"")

    def _supersede(self, begin: Begin, flow_run: str) -> Decision | None:
        """Make this the newest attempt of the flow run, and abort every lower one that is undecided.

        Returns the decision of a lower attempt that has published, if there is one. A nested attempt that committed
        inside a run which was rolled back has published nothing (P11).
        """
        cell = flow_run_cell(flow_run)
        own = self._store.peek(paths.cell_key(cell, 0), CellGeneration)
        if own is not None and own.value.get("run_id") == begin.run_id:
            return None
        while True:
            attempts = self.attempts(flow_run)
            if any(a.value.get("run_id") == begin.run_id for a in attempts):
                break
            gen = attempts[-1].gen + 1 if attempts else 0
            calls: list[Callable[[], object]] = [
                partial(self._claim, begin, flow_run, gen),
                partial(self._touch_claim, begin, flow_run, gen),
            ]
            self._store.together(calls)
        mine = next(a.gen for a in attempts if a.value.get("run_id") == begin.run_id)
        lower = [str(a.value["run_id"]) for a in attempts if a.gen < mine]
        aborts = [partial(self._abort, run, f"superseded by {begin.run_id}, a newer attempt") for run in lower]
        decisions = self._store.together(aborts) if aborts else []
        committed = (d for d in decisions if d.committed)
        return next((d for d in committed if self._outcomes.effective(d.run_id) != "aborted"), None)

    def attempts(self, flow_run: str) -> list[CellGeneration]:
        """The attempts of a Prefect flow run, oldest first; each names its run."""
        cell = flow_run_cell(flow_run)
        keys = paths.generations(self._store.storage.list(paths.cell_prefix(cell)))
        found = self._store.read_many(keys, CellGeneration) if keys else []
        return [a for a in found if a is not None and a.name == flow_run]

    # -- calls on a run ------------------------------------------------------------------------------------------

    def known(self, run_id: str) -> Begin:
        """The begin document of a run. Raises ``InvalidInput`` for a malformed id, ``NotFound`` for an unknown one."""
        begin = self._store.begin(parse_run_id(run_id))
        if begin is None:
            raise unknown_run(run_id)
        return begin

    def within(
        self,
        run_id: str,
        calls: Sequence[Callable[[], T]],
        doing: str,
        publishes: Callable[[Decision], bool] = lambda decision: False,
    ) -> list[T]:
        """Run storage calls of an undecided run, looking at its decision beside them: no sequential trip (P6).

        The first call of this process on a run reads its begin and decision before anything is written. When the run
        is committed meanwhile, ``publishes`` tells whether what was written is a member: then it has succeeded.
        """
        with in_run(run_id):
            return self._within(run_id, calls, doing, publishes)

    def _within(
        self, run_id: str, calls: Sequence[Callable[[], T]], doing: str, publishes: Callable[[Decision], bool]
    ) -> list[T]:
        looked_now = self._first_look(run_id, doing)
        if looked_now and not calls:
            return []
        begin = self.known(run_id)
        if begin.parent is not None or not begin.implicit:
            observers.work_in_run()
        self.work_on(begin)
        looked: list[Decision | None] = []
        try:
            results = self._look_beside(run_id, calls, looked)
        except Exception as error:
            if not (isinstance(error, OutcomeUnknown) and looked and looked[0] is not None and looked[0].committed):
                self._refuse(looked, doing, error)
            raise
        if not looked:  # the store did not say, and what was written may be a member
            self._look_again(run_id, looked)
        if not (looked and looked[0] is not None and looked[0].committed and publishes(looked[0])):
            self._refuse(looked, doing, None)
        return results

    def _look_beside(self, run_id: str, calls: Sequence[Callable[[], T]], looked: list[Decision | None]) -> list[T]:
        """Run the calls and put the decision into ``looked``, if the store says. All has ended when this returns."""
        begun = self._store.prefetch(paths.end_key(run_id), Decision) if calls else None
        if begun is None:
            # The look comes last where one thing is done after the other: then nothing can be decided in between.
            look: Callable[[], Any] = partial(self._look, run_id, looked)
            return self._store.together([*calls, look])[:-1]
        try:
            results = self._store.together(calls)
        except Exception:  # is raised again; what was begun has to end before
            with contextlib.suppress(StorageError):  # the first error is the one to tell
                looked.append(begun())
            raise
        with contextlib.suppress(StorageUnavailable):
            looked.append(begun())
        return results

    def _first_look(self, run_id: str, doing: str) -> bool:
        """Read begin and decision if this process has not met the run; True when it did so now."""
        if self.is_known(run_id):
            if self._store.has(paths.end_key(run_id)):  # a decision never changes: refuse before anything is sent
                self._refuse([self._store.decision(run_id)], doing, None)
            return False
        looks: list[Callable[[], object]] = [
            partial(self._store.begin, run_id),
            partial(self._store.decision, run_id),
        ]
        begin, end = self._store.together(looks)
        if begin is None:
            raise unknown_run(run_id)
        if isinstance(end, Decision):
            raise self.refusal(end, doing, published=False)
        return True

    def is_known(self, run_id: str) -> bool:
        """Whether this process has read or written the run's begin before."""
        return self._store.has(paths.begin_key(parse_run_id(run_id)))

    def stands_alone(self, run_id: str) -> bool:
        """Whether this process knows the run as one that a single call opened for itself, in no other. Asks nothing."""
        known = self.known(run_id) if self.is_known(run_id) else None
        return known is not None and known.implicit and known.parent is None

    def _look(self, run_id: str, looked: list[Decision | None]) -> None:
        with contextlib.suppress(StorageUnavailable):
            looked.append(self._store.decision(run_id))

    def _look_again(self, run_id: str, looked: list[Decision | None]) -> None:
        try:
            looked.append(self._store.decision(run_id))
        except StorageError as error:
            error.committed = "unknown"
            raise

    def _refuse(self, looked: Sequence[Decision | None], doing: str, cause: Exception | None) -> None:
        """Raise if the run is decided: then what the call wrote is no member, so nothing of it is published."""
        if looked and looked[0] is not None:
            raise self.refusal(looked[0], doing, published=False) from cause

    def refusal(self, decision: Decision, doing: str, todo: str = "", published: bool = True) -> InvalidState:
        """The error of a call on a decided run.

        Args:
            todo: What helps, if the run is committed and published.
            published: Whether the call was about the run itself; what a refused write would have added is not.
        """
        run_id, at = decision.run_id, decision.closed_at.isoformat(timespec="seconds")
        effective = self._outcomes.effective(run_id)
        if effective == "aborted":
            failure = decision.failure
            why = f"{failure.cls}: {failure.message}" if failure else (decision.notes or "")
            dropped = f"It was committed, but the runs around it, {', '.join(decision.ancestors)}, do not publish it"
            return RunAborted(
                f"Cannot {doing}: run {run_id} was aborted at {at}",
                why=dropped if decision.committed else why,
                todo="Nothing of it is visible; begin a new run and do the work again",
                committed="no",
                run_id=run_id,
            )
        if effective is None:
            return RunAlreadyClosed(
                f"Cannot {doing}: run {run_id} is closed since {at}",
                why="A decided run never changes; it becomes visible when the runs around it commit",
                todo="Begin a new run; to drop this one, roll the run around it back",
                committed=None if published else "no",
                run_id=run_id,
            )
        return RunAlreadyClosed(
            f"Cannot {doing}: run {run_id} is committed since {at}",
            why="A decided run never changes",
            todo=todo or "Begin a new run",
            committed="yes" if published else "no",
            run_id=run_id,
        )

    def check_open(self, run_id: str, doing: str) -> Begin:
        """Refuse an unknown or decided run; one round trip."""
        self.within(run_id, [], doing)
        return self.known(run_id)


def flow_run_cell(flow_run: str) -> CellRef:
    """The cell whose generations are the attempts of a Prefect flow run (P14)."""
    return CellRef.named(FLOW_RUN, flow_run)


def unknown_run(run_id: str) -> NotFound:
    """The error for an id that names no run here."""
    return NotFound(
        f"There is no run {run_id} in this registry",
        todo="Check the id, and that it is the same registry that insert_run was called on",
        committed="no",
        run_id=run_id,
    )


def lease_problems(seconds: object, remote: bool) -> list[str]:
    """Why ``seconds`` cannot be a lease (DESIGN.md P7)."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return [f"lease must be a number of seconds, not {type(seconds).__name__}"]
    smallest = 60 if remote else 1
    if not smallest <= seconds <= 7 * 86_400:
        return [f"lease must be {smallest} seconds to 7 days on this store, not {seconds}"]
    return []
