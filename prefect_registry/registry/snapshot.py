"""Reads of one state of the registry: as it is now, or as it was (DESIGN.md 4, 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from prefect_registry.asynchronous import iterator_twin, twin
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.results import EventInfo, IncidentInfo, RunInfo
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.service import Datasets
from prefect_registry.datasets.tables import Table, Tables
from prefect_registry.documents.service import DOCTAGS, DOCUMENT, Documents, Kind
from prefect_registry.errors import InvalidInput
from prefect_registry.ledger import paths
from prefect_registry.ledger.frozen import FrozenStore
from prefect_registry.ledger.journal import PublishedRun, RunEntry
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import Store
from prefect_registry.objects.keeping import Keeping
from prefect_registry.objects.service import Objects
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.runs import Begin, Decision
from prefect_registry.registry.views import event_info, incident_info, run_info

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Parts:
    """What a snapshot reads through."""

    ledger: Ledger
    datasets: Datasets
    tables: Tables
    documents: Documents
    catalog: Catalog
    objects: Objects

    @classmethod
    def of(cls, store: Store, heartbeats: bool, keeping: Keeping | None = None) -> Parts:
        """The parts that work on one store."""
        keeping = keeping or Keeping()
        ledger = Ledger(store, heartbeats)
        datasets = Datasets(ledger)
        catalog = Catalog(store, keeping.use_cache)
        objects = keeping.objects(ledger)
        return cls(ledger, datasets, Tables(datasets, catalog), Documents(ledger), catalog, objects)


class Snapshot:
    """One state: several reads of it are consistent with each other, however much is published meanwhile.

    ``time`` is None for the state of the moment when the snapshot was taken. ``settled`` is False when ``time`` lies
    so close to the present that a run which is closing now may still be ordered before it.

    What is registered outside any run is listed when it is first asked for.
    """

    def __init__(self, parts: Parts, time: datetime | None = None) -> None:
        store = parts.ledger.store
        self.time = time
        grace = store.settings.grace_seconds
        self.settled = time is None or (store.clock.now() - time).total_seconds() > grace
        self._entries: dict[str, RunEntry] = parts.ledger.journal.consistent_entries()
        decided = [run_id for run_id, entry in self._entries.items() if entry.decided]
        self._parts = Parts.of(FrozenStore.of(store, decided, time), heartbeats=False)
        self._published: list[PublishedRun] = self._parts.ledger.journal.published(self._entries)
        self._newest: dict[str, list[str]] = {}

    # -- tables --------------------------------------------------------------------------------------------------

    def table(self, kind: str) -> Table:
        """The table of ``kind`` in this state; empty when nothing was published."""
        return self._parts.tables.table(kind, published=self._published)

    def latest(self, kind: str) -> Dataset:
        """The dataset of ``kind`` that was published last; see ``Registry.latest``."""
        return self._parts.tables.latest(kind, self._published)

    def kinds(self) -> list[str]:
        """Every kind that had been published, sorted."""
        return self._parts.tables.kinds(self._published)

    # -- iterators -----------------------------------------------------------------------------------------------

    def runs(self, /, newest_first: bool = True, **filters: Any) -> Iterator[RunInfo]:
        """Runs by the time they began. Filters compare fields of :class:`RunInfo` (``state="COMMITTED"``).

        A filter may be a set of values; None does not filter. ``InvalidInput`` names a field that does not exist.
        """
        begun = [r for r, e in self._entries.items() if e.begun and r.startswith("run_")]
        ids = sorted(begun, reverse=newest_first)
        return _filtered(RunInfo, self._run_infos(ids), filters)

    def _run_infos(self, ids: list[str]) -> Iterator[RunInfo]:
        store = self._parts.ledger.store
        for start in range(0, len(ids), 200):
            batch = ids[start : start + 200]
            begins = store.read_many([paths.begin_key(r) for r in batch], Begin)
            ends = store.read_many([paths.end_key(r) for r in batch], Decision)
            for begin, end in zip(begins, ends, strict=True):
                if begin is not None and (self.time is None or begin.created_at <= self.time):
                    yield run_info(self._parts.ledger, begin, end)

    def datasets(self, /, newest_first: bool = True, **filters: Any) -> Iterator[Dataset]:
        """Datasets in every state, by the run that made them. Filters compare fields of :class:`Dataset`."""
        wanted = filters.get("run_id")
        ids = [wanted] if isinstance(wanted, str) else sorted(self._entries, reverse=newest_first)
        entries = {r: self._entries[r] for r in ids if r in self._entries and self._entries[r].datasets}
        return _filtered(Dataset, self._parts.datasets.all(entries, self.time), filters)

    def events(self, /, newest_first: bool = False, derived: bool = True, **filters: Any) -> Iterator[EventInfo]:
        """Visible events by time. With ``derived``, also those that follow from decisions."""
        stored = (event_info(d) for d in self._parts.ledger.events.visible(self._entries) if d.record == "event")
        found = [*stored, *(self._derived() if derived else ())]
        return _filtered(EventInfo, self._by_time(found, newest_first), filters)

    def _derived(self) -> Iterator[EventInfo]:
        """RunClosed, DatasetCommitted and DatasetRolledBack: from the decision, never a second write."""
        for run in self._run_infos([r for r, e in self._entries.items() if e.decided and e.begun]):
            if run.finished_at is None or run.state == "RUNNING":
                continue
            payload = {"success": run.success, "notes": run.notes or ""}
            yield EventInfo(f"ev_{run.id[4:]}_closed", "RunClosed", run.id, payload, run.finished_at, run.id)
        for dataset in self._parts.datasets.all(self._entries, self.time):
            yield from dataset_event(dataset)

    def incidents(self, /, newest_first: bool = False, **filters: Any) -> Iterator[IncidentInfo]:
        """Incidents by time."""
        stored = self._parts.ledger.events.visible(self._entries)
        found = [incident_info(d) for d in stored if d.record == "incident"]
        return _filtered(IncidentInfo, self._by_time(found, newest_first), filters)

    def _by_time(self, found: Iterable[T], newest_first: bool) -> list[T]:
        key: Callable[[Any], Any] = lambda e: (e.created_at, e.id)  # noqa: E731
        limit = self.time
        return sorted((e for e in found if limit is None or key(e)[0] <= limit), key=key, reverse=newest_first)

    def documents(self, /, **filters: Any) -> Iterator[Doc]:
        """Registered documents, by key. Filters compare fields of :class:`Doc`."""
        return _filtered(Doc, self._records(DOCUMENT), filters)

    def doctags(self, /, **filters: Any) -> Iterator[DoctagsAsset]:
        """Registered doctags assets, by key."""
        return _filtered(DoctagsAsset, self._records(DOCTAGS), filters)

    def _records(self, kind: Kind[M]) -> Iterator[M]:
        documents = self._parts.documents
        if kind.cell_type not in self._newest:
            self._newest[kind.cell_type] = documents.newest(kind)
        return documents.all(kind, self._newest[kind.cell_type], self.time)

    atable = twin(table)
    alatest = twin(latest)
    akinds = twin(kinds)
    aruns = iterator_twin(runs)
    adatasets = iterator_twin(datasets)
    aevents = iterator_twin(events)
    aincidents = iterator_twin(incidents)
    adocuments = iterator_twin(documents)
    adoctags = iterator_twin(doctags)


def dataset_event(dataset: Dataset) -> Iterator[EventInfo]:
    """The event that a dataset's state implies (SEEDS.md: events and state must agree)."""
    at = dataset.committed_at or dataset.created_at
    if dataset.state in ("READY", "ARCHIVED", "DELETED"):
        payload: Mapping[str, Any] = {"rows": dataset.rows, "root": dataset.root}
        yield EventInfo(f"ev_{dataset.id[3:]}_committed", "DatasetCommitted", dataset.id, payload, at, dataset.run_id)
    elif dataset.state == "ROLLED_BACK":
        yield EventInfo(f"ev_{dataset.id[3:]}_rolledback", "DatasetRolledBack", dataset.id, {}, at, dataset.run_id)


def _filtered(of: type[T], items: Iterable[T], filters: Mapping[str, Any]) -> Iterator[T]:
    """Items whose fields equal the filters; a field that does not exist is an error, not an empty answer."""
    known = {f.name for f in fields(of)} if is_dataclass(of) else set(getattr(of, "model_fields", ()))
    known |= {name for name, value in vars(of).items() if isinstance(value, property)}
    unknown = [name for name in filters if name not in known]
    if unknown:
        problems = [f"{of.__name__} has no field {name!r:.60}; it has {', '.join(sorted(known))}" for name in unknown]
        raise InvalidInput.of("the filter", problems)
    wanted = {name: value for name, value in filters.items() if value is not None}
    return (item for item in items if all(_matches(getattr(item, name), value) for name, value in wanted.items()))


def _matches(found: Any, wanted: Any) -> bool:
    return any(found == value for value in wanted) if isinstance(wanted, (set, frozenset)) else bool(found == wanted)
