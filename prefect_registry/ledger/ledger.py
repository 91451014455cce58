"""The protocol in one object: what the domains build on (DESIGN.md 4)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from prefect_registry.errors import OutcomeUnknown, RegistryError, StorageError, in_run, outcome_unknown, settle
from prefect_registry.ledger import observers, spoiled
from prefect_registry.ledger.beats import Beats
from prefect_registry.ledger.cells import Cells
from prefect_registry.ledger.closing import UNSET, Closed, Closing
from prefect_registry.ledger.collecting import Collector
from prefect_registry.ledger.events import Events
from prefect_registry.ledger.journal import Journal
from prefect_registry.ledger.leases import Leases
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.reaping import Housekeeping
from prefect_registry.ledger.runs import Attempt, Runs, RunSpec
from prefect_registry.ledger.store import Store
from prefect_registry.ledger.usage import Told
from prefect_registry.records.base import text_of
from prefect_registry.records.runs import Begin, Decision, Failure, FailureKind, Members, failure

NO_RUNS: dict[str, str] = {}

active_run: ContextVar[dict[str, str]] = ContextVar("prefect_registry_active_run", default=NO_RUNS)
"""The run of each store that surrounds this code in this process, by the store's URL; the innermost comes last."""


def enter_run(url: str, run_id: str) -> Token[dict[str, str]]:
    """Make a run the surrounding one of its store, and the innermost of all. ``active_run.reset`` undoes it."""
    around = {store: run for store, run in active_run.get().items() if not is_same_store(store, url)}
    return active_run.set({**around, url: run_id})


def run_in_context(url: str) -> str | None:
    """The id of the run of the store at ``url`` around this code, as far as its context tells."""
    return next((run for store, run in active_run.get().items() if is_same_store(store, url)), None)


def is_same_store(url: str, other: str) -> bool:
    """Whether two URLs of registries name one store: a folder may be reached through symbolic links."""
    return url == other or ("://" not in url + other and os.path.realpath(url) == os.path.realpath(other))


def innermost_run() -> tuple[str, str] | None:
    """Store URL and id of the innermost run around this code in this process."""
    return next(reversed(active_run.get().items()), None)


class Ledger:
    """Runs, cells, events, decisions, leases and housekeeping of one store.

    Args:
        heartbeats: False for tests that drive every call themselves.
    """

    def __init__(self, store: Store, heartbeats: bool = True) -> None:
        self.store = store
        self.heartbeats = heartbeats
        self._compose()

    def _compose(self) -> None:
        store = self.store
        self.outcomes = Outcomes(store)
        self.leases = Leases(store, self.outcomes)
        self.runs = Runs(store, self.outcomes, self._abort_superseded)
        self.closing = Closing(store, self.outcomes, self.runs)
        self.leases.abort = self.closing.abort
        self.journal = Journal(store, self.outcomes)
        self.cells = Cells(store, self.outcomes, self.runs, self.leases)
        self.events = Events(store, self.outcomes, self.runs, self.journal)
        self.used = Told(self.events)
        collector = Collector(store, self.outcomes, self.closing, self.leases, self.cells)
        self.housekeeping = Housekeeping(store, self.closing, self.leases, self.journal, collector)
        self.beats = Beats(store, self.heartbeats)
        self.runs.work_on = self.beats.work_on

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "heartbeats": self.heartbeats}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compose()

    def _abort_superseded(self, run_id: str, why: str) -> Decision:
        return self.closing.abort(run_id, failure("Superseded", message=why, kind="cancelled"), why)

    # -- runs ----------------------------------------------------------------------------------------------------

    def begin(self, spec: RunSpec, new: Begin | None = None) -> Attempt:
        """Begin a run and keep its lease from this process. ``new``: what ``runs.new`` made of ``spec`` before."""
        attempt = self.runs.start(spec, new)
        if attempt.published is None:
            if not spec.detached:
                self.keep(attempt.begin)
        else:
            self.closing.abort(
                attempt.begin.run_id,
                failure("AlreadyPublished", message=f"{attempt.published.run_id} has published", kind="cancelled"),
                "an earlier attempt of this flow run is committed",
            )
        return attempt

    def keep(self, begin: Begin) -> None:
        """Keep the lease of a run that was just begun, or drop it: nobody else knows of it yet."""
        try:
            self.beats.start(begin)
        except BaseException as error:
            self.drop(begin.run_id, error)
            raise

    def begin_beside(self, begin: Begin, work: Sequence[Callable[[], object]]) -> None:
        """Begin a run of ``runs.new`` that only the caller knows of, at the same time as its first work; see
        :meth:`Runs.start_beside`. When any of it fails, the run is dropped.
        """
        self.beats.start(begin)
        try:
            self.runs.start_beside(begin, work)
        except BaseException as error:
            self.drop(begin.run_id, error)
            raise

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
        """Commit a run; see :meth:`Closing.commit`. Heartbeats end with the decision, whatever it is.

        Raises ``InvalidState``, and leaves the run undecided, while it holds what a failed call has staged.
        """
        self.drop_spoiled(run_id)
        try:
            with in_run(run_id):
                closed = self.closing.commit(
                    run_id, notes=notes, result=result, refuse_pending=refuse_pending, confirm=confirm, only=only
                )
        except OutcomeUnknown:
            self.beats.stop(run_id)  # nobody may come back to it: then its lease must run out
            raise
        self.beats.stop(run_id)
        spoiled.forget(run_id)
        return closed

    @outcome_unknown
    def drop_spoiled(self, run_id: str) -> None:
        """Take back what failed calls of this process have left staged in a run. Costs nothing when nothing is.

        Raises ``InvalidState`` when the store still does not answer, unless the run is decided.
        """
        with in_run(run_id):
            error = spoiled.drop_again(run_id)
            if error is not None and self.store.decision(run_id) is None:
                raise spoiled.still_spoiled(run_id) from error

    def abort(self, run_id: str, failure: Failure | None = None, notes: str | None = None) -> Decision:
        """Abort a run, or learn that it is decided; never raises because it has committed."""
        with self._giving_up(run_id):
            return self.closing.abort(run_id, failure, notes)

    def fail(self, run_id: str, failure: Failure | None = None, notes: str | None = None) -> Decision:
        """``close_run(success=False)``; see :meth:`Closing.fail`."""
        self.runs.known(run_id)
        with self._giving_up(run_id):
            return self.closing.fail(run_id, failure, notes)

    @contextmanager
    def _giving_up(self, run_id: str) -> Iterator[None]:
        """No more heartbeats after an abort, also when it fails: then the lease must run out."""
        try:
            yield
            spoiled.forget(run_id)
        except StorageError:
            self.leases.give_up(run_id)
            raise
        finally:
            self.beats.stop(run_id)

    @contextmanager
    def implicit_run(
        self,
        purpose: str,
        parent: str | None = None,
        config: Mapping[str, Any] | None = None,
        notes: str | None = None,
    ) -> Iterator[str]:
        """A run that is opened for this block alone, nested in ``parent`` if there is one, and committed at its end
        (DESIGN.md 2).
        """
        lease = self.runs.known(parent).lease_seconds if parent is not None else None
        spec = RunSpec(purpose, config=config, parent=parent, implicit=True, lease_seconds=lease)
        own = self.begin(spec).begin.run_id
        try:
            yield own
        except BaseException as error:
            self.drop(own, error)
            raise
        self.commit_own(own, notes)

    def commit_own(self, own: str, notes: str | None = None, only: Members | None = None) -> None:
        """Commit a run that nobody else knows of; when that fails, drop it, and say what is true.

        An error of a commit that turns out to have happened is not raised.
        """
        try:
            self.commit(own, notes=notes, only=only)
        except OutcomeUnknown:
            self.leases.give_up(own)  # nobody else knows of it
            raise
        except BaseException as error:  # nobody else knows of the run: it must not hold its cells
            decision = self.drop(own, error)
            visible = decision is not None and decision.committed and self.outcomes.effective(own) != "aborted"
            if not visible or not isinstance(error, Exception):
                raise

    def drop(self, own: str, error: BaseException) -> Decision | None:
        """Abort a run that nobody else knows of; when even that fails, ``error`` is still what the caller must see."""
        try:
            decision = self.abort(own, failure_of(error))
        except RegistryError as another:
            error.add_note(f"Its run {own} could not be aborted, and will be when its lease is over: {another}")
            return None
        settle(error, "yes" if decision.committed else "no")
        return decision

    def surrounding(self) -> str | None:
        """The run of this store that surrounds the calling code, if any: in this process, or around the task that
        Prefect runs here for a flow elsewhere.
        """
        url = self.store.storage.url
        return run_in_context(url) or observers.surrounding_run(url)


def failure_of(error: BaseException, kind: FailureKind | None = None) -> Failure:
    """An exception as a decision records it: class, message (at most 4,000 characters), kind."""
    cancelled = isinstance(error, (KeyboardInterrupt, asyncio.CancelledError, SystemExit, GeneratorExit))
    named = type(error).__name__ in ("TerminationSignal", "CancelledRun")
    return failure(type(error).__name__, text_of(error), kind or ("cancelled" if cancelled or named else "error"))


__all__ = ["Closed", "Ledger", "RunSpec", "active_run", "enter_run", "failure_of", "innermost_run"]
