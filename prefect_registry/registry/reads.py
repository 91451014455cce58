"""What the facade reads: by id, tables, iterators, and states of the past (DESIGN.md 8)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect_registry.asynchronous import iterator_twin, twin
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.results import EventInfo, IncidentInfo, RunInfo
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.tables import Table
from prefect_registry.documents.service import DOCTAGS, DOCUMENT
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.ids import parse_run_id
from prefect_registry.names import name_problems
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.registry.copying import Copy, CopyReport, open_target
from prefect_registry.registry.snapshot import Parts, Snapshot
from prefect_registry.registry.views import event_info, incident_info, run_info

if TYPE_CHECKING:  # what few programs do need not be loaded by all
    from prefect_registry.catalog.checkpoints.writing import CheckpointReport
    from prefect_registry.catalog.fsck.files import Verify
    from prefect_registry.catalog.fsck.look import Progress
    from prefect_registry.catalog.fsck.report import FsckReport


class RegistryReads:
    """The reading half of :class:`prefect_registry.Registry`. Nothing here writes, but for :meth:`checkpoint`."""

    parts: Parts
    registry_id: str

    @property
    def catalog(self) -> Catalog:
        """Queries over everything, from a local index that follows the store: filters, pages, counts, lineage."""
        return self.parts.catalog

    # -- tables --------------------------------------------------------------------------------------------------

    def table(self, kind: str, *, run_id: str | None = None) -> Table:
        """What readers see of ``kind``: one whole published state (P15). With ``run_id``, what is staged there on top.

        Empty when nothing is published.
        """
        _check_name(kind, "kind")
        return self.parts.tables.table(kind, run_id)

    def latest(self, kind: str) -> Dataset:
        """The one dataset of ``kind`` that was published last.

        Raises ``NotFound``; ``InvalidInput`` with the count when the last run published several.
        """
        _check_name(kind, "kind")
        return self.parts.tables.latest(kind)

    def kinds(self) -> list[str]:
        """Every kind that was ever published, sorted."""
        return self.parts.tables.kinds()

    # -- reads by id ---------------------------------------------------------------------------------------------

    def get_run(self, run_id: str) -> RunInfo:
        """A run and how it stands. Raises ``NotFound``."""
        begin = self.parts.ledger.runs.known(run_id)
        decision = self.parts.ledger.store.decision(run_id)
        return run_info(self.parts.ledger, begin, decision)

    def get_dataset(self, dataset_id: str) -> Dataset:
        """A dataset, in whatever state it is. Raises ``NotFound``."""
        return self.parts.datasets.get(dataset_id)

    def get_document(self, doc_id: str, *, run_id: str | None = None) -> Doc:
        """A registered document. Raises ``NotFound``."""
        return self.parts.documents.get(DOCUMENT, doc_id, self._wanted(run_id))

    def get_doctags(self, doc_id: str, *, run_id: str | None = None) -> DoctagsAsset:
        """The doctags of a document. Raises ``NotFound``."""
        return self.parts.documents.get(DOCTAGS, doc_id, self._wanted(run_id))

    def get_event(self, event_id: str) -> EventInfo:
        """A visible event. Raises ``NotFound``."""
        found = self.parts.ledger.events.get(event_id, "ev")
        if found is None:
            raise NotFound(
                f"There is no visible event {event_id}",
                why="It was never emitted, or its run has not committed",
                todo="Check the id, and the state of its run",
                committed="no",
            )
        return event_info(found)

    def get_incident(self, incident_id: str) -> IncidentInfo:
        """An incident. Raises ``NotFound``."""
        found = self.parts.ledger.events.get(incident_id, "inc")
        if found is None:
            raise NotFound(f"There is no incident {incident_id}", todo="Check the id", committed="no")
        return incident_info(found)

    # -- reads of many -------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The registry as it is now, for several reads that must agree with each other."""
        return Snapshot(self.parts)

    def as_of(self, time: datetime) -> Snapshot:
        """The registry as it was at ``time`` (aware), by the times of the decisions."""
        if not isinstance(time, datetime) or time.tzinfo is None:
            raise InvalidInput.of("time", ["time must be a datetime with a time zone"])
        try:
            return Snapshot(self.parts, time.astimezone(UTC))
        except OverflowError:
            raise InvalidInput.of("time", [f"{time} is no time in UTC"]) from None

    def runs(self, /, newest_first: bool = True, **filters: Any) -> Iterator[RunInfo]:
        """Runs by the time they began. Filters are fields: ``state="COMMITTED"``, ``purpose="nightly"`` …"""
        return self.snapshot().runs(newest_first, **filters)

    def datasets(self, /, newest_first: bool = True, **filters: Any) -> Iterator[Dataset]:
        """Datasets in every state: ``kind=``, ``state=``, ``run_id=`` …"""
        return self.snapshot().datasets(newest_first, **filters)

    def events(self, /, newest_first: bool = False, derived: bool = True, **filters: Any) -> Iterator[EventInfo]:
        """Visible events by time: ``subject_id=``, ``event_name=`` …; ``derived`` adds what decisions imply."""
        return self.snapshot().events(newest_first, derived, **filters)

    def incidents(self, /, newest_first: bool = False, **filters: Any) -> Iterator[IncidentInfo]:
        """Incidents by time: ``subject_id=``, ``error_class=`` …"""
        return self.snapshot().incidents(newest_first, **filters)

    def documents(self, /, **filters: Any) -> Iterator[Doc]:
        """Registered documents: ``source=``, ``language=`` …"""
        return self.snapshot().documents(**filters)

    def doctags(self, /, **filters: Any) -> Iterator[DoctagsAsset]:
        """Registered doctags assets: ``doc_id=``, ``vlm_model=`` …"""
        return self.snapshot().doctags(**filters)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def checkpoint(self, *, full: bool = False, unsealed: bool = False) -> CheckpointReport:
        """Write the state of the catalog into the store as Parquet tables, and collect old ones.

        A reader without an index then loads these, and only what came since from the journal; DuckDB, Spark and others
        read them too. Any number of processes may do so at once: one of them writes the next checkpoint.

        Args:
            full: Write every table anew, as after damage; ordinarily what has not changed is referred to.
            unsealed: Put in also what is newer than the newest sealed hour (at least the last 10 to 70 minutes), for
                other engines. The next checkpoint writes it again.
        """
        return self.catalog.checkpoint(full, unsealed)

    # -- checking ------------------------------------------------------------------------------------------------

    def fsck(
        self,
        *,
        verify: Verify = "sample",
        sample: int | float = 100,
        repair: bool = False,
        progress: Progress | None = None,
    ) -> FsckReport:
        """Look for damage: documents, decisions, cells, files and leases against each other, and the index against
        them all. Nothing in the store is ever written; damage is told, not raised.

        Args:
            verify: Whose sha256 is computed: ``"none"`` (sizes are compared all the same), ``"sample"`` or ``"all"``.
            sample: How many files that is: a number (int), or a share of all (float, such as 0.1).
            repair: Build the index of this machine anew when it differs.
            progress: Called with what is being looked at (``journal``, ``cells``, ``files``, ``index``) and how many
                so far.

        Raises:
            StorageUnavailable, AccessDenied: The store cannot be read, which tells nothing of what is in it.
        """
        from prefect_registry.catalog.fsck.checking import fsck

        store = self.parts.ledger.store
        return fsck(
            store, self.registry_id, self.catalog, verify=verify, sample=sample, repair=repair, progress=progress
        )

    def copy_to(
        self,
        url: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> CopyReport:
        """Copy everything that is published, and its history, to an empty folder, bucket or prefix on any cloud.

        Nothing is visible in the copy until the last object lands; an interrupted copy goes on when it is made again.
        Every file is checked against its sha256 on the way. Runs that are still going on are aborted in the copy, which
        has an id of its own; what was dropped or rolled back is not copied. ``progress`` gets numbers of bytes.

        Raises:
            InvalidState: There is a registry at ``url``.
            IntegrityError: A file is not what its manifest says. Nothing was changed here.
        """
        target = open_target(url, storage_options, self.parts.ledger.store)
        return Copy(self.parts.ledger.store, target, progress).run(self.parts.ledger.journal.consistent_entries())

    # -- inside --------------------------------------------------------------------------------------------------

    def _wanted(self, run_id: str | None) -> str | None:
        return parse_run_id(run_id) if run_id is not None else self.parts.ledger.surrounding()

    acheckpoint = twin(checkpoint)
    atable = twin(table)
    alatest = twin(latest)
    akinds = twin(kinds)
    acopy_to = twin(copy_to)
    aget_run = twin(get_run)
    aget_dataset = twin(get_dataset)
    aget_document = twin(get_document)
    aget_doctags = twin(get_doctags)
    aget_event = twin(get_event)
    aget_incident = twin(get_incident)
    asnapshot = twin(snapshot)
    aas_of = twin(as_of)
    aruns = iterator_twin(runs)
    adatasets = iterator_twin(datasets)
    aevents = iterator_twin(events)
    aincidents = iterator_twin(incidents)
    adocuments = iterator_twin(documents)
    adoctags = iterator_twin(doctags)
    afsck = twin(fsck)


def _check_name(name: object, noun: str) -> None:
    problems = list(name_problems(name, noun))
    if problems:
        raise InvalidInput.of(noun, problems)
