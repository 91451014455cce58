"""The journal: the ``runs/`` tree read in time order: what happened.

Reading it whole costs one LIST page per 1,000 small objects; the catalog makes that incremental.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from prefect_registry.clock import iso
from prefect_registry.ledger import paths
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.store import Store
from prefect_registry.records.runs import Begin, Decision

MOST_PASSES = 20


@dataclass
class RunEntry:
    """What a listing shows of one run (or ``op_``): which documents it has; ``datasets`` are suffixes with their
    highest generation; ``events`` and ``incidents`` are suffixes; ``touched`` are the keys of the generations that it
    has touched.
    """

    run_id: str
    begun: bool = False
    decided: bool = False
    datasets: dict[str, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class PublishedRun:
    """An effectively committed run. ``order`` sorts by the decision that published it, that of the outermost run:
    its time, its run; then the run itself.
    """

    begin: Begin
    decision: Decision
    order: tuple[str, str, str]

    @property
    def publication(self) -> tuple[str, str]:
        """The same for all runs that one decision published together."""
        return self.order[:2]


class Journal:
    """Walks the journal."""

    def __init__(self, store: Store, outcomes: Outcomes) -> None:
        self._store = store
        self._outcomes = outcomes

    def entries(self) -> dict[str, RunEntry]:
        """Everything in the journal, oldest begin first."""
        found: dict[str, RunEntry] = {}
        for info in self._store.storage.list(paths.RUNS):
            parsed = paths.parse_run_object(info.key)
            if parsed is None:
                continue
            entry = found.setdefault(parsed.run_id, RunEntry(parsed.run_id))
            if parsed.kind == "begin.json":
                entry.begun = True
            elif parsed.kind == "end.json":
                entry.decided = True
            elif parsed.kind == "datasets" and len(parsed.rest) == 2:
                gen = paths.gen_of_key(info.key)
                entry.datasets[parsed.rest[0]] = max(gen, entry.datasets.get(parsed.rest[0], -1))
            elif parsed.kind == "events" and parsed.rest:
                name = parsed.rest[0].removesuffix(".json")
                (entry.incidents if name.startswith("i") else entry.events).append(name)
            elif parsed.kind == "touch":
                entry.touched.add(parsed.touched)
        return found

    def consistent_entries(self) -> dict[str, RunEntry]:
        """Entries of one whole state: everything decided before this call, and nothing without what was decided before.

        A listing takes time, and can show a decision without an earlier one that landed where it had passed already.
        Two passes with the same decisions show what was there between them (a double collect). While commits stream
        in, only those up to the last one of the first pass are held to that; later ones count as undecided.
        """
        first, now = self.entries(), self.entries()
        kept = _decided(first)
        if kept == _decided(now):
            return now
        horizon = self._last_decision(kept)
        for _ in range(MOST_PASSES):
            before, kept = kept, self._decided_by(horizon, now)
            if before == kept:
                break
            now = self.entries()
        for run_id, entry in now.items():
            entry.decided = run_id in kept
        return now

    def _last_decision(self, run_ids: set[str]) -> datetime | None:
        ends = self._store.read_many([paths.end_key(r) for r in run_ids], Decision)
        return max((d.closed_at for d in ends if d is not None), default=None)

    def _decided_by(self, horizon: datetime | None, entries: dict[str, RunEntry]) -> set[str]:
        ends = self._store.read_many([paths.end_key(r) for r in _decided(entries)], Decision)
        return {d.run_id for d in ends if d is not None and horizon is not None and d.closed_at <= horizon}

    def undecided(self) -> Iterator[str]:
        """Runs without a decision, oldest first; also those that a crash left with a dataset or an object's version and
        no begin (P13, decision 0027).
        """
        found = self.entries().items()
        return (r for r, e in found if (e.begun or e.datasets or e.touched) and not e.decided and r.startswith("run_"))

    def published(self, entries: dict[str, RunEntry] | None = None) -> list[PublishedRun]:
        """Every effectively committed run, newest publication first (P15's order)."""
        entries = self.consistent_entries() if entries is None else entries
        decided = [r for r, e in entries.items() if e.decided and e.begun]
        ends = self._store.read_many([paths.end_key(r) for r in decided], Decision)
        committed = [d for d in ends if d is not None and d.committed and self._is_published(d, entries)]
        begins = self._store.read_many([paths.begin_key(d.run_id) for d in committed], Begin)
        runs = [
            PublishedRun(begin, decision, self._order(decision))
            for begin, decision in zip(begins, committed, strict=True)
            if begin is not None
        ]
        return sorted(runs, key=lambda run: run.order, reverse=True)

    def _is_published(self, decision: Decision, entries: dict[str, RunEntry]) -> bool:
        """Effectively committed *in the state that was listed*: a root decided after the listing does not count."""
        if decision.ancestors and any(a not in entries or not entries[a].decided for a in decision.ancestors):
            return False
        return self._outcomes.effective(decision.run_id) == "committed"

    def _order(self, decision: Decision) -> tuple[str, str, str]:
        root = self._outcomes.root_decision(decision.run_id) or decision
        return (iso(root.closed_at), root.run_id, decision.run_id)


def _decided(entries: dict[str, RunEntry]) -> set[str]:
    return {run_id for run_id, entry in entries.items() if entry.decided}
