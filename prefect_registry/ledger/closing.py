"""Deciding a run: one create-if-absent of ``end.json``, and never a wrong word about it (DESIGN.md P6, P10, P11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson

from prefect_registry.errors import (
    AlreadyExists,
    InvalidState,
    OutcomeUnknown,
    RunAborted,
    StorageError,
    StorageUnavailable,
    in_run,
    nothing_published,
    outcome_unknown,
    settle,
)
from prefect_registry.ledger import paths
from prefect_registry.ledger.listing import Listing, list_run
from prefect_registry.ledger.membership import Membership
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.runs import Runs
from prefect_registry.ledger.store import Store
from prefect_registry.records.base import as_json, json_problems
from prefect_registry.records.runs import Begin, Decision, Failure, LeftOut, Members, Reference, failure

T = TypeVar("T")
Visible = Literal["yes", "staged"]
MOST_RESULT_BYTES = 16 * 1024
UNSET: Any = object()


@dataclass(frozen=True)
class Closed:
    """A decided run. ``visible`` is ``staged`` for a nested run whose outer run is still undecided (P11)."""

    decision: Decision
    visible: Visible = "yes"


class Closing:
    """Commits and aborts runs."""

    def __init__(self, store: Store, outcomes: Outcomes, runs: Runs) -> None:
        self._store = store
        self._outcomes = outcomes
        self._runs = runs
        self._membership = Membership(store, outcomes, self._decide_nested)

    # -- commit --------------------------------------------------------------------------------------------------

    @outcome_unknown
    def commit(
        self,
        run_id: str,
        *,
        notes: str | None = None,
        result: Any = UNSET,
        refuse_pending: bool = False,
        confirm: Callable[[], object] = lambda: None,
        only: Members | None = None,
    ) -> Closed:
        """Publish everything that is staged in the run, by one object, or learn who decided it otherwise.

        Args:
            result: The flow's return value; recorded when it is JSON of at most 16 KiB (P14).
            refuse_pending: Raise ``InvalidState`` instead of leaving out datasets that were begun and never committed.
            confirm: Called right before the decision when the run publishes anything. It may raise: then the run is
                left undecided.
            only: What the run publishes, when nobody but the caller knows of the run: then nothing is listed.

        Raises:
            RunAborted: Somebody aborted the run, or the run around it does not list it. Committed: no.
            OutcomeUnknown: The store gave no certain answer. Nothing may be cleaned up.
        """
        begin = self._runs.known(run_id)
        listed = list_run(self._store, run_id) if only is None else []
        self._store.learn_time(listed)
        self._store.know_time()
        listing = Listing.of(listed)
        if listing.end:
            return self._join(begin, self._decided(run_id))
        members, left_out = self._gather(begin, listing) if only is None else (only, LeftOut())
        if left_out.pending and refuse_pending:
            raise InvalidState(
                f"Run {run_id} has {len(left_out.pending)} dataset(s) that were begun and never committed",
                why="A run publishes everything or nothing",
                todo="Commit or roll back every dataset before the run ends",
                committed="no",
                run_id=run_id,
                pending=[f"ds_{run_id[4:]}_{suffix}" for suffix in left_out.pending],
            )
        self._mark_late_begin(begin, listing)
        inline, more = self._split(run_id, members)
        if members != Members():
            confirm()
        has_result, value = _recordable(result)
        decision = Decision(
            write_id=self._store.ids.write_id(),
            run_id=run_id,
            outcome="committed",
            success=True,
            notes=notes,
            closed_at=self._store.clock.decision_time(),
            closed_by=self._store.holder(),
            ancestors=begin.ancestors,
            members=inline,
            more_members=more,
            left_out=left_out,
            has_result=has_result,
            result=value,
            code=self._runs.learned(run_id),
        )
        return self._join(begin, self._decide(decision))

    def _join(self, begin: Begin, decision: Decision) -> Closed:
        """What the closer may say of the run after its decision, the runs around it taken into account (P11)."""
        if not decision.committed:
            raise self._runs.refusal(decision, "commit the run")
        if not begin.ancestors:
            return Closed(decision)
        outcome = self._outcomes.effective(begin.run_id)
        if outcome == "aborted":
            raise RunAborted(
                f"Run {begin.run_id} is committed, but the run around it does not publish it",
                why=f"{begin.ancestors[-1]} was decided without it",
                todo="Nothing of it is visible; do the work again in a new run",
                committed="no",
                run_id=begin.run_id,
            )
        return Closed(decision, "yes" if outcome == "committed" else "staged")

    # -- before the decision: what goes wrong here has published nothing --------------------------------------------

    @nothing_published
    def _gather(self, begin: Begin, listing: Listing) -> tuple[Members, LeftOut]:
        return self._undecided(begin.run_id, lambda: self._membership.gather(begin, listing))

    @nothing_published
    def _split(self, run_id: str, members: Members) -> tuple[Members, list[Reference]]:
        return self._undecided(run_id, lambda: self._membership.split(run_id, members))

    def _undecided(self, run_id: str, call: Callable[[], T]) -> T:
        """The outcome of a nested run, or of a part of the members, may be unknown; that of this run is not."""
        try:
            return call()
        except OutcomeUnknown as error:
            raise StorageUnavailable(
                f"Run {run_id} could not be closed",
                why=error.what,
                todo="Close it again when the store answers, or roll it back",
                committed="no",
                run_id=run_id,
            ) from error

    # -- members (P6) --------------------------------------------------------------------------------------------

    def _decide_nested(self, child: str, parent: Begin) -> Decision:
        """The decision of a nested run; if there is none yet, abort it, or learn that it has committed (P11)."""
        decided = self._store.decision(child)
        if decided is not None:
            return decided
        why = failure("ParentClosed", message=f"{parent.run_id} was closed first", kind="cancelled")
        return self._abort(child, [*parent.ancestors, parent.run_id], why, None)

    # -- abort ---------------------------------------------------------------------------------------------------

    def abort(self, run_id: str, failure: Failure | None = None, notes: str | None = None) -> Decision:
        """Create the aborted decision, or learn the one that is there. Anyone may call it with the proof of P7."""
        begin = self._store.begin(run_id)
        return self._abort(run_id, begin.ancestors if begin is not None else [], failure, notes)

    def _abort(self, run_id: str, ancestors: list[str], failure: Failure | None, notes: str | None) -> Decision:
        decision = Decision(
            write_id=self._store.ids.write_id(),
            run_id=run_id,
            outcome="aborted",
            success=False,
            notes=notes,
            failure=failure,
            closed_at=self._store.clock.decision_time(),
            closed_by=self._store.holder(),
            ancestors=ancestors,
            code=self._runs.learned(run_id),
        )
        try:
            with in_run(run_id):
                return self._store.create(paths.end_key(run_id), decision)
        except AlreadyExists as error:
            return self._existing(run_id, error)
        except (OutcomeUnknown, StorageUnavailable):
            raise
        except StorageError as error:
            return self._refused(run_id, error)

    @outcome_unknown
    def fail(self, run_id: str, failure: Failure | None, notes: str | None) -> Decision:
        """``close_run(success=False)``: aborted now or before; refused when the run has committed."""
        self._runs.known(run_id)
        decision = self.abort(run_id, failure, notes)
        if not decision.committed or self._outcomes.effective(run_id) == "aborted":
            return decision
        raise self._runs.refusal(decision, "roll the run back", f"Un-publish it with revert({run_id!r})")

    # -- the one conditional write -------------------------------------------------------------------------------

    def _decide(self, decision: Decision) -> Decision:
        """Create the decision; the winner's decision is returned, ours or another's (P10)."""
        try:
            return self._store.create(paths.end_key(decision.run_id), decision)
        except AlreadyExists as error:
            return self._existing(decision.run_id, error)
        except (OutcomeUnknown, StorageUnavailable) as unsure:
            return self._resolve(decision, unsure)
        except StorageError as error:
            return self._refused(decision.run_id, error)

    def _resolve(self, decision: Decision, unsure: StorageError) -> Decision:
        """A closer that cannot tell creates the aborted decision: winning means no, finding our commit means yes."""
        unconfirmed = failure(type(unsure).__name__, unsure.what)
        try:
            return self.abort(decision.run_id, unconfirmed, "the store did not confirm the commit")
        except StorageError as error:
            raise OutcomeUnknown(
                f"It is not known whether run {decision.run_id} was committed",
                why=f"The store gave no certain answer: {error.what}",
                todo="Do not clean anything up. Read the run when the store answers again; closing it again is safe",
                committed="unknown",
                run_id=decision.run_id,
            ) from error

    def _refused(self, run_id: str, error: StorageError) -> Decision:
        """The store refused the decision (no permission, no room): then there is none, or somebody else's."""
        try:
            decision = self._store.decision(run_id)
        except StorageError:
            raise error from None
        if decision is None:
            settle(error, "no")
            raise error
        return decision

    def _existing(self, run_id: str, error: AlreadyExists) -> Decision:
        if error.existing is not None:
            return self._store.remember(paths.end_key(run_id), error.existing, Decision)
        return self._decided(run_id)

    def _decided(self, run_id: str) -> Decision:
        return self._store.read(paths.end_key(run_id), Decision)

    # -- store time (P12) ----------------------------------------------------------------------------------------

    def _mark_late_begin(self, begin: Begin, listing: Listing) -> None:
        """Leave a ``see`` marker when the begin landed long after its hour, so that no sealed hour hides it."""
        if listing.begin is None:
            return
        end_of_hour = begin.created_at.replace(minute=0, second=0, microsecond=0).timestamp() + 3600
        landed = listing.begin.modified.timestamp()
        if landed > end_of_hour + self._store.settings.grace_seconds / 2:
            self._store.storage.put(paths.see_key(begin.run_id, self._store.clock.now()), b"")


def _recordable(result: Any) -> tuple[bool, Any]:
    """Whether a flow's result can be kept in the decision (P14), and its JSON value."""
    if result is UNSET or next(json_problems(result, "result"), None) is not None:
        return False, None
    value = as_json(result)
    return (True, value) if len(orjson.dumps(value)) <= MOST_RESULT_BYTES else (False, None)
