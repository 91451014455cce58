"""Deleting the bytes that a decision has made dead, in memory that does not grow with what goes (DESIGN.md P8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain, groupby
from typing import NamedTuple

from pydantic import ValidationError

from prefect_registry.errors import FormatError, IntegrityError, RegistryError
from prefect_registry.ids import is_run_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.cells import Cells
from prefect_registry.ledger.closing import Closing
from prefect_registry.ledger.leases import MAY_BE_ABORTED, Leases, reaped
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import shown
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration
from prefect_registry.records.objects import PAYLOAD, ObjectValue
from prefect_registry.records.runs import failure
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import ObjectInfo

_AT_A_TIME = 1_000
_GENERATIONS_AT_A_TIME = 200
_SUFFIX = re.compile(r"[0-9a-z]{16}")


@dataclass
class CollectReport:
    """What collection deleted, or would delete: run ids, objects and bytes.

    Attributes:
        released: How many of the datasets and payloads of objects were published once, and released by retention.
        waiting: Runs with dead bytes whose owner may still write, or that may still begin.
        damaged: Runs with a record that cannot be read, and which. What it is about is not known to be dead, and stays.
    """

    dry_run: bool
    runs: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    waiting: list[str] = field(default_factory=list)
    released: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    _repr_html_ = shown


DAMAGE = (FormatError, IntegrityError)
"""What reading a damaged record raises."""


def told(error: RegistryError) -> str:
    """Which record cannot be read, and why."""
    return f"{error.what}: {error.why}" if error.why else error.what


class _Releases(NamedTuple):
    """What retention has released, of datasets and of the payloads of objects."""

    datasets: _LaterStates
    payloads: _LaterStates


class Collector:
    """Walks the data, run by run, and beside it the later states of datasets and of payloads: all these listings are in
    the same order.
    """

    def __init__(self, store: Store, outcomes: Outcomes, closing: Closing, leases: Leases, cells: Cells) -> None:
        self._store = store
        self._outcomes = outcomes
        self._closing = closing
        self._leases = leases
        self._cells = cells

    def collect(self, dry_run: bool) -> CollectReport:
        """See ``Registry.collect``."""
        report = CollectReport(dry_run)
        dead = self._dead(report)
        while batch := _take(dead, _AT_A_TIME):
            if not dry_run:
                self._store.storage.delete_many(batch)
        return report

    def _dead(self, report: CollectReport) -> Iterator[str]:
        """The keys that can be deleted; the report counts each as it is yielded."""
        later = _Releases(_LaterStates(self._generations(LATER_STATES)), _LaterStates(self._generations(PAYLOAD)))
        listing = (o for o in self._store.storage.list(paths.DATA) if o.key.count("/") >= 4)
        for run_id, objects in groupby(listing, key=lambda o: o.key.split("/")[3]):
            if not is_run_id(run_id):  # what else lies there is somebody else's
                continue
            own = (o for o in objects if o.key.startswith(paths.data_prefix(run_id)))
            dead = self._dead_of(run_id, own, later, report)
            try:
                first = next(dead, None)
                if first is None or not self._may_go(run_id, report):
                    continue
            except DAMAGE as error:
                report.damaged[run_id] = told(error)
                continue
            report.runs.append(run_id)
            counted = ""
            for found, released in chain([first], dead):
                report.objects += 1
                report.bytes += found.size
                folder = found.key.split("/")[4]
                report.released += released and folder != counted
                counted = folder if released else counted
                yield found.key

    def _generations(self, type_: str) -> Iterator[str]:
        """The keys of all generations of a type, listed when the first is asked for."""
        return (o.key for o in self._store.storage.list(f"{paths.CELLS}{type_}/") if paths.gen_of_key(o.key) >= 0)

    def _may_go(self, run_id: str, report: CollectReport) -> bool:
        """Whether nobody writes what is dead of a run any more; the report says so if somebody may."""
        if not report.dry_run:
            self._fence(run_id)
        elif self._store.begin(run_id) is None and self._leases.judge(run_id) in MAY_BE_ABORTED:
            return True
        stopped = self._leases.stopped(run_id)
        if run_id in self._leases.unreadable:
            report.damaged[run_id] = self._leases.unreadable[run_id]
        if not stopped:
            report.waiting.append(run_id)
        return stopped

    def _dead_of(
        self, run_id: str, objects: Iterable[ObjectInfo], later: _Releases, report: CollectReport
    ) -> Iterator[tuple[ObjectInfo, bool]]:
        """What is dead of a run's data, and whether it was released."""
        outcome = self._outcomes.effective(run_id)
        if outcome is None and not self._is_abandoned(run_id, report):
            return
        if outcome != "committed":
            yield from ((o, False) for o in objects)
            return
        yield from self._dead_of_committed(run_id, objects, later, report)

    def _dead_of_committed(
        self, run_id: str, objects: Iterable[ObjectInfo], later: _Releases, report: CollectReport
    ) -> Iterator[tuple[ObjectInfo, bool]]:
        """Folders of datasets and payloads that the run does not publish, or that were released."""
        decision = self._store.decision(run_id)
        assert decision is not None
        members = self._store.members(decision)
        has_objects = any(type_ == OBJECT for type_, _, _ in members.cells)
        datasets = cache(partial(self._datasets, run_id, report))
        payloads = cache(partial(self._payloads, run_id, report))
        for suffix, files in groupby(objects, key=lambda o: o.key.split("/")[4]):
            # Objects are looked at first where there is nothing else, datasets where they are: the cheaper question.
            is_object = has_objects and not members.datasets and suffix in (payloads() or ())
            if not is_object and suffix in datasets()[1]:
                yield from ((o, False) for o in files)
                continue
            is_dataset = not is_object and (suffix in datasets()[0] or _SUFFIX.fullmatch(suffix) is None)
            if is_dataset:
                newest = later.datasets.newest(f"ds_{run_id[4:]}_{suffix}")
            else:
                newest = later.payloads.newest(f"pl_{run_id[4:]}_{suffix}")
            if self._is_released(run_id, newest, report):
                manifest = f"{paths.dataset_prefix(run_id, suffix)}_manifest-"  # is a record, not data: it stays
                yield from ((o, True) for o in files if not o.key.startswith(manifest))
            elif not is_dataset and (owned := payloads()) is not None and suffix not in owned:
                folder = paths.dataset_prefix(run_id, suffix)
                yield from ((o, False) for o in files if o.key.startswith(folder))

    def _is_abandoned(self, run_id: str, report: CollectReport) -> bool:
        """Whether a run that is not decided never began, and nobody will: its process died while its begin and its
        first bytes were on their way side by side. It is aborted before anything goes.

        One that has left more than touches did begin, and its begin was lost since: that is for a backup to mend.
        """
        if self._store.begin(run_id) is not None:
            return False
        prefix = paths.run_prefix(run_id)
        if not all(o.key.startswith(f"{prefix}touch/") for o in self._store.storage.list(prefix)):
            return False
        verdict = self._leases.judge(run_id)
        if verdict not in MAY_BE_ABORTED:
            report.waiting.append(run_id)
            return False
        return report.dry_run or not self._closing.abort(run_id, reaped(verdict), "reaped").committed

    def _payloads(self, run_id: str, report: CollectReport) -> set[str] | None:
        """Suffixes of the payloads that members of a committed run name; None when one of these cannot be read."""
        decision = self._store.decision(run_id)
        assert decision is not None
        cells = [c for c in self._store.members(decision).cells if c[0] == OBJECT]
        owned: set[str] = set()
        for start in range(0, len(cells), _GENERATIONS_AT_A_TIME):
            part = cells[start : start + _GENERATIONS_AT_A_TIME]
            keys = [paths.cell_key(CellRef(type_, key), gen) for type_, key, gen in part]
            try:
                documents = self._store.read_many(keys, CellGeneration)
            except DAMAGE as error:
                report.damaged[run_id] = told(error)
                return None
            for key, document in zip(keys, documents, strict=True):
                suffix = _payload_suffix(run_id, document)
                if suffix is None:
                    report.damaged[run_id] = f"{key} is not what the decision of its run lists"
                    return None
                owned.add(suffix)
        return owned

    def _is_released(self, run_id: str, key: str | None, report: CollectReport) -> bool:
        """Whether the newest visible generation of a dataset's cell says that its bytes may go."""
        try:
            newest = self._store.peek(key, CellGeneration) if key is not None else None
            visible = self._cells.visible_from(newest) if newest is not None else None
        except DAMAGE as error:
            report.damaged[run_id] = told(error)
            return False
        return visible is not None and visible.value.get("purged") is True

    def _datasets(self, run_id: str, report: CollectReport) -> tuple[set[str], set[str]]:
        """Suffixes of all datasets of a committed run, and of those that it does not publish."""
        decision = self._store.decision(run_id)
        assert decision is not None
        members = self._store.members(decision).datasets
        prefix = paths.run_prefix(run_id) + "datasets/"
        begun = {o.key[len(prefix) :].partition("/")[0] for o in self._store.storage.list(prefix)}
        dead = {s for s in begun if s not in members or not self._is_published(run_id, s, members[s], report)}
        return begun | set(members), dead

    def _is_published(self, run_id: str, suffix: str, gen: int, report: CollectReport) -> bool:
        try:
            document = self._store.peek(paths.dataset_key(run_id, suffix, gen), DatasetGeneration)
        except DAMAGE as error:
            report.damaged[run_id] = told(error)
            return True
        return document is None or document.step == "staged"

    def _fence(self, run_id: str) -> None:
        """A nested run is dead with the run around it: give it a decision of its own, so that its calls are refused."""
        if self._store.decision(run_id) is None:
            self._closing.abort(run_id, failure("ParentClosed", message="the run around it ended", kind="cancelled"))


class _LaterStates:
    """The newest generation of each cell of a type, asked for in ascending order of names, which are ids and therefore
    their own keys.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._cells = groupby(keys, key=lambda key: key.split("/")[2])
        self._name, self._newest = "", ""

    def newest(self, name: str) -> str | None:
        """The key of the newest generation; None when there is no cell of that name."""
        while self._name < name:
            found = next(self._cells, None)
            if found is None:
                self._name = "~"  # behind every id
                return None
            self._name = found[0]
            if self._name >= name:
                *_, self._newest = found[1]
        return self._newest if self._name == name else None


def _payload_suffix(run_id: str, document: CellGeneration | None) -> str | None:
    """The suffix of the payload that a version names, empty for none; None when the version makes no sense."""
    try:
        value = ObjectValue.model_validate(document.value) if document is not None else None
    except ValidationError:
        return None
    if value is None or document is None or document.tx != run_id:
        return None
    if not (value.payload or value.root or value.files or value.manifest):
        return ""
    suffix = value.payload[-16:]
    named = f"pl_{run_id[4:]}_{suffix}", paths.dataset_prefix(run_id, suffix)
    return suffix if (value.payload, value.root) == named else None


def _take(items: Iterator[str], count: int) -> list[str]:
    return [item for _, item in zip(range(count), items, strict=False)]
