"""What was captured of a run while it ran, whatever became of it: nobody had to write a line for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from prefect_registry.ids import parse_run_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.dropping import RESTORES, kept_of
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.listing import Listing, list_run
from prefect_registry.ledger.runs import unknown_run
from prefect_registry.ledger.store import Store
from prefect_registry.records.cells import OBJECT, CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Begin, Decision, Failure, Outcome

MOST_DOCUMENTS = 10_000
"""How many documents of one run :func:`involved` reads, of events and of versions each."""


class HasLedger(Protocol):
    """A ``Registry``, as far as it is needed here."""

    @property
    def ledger(self) -> Ledger:
        """The protocol below the registry."""


@dataclass(frozen=True)
class Captured:
    """A run as its own documents tell of it.

    Attributes:
        outcome: The effective one, the runs around it taken into account; None while that is open.
        parameters: Those of the flow, of which secrets are masked; or the ``config`` that was given, as it is.
        code: ``commit``, ``dirty`` (None: git did not tell before the run was decided), ``repository`` (the origin's
            URL without credentials), ``path`` (within the repository, or as it is where there is none), ``entrypoint``.
        environment: ``python``, ``implementation``, ``platform``, ``packages`` (versions by name).
        worker: ``work_pool``, ``work_queue``, ``name``, ``task_runner``: what Prefect tells of them.
        prefect: Ids and names of flow, flow run, task run and deployment, and their versions.
        host: Where it was begun; empty for a run that belongs to no process.
        finished_at: When the run was decided. Times are UTC.
    """

    run_id: str
    purpose: str
    outcome: Outcome | None
    started_at: datetime
    finished_at: datetime | None
    failure: Failure | None
    parameters: Mapping[str, Any]
    code: Mapping[str, Any]
    environment: Mapping[str, Any]
    worker: Mapping[str, Any]
    prefect: Mapping[str, Any]
    host: str


@dataclass(frozen=True)
class Involved:
    """What a run has read and made: ids of datasets, and versions of objects as ``name@version``.

    ``complete`` is False when the run has more documents than are read.
    """

    used: tuple[str, ...]
    generated: tuple[str, ...]
    complete: bool = True


def captured(registry: HasLedger, run_id: str) -> Captured:
    """What was captured of a run: two reads at the same time, none for what this process knows.

    Raises:
        NotFound: No such run.
        InvalidInput: ``run_id`` is none.
    """
    ledger = registry.ledger
    begin, end = _documents(ledger, run_id)
    return Captured(
        run_id=run_id,
        purpose=begin.purpose,
        outcome=ledger.outcomes.effective(run_id),
        started_at=begin.created_at,
        finished_at=end.closed_at if end is not None else None,
        failure=end.failure if end is not None else None,
        parameters=begin.config,
        code={**begin.code, **(end.code if end is not None else {})},
        environment=begin.environment,
        worker=begin.worker,
        prefect=begin.prefect,
        host=begin.holder.host,
    )


@dataclass(frozen=True)
class Written:
    """What a run's own folder tells: :class:`Involved`, and of each version that the run has saved the generations that
    it wrote, oldest first.
    """

    involved: Involved
    generations: Mapping[str, Sequence[CellGeneration]]


def involved(registry: HasLedger, run_id: str) -> Involved:
    """What a run has read and made by its own folder, also when it failed, or is not decided yet.

    Of a committed run, what its decision publishes: then the catalog's lineage says the same. What any other has made
    is not visible, and no lineage of anything; what failed attempts of its tasks had made is among it. What failed
    attempts had read counts in both. One LIST, and the GETs of events, versions and datasets at the same time.

    Raises:
        NotFound: No such run.
        InvalidInput: ``run_id`` is none.
    """
    return written(registry, run_id).involved


def written(registry: HasLedger, run_id: str) -> Written:
    """:func:`involved`, with the generations of the versions; the same reads, and errors."""
    store = registry.ledger.store
    _, end = _documents(registry.ledger, run_id)
    if end is not None and end.committed:
        members = store.members(end)
        datasets, events = members.datasets, members.events
        cells = [(CellRef(type_, key), gen) for type_, key, gen in members.cells]
        steps = [paths.dataset_key(run_id, suffix, gen) for suffix, gen in datasets.items()]
    else:
        listing = Listing.of(list_run(store, run_id))
        datasets, events, cells, steps = listing.datasets, listing.events, listing.touched, []
    event_keys = [paths.event_key(run_id, name) for name in events]
    cell_keys = [paths.cell_key(cell, gen) for cell, gen in cells if cell.type == OBJECT]
    read = _Documents.read(store, *(keys[:MOST_DOCUMENTS] for keys in (event_keys, cell_keys, steps)))
    dropped = {step.dataset_id for step in read.steps if step.step == "rolled_back"}
    ids = [id_ for suffix in sorted(datasets) if (id_ := f"ds_{run_id[4:]}_{suffix}") not in dropped]
    versions = read.versions_of(run_id, published=bool(end and end.committed))
    complete = max(len(event_keys), len(cell_keys), len(steps)) <= MOST_DOCUMENTS
    told = Involved(tuple(dict.fromkeys(used_in(read.events))), (*ids, *versions), complete)
    return Written(told, versions)


def _documents(ledger: Ledger, run_id: str) -> tuple[Begin, Decision | None]:
    """What insert_run recorded of a run, and its decision."""
    run_id = parse_run_id(run_id)
    calls: list[Callable[[], object]] = [partial(ledger.store.begin, run_id), partial(ledger.store.decision, run_id)]
    begin, end = ledger.store.together(calls)
    if not isinstance(begin, Begin):
        raise unknown_run(run_id)
    return begin, end if isinstance(end, Decision) else None


@dataclass(frozen=True)
class _Documents:
    """Documents of a run: events, generations of versions of objects, and steps of datasets."""

    events: list[Event]
    cells: list[CellGeneration]
    steps: list[DatasetGeneration]

    @classmethod
    def read(cls, store: Store, events: Sequence[str], cells: Sequence[str], steps: Sequence[str]) -> _Documents:
        """Read all of them at the same time, by their keys; what is not there is left out."""
        calls: list[Callable[[], object]] = [partial(store.peek, key, Event) for key in events]
        calls += [partial(store.peek, key, CellGeneration) for key in cells]
        calls += [partial(store.peek, key, DatasetGeneration) for key in steps]
        found = store.together(calls) if calls else []
        return cls(
            [e for e in found if isinstance(e, Event)],
            [c for c in found if isinstance(c, CellGeneration)],
            [s for s in found if isinstance(s, DatasetGeneration)],
        )

    def versions_of(self, run_id: str, published: bool) -> dict[str, list[CellGeneration]]:
        """The versions that the run has saved, by name, each with what it wrote, oldest first; of a run that is
        ``published``, without what it took back.
        """
        of_name: defaultdict[str, list[CellGeneration]] = defaultdict(list)
        for generation in sorted(self.cells, key=lambda g: (g.name, g.gen)):
            if generation.tx == run_id:
                of_name[generation.name].append(generation)
        found = {
            name: [g for g in (kept_of(all_) if published else all_) if not g.deleted and RESTORES not in g.value]
            for name, all_ in of_name.items()
        }
        return {name: generations for name, generations in found.items() if generations}


def used_in(events: Sequence[Event]) -> Iterator[str]:
    """What the usage events among these tell, in the order in which it was read."""
    for event in sorted((e for e in events if e.record == "usage"), key=lambda e: (e.created_at, e.event_id)):
        for name in ("datasets", "objects"):
            targets = event.payload.get(name)
            yield from (t for t in targets if isinstance(t, str)) if isinstance(targets, list) else ()
