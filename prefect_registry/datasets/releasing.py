"""Releasing datasets that no table shows and no rule keeps: one run of tombstones, after which the collector may delete
their bytes (DESIGN.md P8; decision 0021).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from sqlite3 import Connection

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.histories import (
    NO_DESCENDANTS,
    Published,
    history,
    kept_by_lineage,
    named,
    newest_cells,
)
from prefect_registry.catalog.published import published_kinds
from prefect_registry.catalog.retention import (
    DEFAULT,
    RETENTION,
    Released,
    ReleasePlan,
    ReleaseReport,
    RetentionRule,
    SeenRules,
    rules_of,
    write_rules,
)
from prefect_registry.clock import iso
from prefect_registry.datasets.placing import Place, places
from prefect_registry.datasets.proving import Proofs, files_of
from prefect_registry.datasets.service import Datasets
from prefect_registry.datasets.turns import TURN, take_turn
from prefect_registry.records.datasets import LATER_STATES

log = logging.getLogger("prefect_registry")
_AT_A_TIME = 200
_NO_DESCENDANTS = (*NO_DESCENDANTS, TURN)


@dataclass
class _Plan:
    """What a release is about to do, and the generations that it was computed from."""

    datasets: Datasets
    turns: dict[str, int | None] = field(default_factory=dict)
    rules: SeenRules = field(default_factory=dict)
    chosen: list[tuple[Published, Released]] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.chosen)

    def tell(self, report: ReleaseReport) -> None:
        """Add it to a report."""
        report.datasets = [r for _, r in self.chosen]
        report.kept = dict(sorted(self.kept.items()))

    def write(self, run_id: str) -> None:
        """Take the turns, hold the rules, write the tombstones."""
        ledger = self.datasets.ledger
        for kind, seen in sorted(self.turns.items()):
            take_turn(ledger, kind, run_id, "release", seen)
        write_rules(ledger, self.rules, RETENTION, run_id)
        for start in range(0, len(self.chosen), _AT_A_TIME):
            part = self.chosen[start : start + _AT_A_TIME]
            calls = [partial(_tombstone, self.datasets, run_id, d, r) for d, r in part]
            ledger.runs.within(run_id, calls, "release datasets")


def release(
    datasets: Datasets, catalog: Catalog, dry_run: bool, besides: Callable[[], Sequence[ReleasePlan]] = tuple
) -> ReleaseReport:
    """Release what no rule keeps; see ``Registry.release``. ``besides`` plans what else goes by the same decision."""
    plan = _Release(datasets, catalog).plan()
    plans: list[ReleasePlan] = [plan, *besides()]
    report = ReleaseReport(dry_run)
    for each in plans:
        each.tell(report)
    if dry_run or not any(plans):
        return report
    config = {"kinds": sorted(plan.turns), "datasets": len(report.datasets), "objects": len(report.objects)}
    with datasets.ledger.implicit_run("release", config={**config, "bytes": report.bytes}) as own:
        for each in plans:
            each.write(own)
    report.run_id = own
    return report


def _tombstone(datasets: Datasets, run_id: str, dataset: Published, released: Released) -> None:
    datasets.ledger.cells.write(
        LATER_STATES,
        dataset.id,
        {"state": "DELETED", "purged": True, "was": dataset.state, "kind": released.kind, "bytes": dataset.bytes},
        run_id=run_id,
        expected=dataset.cell_gen,
        deleted=True,
        reason=released.why,
        blind=dataset.cell_gen is None,
        guarded=False,
    )


class _Release:
    """Finds what no rule keeps. The index proposes; that a dataset is hidden is then proved from the store."""

    def __init__(self, datasets: Datasets, catalog: Catalog) -> None:
        self._datasets = datasets
        self._catalog = catalog
        self._proofs = Proofs(datasets)
        self._aliased: frozenset[str] = frozenset()

    def plan(self) -> _Plan:
        """Everything that can be released now. What is read first is what others must change to undo it."""
        plan = _Plan(self._datasets)
        self._datasets.store.know_time()
        cells, turns, kinds, self._aliased = self._catalog.ask(
            lambda c: (newest_cells(c, RETENTION), newest_cells(c, TURN), published_kinds(c), named(c))
        )
        now, rules = self._datasets.store.clock.now(), rules_of(cells)
        for kind in kinds:
            rule = rules.get(kind) or rules.get(DEFAULT)
            if rule is None:
                plan.kept["no_rule"] += self._catalog.count("datasets", kind=kind, state="READY", max_age=60)
                continue
            chosen = list(self._of_kind(kind, rule, now, plan.kept))
            if chosen:
                plan.chosen += chosen
                plan.turns[kind] = turns[kind].gen if kind in turns else None
                plan.rules[rule.name] = (rule, cells[rule.name].gen)
                if rule.name != kind:  # that it has no rule of its own must stay so, too
                    plan.rules[kind] = (None, cells[kind].gen if kind in cells else None)
        return plan

    def _of_kind(
        self, kind: str, rule: RetentionRule, now: datetime, kept: Counter[str]
    ) -> Iterator[tuple[Published, Released]]:
        published = self._catalog.ask(lambda c: list(history(c, kind)), max_age=60)  # no older than the turns
        candidates: list[Place] = []
        for place in self._places(published):
            reason = _kept_by(place, rule, now)
            if reason is None:
                candidates.append(place)
            elif reason:
                kept[reason] += 1
        for place in self._unused(candidates, rule, kept):
            if not self._proofs.is_hidden(kind, place):
                log.info("%s is not released, since the store does not say that it is hidden.", place.dataset.id)
                kept["unproved"] += 1
                continue
            yield place.dataset, Released(place.dataset.id, kind, place.dataset.bytes, _why(place, rule))

    def _places(self, published: list[Published]) -> Iterator[Place]:
        """The place of every dataset; those that a revert hides have been hidden since then."""
        yield from places(published, partial(files_of, self._datasets))
        yield from (Place(d, d.later_at) for d in published if d.state == "DELETED" and not d.purged)

    def _unused(self, candidates: list[Place], rule: RetentionRule, kept: Counter[str]) -> Iterator[Place]:
        if not rule.keep_used and not self._aliased:
            yield from candidates
            return
        for start in range(0, len(candidates), _AT_A_TIME):
            part = candidates[start : start + _AT_A_TIME]
            find = partial(_uses, part, rule.keep_used, self._aliased)
            for place, reason in zip(part, self._catalog.ask(find, max_age=60 if start else None), strict=True):
                if reason is None:
                    yield place
                else:
                    kept[reason] += 1


def _uses(part: list[Place], used: bool, aliases: frozenset[str], connection: Connection) -> list[str | None]:
    """For each place, what keeps its dataset: an alias of what was made from it, or, if that is ``used``, anything
    visible.
    """
    return [kept_by_lineage(connection, place.dataset.id, used, aliases, _NO_DESCENDANTS) for place in part]


def _kept_by(place: Place, rule: RetentionRule, now: datetime) -> str | None:
    """What keeps a dataset, lineage apart; None for nothing, empty for one that is released already."""
    dataset = place.dataset
    if dataset.purged:
        return ""
    if place.hidden_since is None:
        return "current"
    if dataset.external:
        return "external"
    if dataset.state == "ARCHIVED":
        return "archived"
    reverted = dataset.state == "DELETED"
    if reverted and rule.keep_days is None:
        return "reverted"
    if not reverted and rule.keep_last is not None and place.last_state < rule.keep_last:
        return "keep_last"
    if rule.keep_days is not None and place.hidden_since > now - timedelta(days=rule.keep_days):
        return "keep_days"
    return None


def _why(place: Place, rule: RetentionRule) -> str:
    since = iso(place.hidden_since) if place.hidden_since is not None else ""
    by = "a revert" if not place.hidden_by else _names(d.publication for d in place.hidden_by)
    return f"not in the table since {since}, because of {by}; the rule for {rule.name!r}: {rule}"[:1_000]


def _names(runs: Iterable[str]) -> str:
    found = list(dict.fromkeys(runs))
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
