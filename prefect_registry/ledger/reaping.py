"""Aborting what nobody will finish (DESIGN.md P7), and deleting the bytes that a decision has made dead (P8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from prefect_registry.ids import is_run_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.closing import Closing
from prefect_registry.ledger.journal import Journal
from prefect_registry.ledger.leases import MAY_BE_ABORTED, Leases, Verdict, reaped
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.store import Store
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.runs import failure
from prefect_registry.storage.base import ObjectInfo

ReportedEnded = Callable[[str, str | None], bool]


@dataclass
class ReapReport:
    """What one pass of the reaper did: run ids by verdict. ``suspects`` need another look after half a lease."""

    reaped: list[str] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)


@dataclass
class CollectReport:
    """What collection deleted, or would delete: run ids, objects and bytes."""

    dry_run: bool
    runs: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    waiting: list[str] = field(default_factory=list)


class Housekeeping:
    """Reaper and collector. Both may run anywhere, any number of times, at the same time as everything else."""

    def __init__(self, store: Store, outcomes: Outcomes, closing: Closing, leases: Leases, journal: Journal) -> None:
        self._store = store
        self._outcomes = outcomes
        self._closing = closing
        self._leases = leases
        self._journal = journal

    # -- reap ----------------------------------------------------------------------------------------------------

    def reap(self, reported_ended: ReportedEnded = lambda run, flow_run: False, wait: bool = False) -> ReapReport:
        """Abort every undecided run that is provably dead or whose lease is over.

        Args:
            reported_ended: Tells whether Prefect says that the flow run of a run has ended without success; a
                suspicion like age, not a proof.
            wait: Watch suspects for half their lease in this call, instead of remembering them for the next one.
        """
        report = ReapReport()
        for run_id in self._journal.undecided():
            self._reap_one(run_id, reported_ended, report)
        clock, begun = self._store.clock, self._store.clock.monotonic()
        # Whoever beats within a whole lease is alive, however wrong a clock may be.
        while wait and report.suspects and clock.monotonic() - begun <= self._longest_lease(report.suspects):
            clock.sleep(min(1.0, self._longest_lease(report.suspects) / 50))
            again, report.suspects = report.suspects, []
            for run_id in again:
                self._reap_one(run_id, reported_ended, report)
        return report

    def _reap_one(self, run_id: str, reported_ended: ReportedEnded, report: ReapReport) -> None:
        begin = self._store.begin(run_id)
        ended = reported_ended(run_id, begin.flow_run if begin is not None else None)
        verdict: Verdict = self._leases.judge(run_id, ended)
        if verdict in MAY_BE_ABORTED:
            decision = self._closing.abort(run_id, reaped(verdict), "reaped")
            self._leases.forget(run_id)
            if not decision.committed:
                report.reaped.append(run_id)
        elif verdict == "suspect":
            report.suspects.append(run_id)
        elif verdict == "alive":
            report.alive.append(run_id)

    def _longest_lease(self, run_ids: Iterable[str]) -> float:
        begins = [self._store.begin(run_id) for run_id in run_ids]
        return max((b.lease_seconds for b in begins if b is not None), default=self._store.settings.lease_seconds)

    # -- collect -------------------------------------------------------------------------------------------------

    def collect(self, dry_run: bool = True) -> CollectReport:
        """Delete the bytes that a decision has made dead: those of aborted runs, and of datasets that a committed
        run left out. Never a decision, a generation or a touch; never the bytes of a run whose owner may still run.
        """
        report = CollectReport(dry_run)
        for run_id, objects in self._data_by_run():
            dead = self._dead(run_id, objects)
            if not dead:
                continue
            if not self._leases.stopped(run_id):
                report.waiting.append(run_id)
                continue
            report.runs.append(run_id)
            report.objects += len(dead)
            report.bytes += sum(o.size for o in dead)
            if not dry_run:
                self._store.storage.delete_many([o.key for o in dead])
        return report

    def _data_by_run(self) -> Iterator[tuple[str, list[ObjectInfo]]]:
        listing = (o for o in self._store.storage.list(paths.DATA) if o.key.count("/") >= 4)
        for run_id, objects in groupby(listing, key=lambda o: o.key.split("/")[3]):
            if is_run_id(run_id):  # what else lies there is somebody else's
                yield run_id, [o for o in objects if o.key.startswith(paths.data_prefix(run_id))]

    def _dead(self, run_id: str, objects: list[ObjectInfo]) -> list[ObjectInfo]:
        outcome = self._outcomes.effective(run_id)
        if outcome is None:
            return []
        if outcome == "aborted":
            self._fence(run_id)
            return objects
        unpublished = self._unpublished(run_id)
        return [o for o in objects if o.key.split("/")[4] in unpublished]

    def _unpublished(self, run_id: str) -> set[str]:
        """Suffixes of the datasets that a committed run does not publish; bytes of anything else are not judged."""
        decision = self._store.decision(run_id)
        assert decision is not None
        members = self._store.members(decision).datasets
        prefix = paths.run_prefix(run_id) + "datasets/"
        begun = {o.key[len(prefix) :].partition("/")[0] for o in self._store.storage.list(prefix)}
        return {s for s in begun if s not in members or not self._is_published(run_id, s, members[s])}

    def _is_published(self, run_id: str, suffix: str, gen: int) -> bool:
        document = self._store.peek(paths.dataset_key(run_id, suffix, gen), DatasetGeneration)
        return document is None or document.step == "staged"

    def _fence(self, run_id: str) -> None:
        """A nested run is dead with the run around it: give it a decision of its own, so that its calls are refused."""
        if self._store.decision(run_id) is None:
            self._closing.abort(run_id, failure("ParentClosed", message="the run around it ended", kind="cancelled"))
