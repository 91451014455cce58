"""Releasing the bytes of objects that no rule keeps: deleted versions, overwritten states, versions beyond the last n
(DESIGN.md P8; decision 0026).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from sqlite3 import Connection

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.histories import NO_DESCENDANTS, Cell, kept_by_lineage, named, newest_cells
from prefect_registry.catalog.retention import (
    DEFAULT,
    OBJECT_RETENTION,
    ReleasedObject,
    ReleaseReport,
    RetentionRule,
    SeenRules,
    rules_of,
    write_rules,
)
from prefect_registry.catalog.versions import Step, VersionHistory, object_names, payload_cells, versions_of
from prefect_registry.clock import iso
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.objects.service import PIN, Objects
from prefect_registry.objects.settings import SETTING
from prefect_registry.objects.versions import Version
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.objects import PAYLOAD
from prefect_registry.records.types import OBJECT

log = logging.getLogger("prefect_registry")
_AT_A_TIME = 200
_NO_DESCENDANTS = (*NO_DESCENDANTS, PIN, SETTING)
MOST_TOLD = 1_000
"""How many payloads the tombstone of a version names."""


@dataclass(frozen=True)
class _Chosen:
    """What goes: of a version all that has files, or the files of one state of it."""

    version: VersionHistory
    released: ReleasedObject
    payloads: list[tuple[Step, int | None]]
    """Each with the generation in which its own cell was seen."""

    @property
    def is_version(self) -> bool:
        return self.released.generation is None


@dataclass
class ObjectsPlan:
    """What a release is about to do to objects, and the generations that it was computed from."""

    ledger: Ledger
    rules: SeenRules = field(default_factory=dict)
    chosen: list[_Chosen] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.chosen)

    def tell(self, report: ReleaseReport) -> None:
        """Add it to a report."""
        report.objects = [c.released for c in self.chosen]
        report.kept_objects = dict(sorted(self.kept.items()))

    def write(self, run_id: str) -> None:
        """Hold the rules, write the tombstones, and say of each payload that it may go."""
        write_rules(self.ledger, self.rules, OBJECT_RETENTION, run_id)
        calls: list[Callable[[], object]] = []
        for each in self.chosen:
            if each.is_version:
                calls.append(partial(_tombstone, self.ledger, run_id, each))
            calls += [partial(_purge, self.ledger, run_id, each, step, gen) for step, gen in each.payloads]
        for start in range(0, len(calls), _AT_A_TIME):
            self.ledger.runs.within(run_id, calls[start : start + _AT_A_TIME], "release objects")


def _tombstone(ledger: Ledger, run_id: str, chosen: _Chosen) -> None:
    name, _, version = chosen.version.id.rpartition("@")
    value = {
        "object": name,
        "version": version,
        "purged": True,
        "was": "DELETED" if chosen.version.deleted else "READY",
        "payloads": [step.payload for step, _ in chosen.payloads][:MOST_TOLD],
        "bytes": chosen.released.bytes,
    }
    ledger.cells.write(
        OBJECT, chosen.version.id, value, run_id=run_id, expected=chosen.version.newest.gen, deleted=True,
        reason=chosen.released.why, guarded=False,
    )  # fmt: skip


def _purge(ledger: Ledger, run_id: str, chosen: _Chosen, step: Step, seen: int | None) -> None:
    name, _, version = chosen.version.id.rpartition("@")
    value = {"object": name, "version": version, "gen": step.gen, "purged": True, "bytes": step.size}
    ledger.cells.write(
        PAYLOAD, step.payload, value, run_id=run_id, expected=seen, reason=chosen.released.why, blind=seen is None,
        guarded=False,
    )  # fmt: skip


def plan(objects: Objects, catalog: Catalog) -> ObjectsPlan:
    """Everything of objects that can be released now. The index proposes; it is then proved from the store."""
    return _Release(objects, catalog).plan()


class _Release:
    """Finds what no rule keeps."""

    def __init__(self, objects: Objects, catalog: Catalog) -> None:
        self._objects, self._catalog = objects, catalog
        self._ledger = objects.ledger
        self._named: frozenset[str] = frozenset()
        self._plan = ObjectsPlan(objects.ledger)

    def plan(self) -> ObjectsPlan:
        """Object by object."""
        cells, names, self._named = self._catalog.ask(
            lambda c: (newest_cells(c, OBJECT_RETENTION), object_names(c), named(c))
        )
        if not names:
            return self._plan
        self._ledger.store.know_time()
        now, rules = self._ledger.store.clock.now(), rules_of(cells, OBJECT_RETENTION)
        for name in names:
            found = self._catalog.ask(partial(versions_of, name=name), max_age=60)
            versions = [v for v in found if Version.of_key(v.id.rpartition("@")[2]) is not None]  # else of nobody
            rule = rules.get(name) or rules.get(DEFAULT)
            if rule is None:
                self._plan.kept["no_rule"] += sum(not v.deleted for v in versions)
                continue
            before = len(self._plan.chosen)
            self._plan.chosen += self._proved(name, list(self._of_object(versions, rule, now)))
            if len(self._plan.chosen) > before:
                self._plan.rules[rule.name] = (rule, cells[rule.name].gen)
                if rule.name != name:  # that it has no rule of its own must stay so, too
                    self._plan.rules[name] = (None, cells[name].gen if name in cells else None)
        return self._plan

    # -- by the index ----------------------------------------------------------------------------------------------

    def _of_object(self, versions: list[VersionHistory], rule: RetentionRule, now: datetime) -> Iterator[_Chosen]:
        all_payloads = [step.payload for version in versions for step in version.payloads()]
        cells = self._catalog.ask(lambda c: payload_cells(c, all_payloads), max_age=60) if all_payloads else {}
        last = sorted((v for v in versions if not v.deleted), key=lambda v: _number(v.id), reverse=True)
        lasting = {v.id for v in last[: rule.keep_last]}
        for version in sorted(versions, key=lambda v: _number(v.id)):
            if version.newest.purged:
                continue
            files = _unreleased(version.payloads(), cells)
            reason = _kept_by(version, rule, now, version.id in lasting, bool(files))
            reason = reason or ("alias" if version.id in self._named else None) or self._lineage(version, rule)
            if reason is None:
                released = ReleasedObject(version.id, None, sum(s.size for s, _ in files), _why(version, rule))
                yield _Chosen(version, released, files)
                continue
            self._plan.kept[reason] += 1
            yield from self._overwritten(version, rule, now, cells)

    def _overwritten(
        self, version: VersionHistory, rule: RetentionRule, now: datetime, cells: dict[str, Cell]
    ) -> Iterator[_Chosen]:
        since = {step.payload: at for step, at in version.replaced()}
        files = _unreleased([step for step, _ in version.replaced()], cells)
        due = rule.keep_days is not None
        lineage = self._lineage(version, rule) if files and due else None
        for step, gen in files:
            at = since[step.payload]
            if rule.keep_days is None or at > now - timedelta(days=rule.keep_days) or lineage is not None:
                self._plan.kept["overwritten" if not due else lineage or "keep_days"] += 1
                continue
            why = f"overwritten at {iso(at)}; the rule for {rule.name!r}: {rule}"[:1_000]
            yield _Chosen(version, ReleasedObject(version.id, step.gen, step.size, why), [(step, gen)])

    def _lineage(self, version: VersionHistory, rule: RetentionRule) -> str | None:
        def find(connection: Connection) -> str | None:
            return kept_by_lineage(connection, version.id, rule.keep_used, self._named, _NO_DESCENDANTS)

        return self._catalog.ask(find, max_age=60)

    # -- by the store ----------------------------------------------------------------------------------------------

    def _proved(self, name: str, chosen: list[_Chosen]) -> Iterator[_Chosen]:
        """Those that the store knows as the index does: nobody is writing them, and no alias points there."""
        aliases = set(self._objects.finding.aliases(name, None).values()) if chosen else set()
        for start in range(0, len(chosen), _AT_A_TIME):
            part = chosen[start : start + _AT_A_TIME]
            proofs = [partial(self._is_proved, each, _number(each.version.id) in aliases) for each in part]
            for each, proved in zip(part, self._ledger.store.together(proofs), strict=True):
                if proved:
                    yield each
                    continue
                log.info("%s is not released: the store does not say what the index says.", each.version.id)
                self._plan.kept["unproved"] += 1

    def _is_proved(self, chosen: _Chosen, is_aliased: bool) -> bool:
        id_, cells = chosen.version.id, self._ledger.cells
        newest = cells.newest(OBJECT, id_)
        visible = cells.visible_from(newest) if newest is not None else None
        if newest is None or visible is None or visible.gen != chosen.version.newest.gen:
            return False
        if newest.tx is not None and self._ledger.outcomes.effective(newest.tx) is None:
            return False
        if visible.deleted != chosen.version.deleted or (is_aliased and chosen.is_version):
            return False
        shown = chosen.version.newest.makes
        if shown is not None and visible.value.get("restores", visible.gen) != shown:
            return False
        made = [cells.generation(OBJECT, id_, step.gen) for step, _ in chosen.payloads]
        wanted = [step.payload for step, _ in chosen.payloads]
        return [_payload_of(generation) for generation in made] == wanted


def _payload_of(generation: CellGeneration | None) -> str:
    return str(generation.value.get("payload", "")) if generation is not None else ""


def _unreleased(steps: list[Step], cells: dict[str, Cell]) -> list[tuple[Step, int | None]]:
    """Those whose files have not been released, each with the generation of its own cell."""
    found = [(step, cells.get(step.payload, Cell())) for step in steps]
    return [(step, cell.gen) for step, cell in found if cell.value.get("purged") is not True]


def _number(id_: str) -> Version:
    return Version.parse(id_.rpartition("@")[2])


def _kept_by(version: VersionHistory, rule: RetentionRule, now: datetime, is_last: bool, has_files: bool) -> str | None:
    """What keeps a version as a whole, aliases and lineage apart; None for nothing."""
    if version.deleted:
        if not has_files:
            return "inline"
        if rule.keep_days is None:
            return "deleted"
    elif rule.keep_last is None:
        return "current"
    elif is_last:
        return "keep_last"
    if rule.keep_days is not None and version.newest.visible_at > now - timedelta(days=rule.keep_days):
        return "keep_days"
    return None


def _why(version: VersionHistory, rule: RetentionRule) -> str:
    since = iso(version.newest.visible_at)
    how = f"deleted at {since}" if version.deleted else f"saved at {since}, and not one of the last"
    return f"{how}; the rule for {rule.name!r}: {rule}"[:1_000]
