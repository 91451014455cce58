"""Aborting what nobody will finish (DESIGN.md P7); beside it, the collector (P8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prefect_registry.ledger.closing import Closing
from prefect_registry.ledger.collecting import DAMAGE, Collector, CollectReport, told
from prefect_registry.ledger.holder import DETACHED
from prefect_registry.ledger.journal import Journal
from prefect_registry.ledger.leases import MAY_BE_ABORTED, Leases, Verdict, reaped
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import shown

ReportedEnded = Callable[[str, str | None], bool]


@dataclass
class ReapReport:
    """What one pass of the reaper did: run ids by verdict. ``suspects`` need another look after half a lease.

    Attributes:
        damaged: Runs with a record that cannot be read, and which. A run whose begin or decision it is gets no verdict
            and is left alone; one with a damaged heartbeat is watched like any other.
    """

    reaped: list[str] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)

    _repr_html_ = shown


class Housekeeping:
    """Reaper and collector. Both may run anywhere, any number of times, at the same time as everything else."""

    def __init__(self, store: Store, closing: Closing, leases: Leases, journal: Journal, collector: Collector) -> None:
        self._store = store
        self._closing = closing
        self._leases = leases
        self._journal = journal
        self._collector = collector

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
        while wait and clock.monotonic() - begun <= self._longest_lease(watched := self._attended(report.suspects)):
            if not watched:
                break
            clock.sleep(min(1.0, self._longest_lease(watched) / 50))
            again, report.suspects = report.suspects, []
            for run_id in again:
                self._reap_one(run_id, reported_ended, report)
        return report

    def _attended(self, run_ids: Iterable[str]) -> list[str]:
        """Those that a process held. The others have leases of days: nobody waits for them here."""
        begins = [self._store.begin(run_id) for run_id in run_ids]
        return [b.run_id for b in begins if b is not None and b.holder != DETACHED]

    def _reap_one(self, run_id: str, reported_ended: ReportedEnded, report: ReapReport) -> None:
        report.damaged.pop(run_id, None)
        try:
            self._judge_one(run_id, reported_ended, report)
        except DAMAGE as error:
            report.damaged[run_id] = told(error)
        else:
            if run_id in self._leases.unreadable:
                report.damaged[run_id] = self._leases.unreadable[run_id]

    def _judge_one(self, run_id: str, reported_ended: ReportedEnded, report: ReapReport) -> None:
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

    def collect(self, dry_run: bool = True) -> CollectReport:
        """Delete the bytes that a decision has made dead: those of aborted runs, of datasets that a committed run left
        out, of objects that were not saved in the end, and of what retention has released. Never a decision, a
        generation or a touch; never the bytes of a run whose owner may still run.
        """
        return self._collector.collect(dry_run)


__all__ = ["CollectReport", "Housekeeping", "ReapReport", "ReportedEnded"]
