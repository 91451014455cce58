"""``Registry``: the one facade over a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from prefect_registry.asynchronous import context_twin, iterator_twin, twin
from prefect_registry.clock import UTC, Clock, StoreClock, SystemClock
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.revert import RevertReport, revert
from prefect_registry.datasets.service import Datasets
from prefect_registry.datasets.tables import Table, Tables
from prefect_registry.documents.service import DOCTAGS, DOCUMENT, Documents
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.handles import Run, RunScope
from prefect_registry.ledger.closing import UNSET, Closed
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.opening import open_registry
from prefect_registry.ledger.reaping import CollectReport, ReapReport, ReportedEnded
from prefect_registry.ledger.runs import Attempt, lease_problems
from prefect_registry.ledger.store import LedgerSettings, Store
from prefect_registry.names import name_problems
from prefect_registry.records.base import checked_json_object
from prefect_registry.records.datasets import Mode
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.runs import Decision, Failure, Publish
from prefect_registry.snapshot import Parts, Snapshot
from prefect_registry.storage.base import Storage
from prefect_registry.views import EventInfo, IncidentInfo, RunInfo, event_info, incident_info, run_info

PUBLISH = ("on_close", "on_commit", "never")


@runtime_checkable
class RegistryProtocol(Protocol):
    """The nine operations of reference system 1."""

    def begin_dataset(self, kind: str, run_id: str) -> str: ...
    def commit_dataset(self, dataset_id: str, parquet_root: str, rows: int) -> None: ...
    def rollback_dataset(self, dataset_id: str) -> None: ...
    def insert_run(
        self, purpose: str, model_id: str | None, revision: str | None, config: Mapping[str, Any]
    ) -> str: ...
    def close_run(self, run_id: str, success: bool, notes: str | None = None) -> None: ...
    def register_documents(self, docs: list[Doc]) -> None: ...
    def register_doctags(self, assets: list[DoctagsAsset]) -> None: ...
    def emit_event(self, event_name: str, subject_id: str, payload: Mapping[str, Any]) -> Any: ...
    def incident(self, event: str, subject_id: str, error_class: str, message: str) -> Any: ...


def default_url() -> str:
    """The folder of the embedded registry: ``prefect-registry`` in the user's data folder (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "prefect-registry")


class Registry:
    """A transactional registry of runs and datasets in one folder or bucket.

    Args:
        url_or_backend: A folder or URL (``s3://bucket/prefix``), or a ``Storage``. Without one, a folder in the user's
            data folder.
        backend: The same, by the name that reference system 3 uses.
        storage_options: What the filesystem needs: endpoint, credentials … (fsspec's ``storage_options``).
        create: Make the registry if there is none. Opening and reading an existing one needs no right to write.
        settings: The protocol's waits.
        clock: Where time comes from.

    Raises:
        NotFound: There is no registry, and ``create`` is False or the credentials may not make one.
        FormatError: The store was written by a newer version.
        StorageUnavailable, AccessDenied: The store cannot be reached, or refuses.

    >>> registry = Registry("memory://docs-registry")
    >>> with registry.run("nightly") as run:
    ...     with run.dataset("greetings") as ds, ds.open("hello.txt", "w") as file:
    ...         _ = file.write("hello")
    >>> registry.latest("greetings").state
    'READY'
    """

    def __init__(
        self,
        url_or_backend: str | os.PathLike[str] | Storage | None = None,
        *,
        backend: str | Storage | None = None,
        version_objects: bool = False,
        mutable: bool = False,
        use_cache: bool = True,
        storage_options: Mapping[str, Any] | None = None,
        create: bool = True,
        settings: LedgerSettings | None = None,
        clock: Clock | None = None,
        heartbeats: bool = True,
    ) -> None:
        place = url_or_backend if url_or_backend is not None else backend
        local = clock or SystemClock()
        storage = _storage(place if place is not None else default_url(), storage_options, local)
        self.version_objects, self.mutable, self.use_cache = version_objects, mutable, use_cache
        self._compose(Store(storage, StoreClock(local), settings=settings or LedgerSettings()), heartbeats)
        self.registry_id = open_registry(self.parts.ledger.store, create).registry_id

    def _compose(self, store: Store, heartbeats: bool) -> None:
        ledger = Ledger(store, heartbeats)
        datasets = Datasets(ledger)
        self.parts = Parts(ledger, datasets, Tables(datasets), Documents(ledger))

    @classmethod
    def open(
        cls, url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None, create: bool = True
    ) -> Registry:
        """The registry at ``url``; the explicit form of the constructor."""
        return cls(url, storage_options=storage_options, create=create)

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k != "parts"}
        return {**state, "_store": self.parts.ledger.store, "_heartbeats": self.parts.ledger.heartbeats}

    def __setstate__(self, state: dict[str, Any]) -> None:
        store, heartbeats = state.pop("_store"), state.pop("_heartbeats")
        self.__dict__.update(state)
        self._compose(store, heartbeats)

    @property
    def url(self) -> str:
        """The store's root, without credentials."""
        return self.parts.ledger.store.storage.url

    @property
    def storage(self) -> Storage:
        """The bytes below the registry."""
        return self.parts.ledger.store.storage

    @property
    def ledger(self) -> Ledger:
        """The protocol below the registry."""
        return self.parts.ledger

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held open: leaving is a matter of style."""

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"

    # -- runs ----------------------------------------------------------------------------------------------------

    def insert_run(
        self,
        purpose: str,
        model_id: str | None = None,
        revision: str | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        publish: Publish = "on_close",
        lease: float | None = None,
        parent: str | None = None,
        isolated: bool = False,
        flow_run: str | None = None,
        prefect: Mapping[str, Any] | None = None,
    ) -> str:
        """Begin a run, and keep its lease from this process. Returns its id.

        Args:
            purpose: What the run is for, such as ``"dense_embed"``.
            model_id: The model it works with.
            revision: The version of model or code.
            config: JSON values; they come back equal.
            publish: ``on_close`` (all at once), ``on_commit`` (each dataset by itself, P13), ``never``.
            lease: Seconds of silence after which others may abort the run: 15 minutes by default.
            parent: The run around this one: it is published only if that one lists it (P11).
            isolated: Keep ``parent`` for lineage only.
            flow_run: The Prefect flow run this is an attempt of (P14).
            prefect: What is known of the Prefect run: ids, names, version.

        Raises:
            InvalidInput: Lists every problem; nothing was written.
            RunAborted, RunAlreadyClosed: ``parent`` is decided, or an earlier attempt of ``flow_run`` has published.
        """
        attempt = self.begin_attempt(
            purpose, model_id, revision, config, publish=publish, lease=lease, parent=parent, isolated=isolated,
            flow_run=flow_run, prefect=prefect,
        )  # fmt: skip
        if attempt.published is not None:
            from prefect_registry.ledger.runs import refusal

            raise refusal(attempt.published, f"run flow run {flow_run} once more")
        return attempt.begin.run_id

    def begin_attempt(
        self,
        purpose: str,
        model_id: str | None = None,
        revision: str | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        publish: Publish = "on_close",
        lease: float | None = None,
        parent: str | None = None,
        isolated: bool = False,
        flow_run: str | None = None,
        prefect: Mapping[str, Any] | None = None,
    ) -> Attempt:
        """Like :meth:`insert_run`, and tells instead of raising when an earlier attempt has published (P14)."""
        problems = list(name_problems(purpose, "purpose"))
        for noun, value in (("model_id", model_id), ("revision", revision), ("flow_run", flow_run)):
            problems += list(name_problems(value, noun)) if value is not None else []
        if publish not in PUBLISH:
            problems.append(f"publish must be one of {', '.join(PUBLISH)}, not {publish!r:.80}")
        remote = not self.url.startswith(("/", "memory:", "file:"))
        problems += lease_problems(lease, remote) if lease is not None else []
        try:
            config, prefect = checked_json_object(config, "config"), checked_json_object(prefect, "prefect")
        except InvalidInput as error:
            problems += error.problems
        if problems:
            raise InvalidInput.of("the run", problems)
        return self.ledger.begin(
            RunSpec(purpose, model_id, revision, config, publish, lease, parent, isolated, False, flow_run, prefect)
        )

    def close_run(
        self,
        run_id: str,
        success: bool,
        notes: str | None = None,
        *,
        failure: Failure | None = None,
        result: Any = UNSET,
        refuse_pending: bool = False,
    ) -> Closed | None:
        """Decide a run: everything it staged becomes visible, or nothing ever does.

        Closing again with the same outcome is a no-op. Datasets still PENDING are left out, and the decision says so.
        With ``success``, returns the decision and whether it is visible yet (a nested run waits for the one around
        it).

        Raises:
            NotFound: No such run.
            RunAborted: Somebody aborted it before. RunAlreadyClosed: it is committed, and was to be rolled back.
            OutcomeUnknown: The store gave no certain answer. Look at the run before anything else.
        """
        problems = [] if isinstance(success, bool) else [f"success must be True or False, not {success!r:.80}"]
        if notes is not None and not isinstance(notes, str):
            problems.append(f"notes must be a string, not {type(notes).__name__}")
        elif notes is not None and len(notes) > 100_000:
            problems.append(f"notes have {len(notes):,} characters; at most 100,000 are allowed")
        if problems:
            raise InvalidInput.of("close_run", problems)
        if success:
            begin = self.ledger.runs.known(run_id)
            if begin.publish != "never":
                return self.ledger.commit(run_id, notes=notes, result=result, refuse_pending=refuse_pending)
            failure = Failure.model_validate(
                {"class": "NotPublished", "message": 'publish="never"', "kind": "cancelled"}
            )
        self.ledger.fail(run_id, failure, notes)
        return None

    def run(self, purpose: str, model_id: str | None = None, revision: str | None = None,
            config: Mapping[str, Any] | None = None, **options: Any) -> RunScope:  # fmt: skip
        """``with registry.run("nightly") as run``: the block is a run. Leaving it commits, an exception aborts.

        Takes the arguments of :meth:`insert_run`. In the block, calls without ``run_id`` belong to the run.
        """
        return RunScope(
            self, {"purpose": purpose, "model_id": model_id, "revision": revision, "config": config, **options}
        )

    def attach(self, run_id: str) -> Run:
        """A handle on a run that somebody began, in any process. No round trip."""
        return Run(self, run_id)

    # -- datasets ------------------------------------------------------------------------------------------------

    def begin_dataset(
        self,
        kind: str,
        run_id: str | None = None,
        *,
        mode: Mode | None = None,
        partition: Mapping[str, Any] | None = None,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        task_run: str | None = None,
    ) -> str:
        """A new PENDING dataset of a run; returns its id. See :meth:`Run.dataset` for the arguments.

        Raises:
            NotFound: No such run. RunAborted, RunAlreadyClosed: it is decided. NoActiveRun: none was named.
        """
        return self.parts.datasets.begin(
            kind, self._needed(run_id), mode=mode, partition=partition, key=key, tags=tags, task_run=task_run
        )

    def commit_dataset(self, dataset_id: str, parquet_root: str, rows: int, *, verify: str = "full") -> None:
        """Stage a dataset: its files, now, and no others.

        Args:
            parquet_root: The dataset's own folder (``get_dataset(id).root``), whose files are listed, hashed and
                counted; or any other URL, which is recorded as external and never touched.
            rows: How many rows there are; the Parquet footers must agree.
            verify: ``"full"`` reads every byte; ``"size"`` only sizes and Parquet footers, and records no sha256.

        The same call again is a no-op. Raises ``Conflict`` if it was committed with other content, ``InvalidState``
        if it was rolled back, ``InvalidInput`` if rows and footers differ, ``IntegrityError`` for a torn file.
        """
        if verify not in ("full", "size"):
            raise InvalidInput.of("verify", [f"verify must be 'full' or 'size', not {verify!r:.80}"])
        if rows is None:
            raise InvalidInput.of("rows", ["rows must be an integer"])
        self.parts.datasets.commit(dataset_id, parquet_root, rows, verify=verify)  # type: ignore[arg-type]

    def rollback_dataset(self, dataset_id: str) -> None:
        """Drop a dataset that is PENDING or STAGED. Again is a no-op; a READY one is ``InvalidState``."""
        self.parts.datasets.rollback(dataset_id)

    def table(self, kind: str, *, run_id: str | None = None) -> Table:
        """What readers see of ``kind``: one whole published state (P15). With ``run_id``, what is staged there on top.

        Empty when nothing is published.
        """
        self._check_name(kind, "kind")
        return self.parts.tables.table(kind, run_id)

    def latest(self, kind: str) -> Dataset:
        """The one dataset of ``kind`` that was published last.

        Raises ``NotFound``; ``InvalidInput`` with the count when the last run published several.
        """
        self._check_name(kind, "kind")
        return self.parts.tables.latest(kind)

    def kinds(self) -> list[str]:
        """Every kind that was ever published, sorted."""
        return self.parts.tables.kinds()

    # -- documents, events, incidents ----------------------------------------------------------------------------

    def register_documents(self, docs: Iterable[Doc | Mapping[str, Any]], *, run_id: str | None = None) -> None:
        """Register or replace documents: all of them or none. Outside a run, by a run of their own."""
        self.parts.documents.register_documents(docs, self._wanted(run_id))

    def register_doctags(
        self,
        assets: Iterable[DoctagsAsset | Mapping[str, Any]],
        *,
        run_id: str | None = None,
        allow_unknown_documents: bool = False,
    ) -> None:
        """Register or replace doctags: all of them or none. ``NotFound`` names documents that are not registered."""
        self.parts.documents.register_doctags(assets, self._wanted(run_id), allow_unknown_documents)

    def emit_event(
        self,
        event_name: str,
        subject_id: str,
        payload: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        immediate: bool = False,
    ) -> str:
        """Record an event; returns its id. In a run it becomes visible with the run, unless ``immediate``."""
        problems = [*name_problems(event_name, "event_name"), *name_problems(subject_id, "subject_id")]
        if problems:
            raise InvalidInput.of("the event", problems)
        checked = checked_json_object(payload, "payload")
        return self.ledger.events.emit(event_name, subject_id, checked, self._wanted(run_id), immediate).event_id

    def incident(
        self, event: str, subject_id: str, error_class: str, message: str, *, run_id: str | None = None
    ) -> str:
        """Record an incident, visible at once, whatever becomes of the run; returns its id. The message is kept
        whole (up to 500,000 characters)."""
        problems = [
            p for noun, v in (("event", event), ("subject_id", subject_id), ("error_class", error_class))
            for p in name_problems(v, noun)
        ]  # fmt: skip
        if not isinstance(message, str) or len(message) > 500_000:
            problems.append("message must be a string of at most 500,000 characters")
        if problems:
            raise InvalidInput.of("the incident", problems)
        return self.ledger.events.incident(event, subject_id, error_class, message, self._wanted(run_id)).event_id

    # -- reads by id ---------------------------------------------------------------------------------------------

    def get_run(self, run_id: str) -> RunInfo:
        """A run and how it stands. Raises ``NotFound``."""
        begin = self.ledger.runs.known(run_id)
        decision: Decision | None = self.ledger.store.decision(run_id)
        return run_info(self.ledger, begin, decision)

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
        found = self.ledger.events.get(event_id, "ev")
        if found is None:
            raise NotFound(f"There is no visible event {event_id}", todo="An event of a run appears when it commits")
        return event_info(found)

    def get_incident(self, incident_id: str) -> IncidentInfo:
        """An incident. Raises ``NotFound``."""
        found = self.ledger.events.get(incident_id, "inc")
        if found is None:
            raise NotFound(f"There is no incident {incident_id}", todo="Check the id")
        return incident_info(found)

    # -- reads of many -------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The registry as it is now, for several reads that must agree with each other."""
        return Snapshot(self.parts)

    def as_of(self, time: datetime) -> Snapshot:
        """The registry as it was at ``time`` (aware), by the times of the decisions."""
        if not isinstance(time, datetime) or time.tzinfo is None:
            raise InvalidInput.of("time", ["time must be a datetime with a time zone"])
        return Snapshot(self.parts, time.astimezone(UTC))

    def runs(self, newest_first: bool = True, **filters: Any) -> Iterator[RunInfo]:
        """Runs by the time they began. Filters are fields: ``state="COMMITTED"``, ``purpose="nightly"`` …"""
        return self.snapshot().runs(newest_first, **filters)

    def datasets(self, newest_first: bool = True, **filters: Any) -> Iterator[Dataset]:
        """Datasets in every state: ``kind=``, ``state=``, ``run_id=`` …"""
        return self.snapshot().datasets(newest_first, **filters)

    def events(self, newest_first: bool = False, derived: bool = True, **filters: Any) -> Iterator[EventInfo]:
        """Visible events by time: ``subject_id=``, ``event_name=`` …; ``derived`` adds what decisions imply."""
        return self.snapshot().events(newest_first, derived, **filters)

    def incidents(self, newest_first: bool = False, **filters: Any) -> Iterator[IncidentInfo]:
        """Incidents by time: ``subject_id=``, ``error_class=`` …"""
        return self.snapshot().incidents(newest_first, **filters)

    def documents(self, **filters: Any) -> Iterator[Doc]:
        """Registered documents: ``source=``, ``language=`` …"""
        return self.snapshot().documents(**filters)

    def doctags(self, **filters: Any) -> Iterator[DoctagsAsset]:
        """Registered doctags assets: ``doc_id=``, ``vlm_model=`` …"""
        return self.snapshot().doctags(**filters)

    # -- housekeeping --------------------------------------------------------------------------------------------

    def reap(self, reported_ended: ReportedEnded | None = None, *, wait: bool = False) -> ReapReport:
        """Abort runs that nobody will finish (P7). ``wait`` watches suspects for half their lease in this call."""
        return self.ledger.housekeeping.reap(reported_ended or (lambda run, flow_run: False), wait)

    def collect(self, dry_run: bool = True) -> CollectReport:
        """Delete the bytes that a decision has made dead (P8); by default only tells what it would delete."""
        return self.ledger.housekeeping.collect(dry_run)

    def revert(self, run_id: str, reason: str | None = None) -> RevertReport:
        """Un-publish a committed run by one new run. Reverting that one restores it."""
        return revert(self.parts.datasets, run_id, reason)

    # -- inside --------------------------------------------------------------------------------------------------

    def _wanted(self, run_id: str | None) -> str | None:
        return run_id if run_id is not None else self.ledger.surrounding()

    def _needed(self, run_id: str | None) -> str:
        wanted = self._wanted(run_id)
        if wanted is None:
            from prefect_registry.errors import NoActiveRun

            raise NoActiveRun(
                "No run was named and none surrounds the call",
                todo="Pass run_id, or work inside 'with registry.run(...)' or a flow with @registry_run",
                committed="no",
            )
        return wanted

    def _check_name(self, name: object, noun: str) -> None:
        problems = list(name_problems(name, noun))
        if problems:
            raise InvalidInput.of(noun, problems)

    ainsert_run = twin(insert_run)
    abegin_attempt = twin(begin_attempt)
    aclose_run = twin(close_run)
    arun = context_twin(run)
    abegin_dataset = twin(begin_dataset)
    acommit_dataset = twin(commit_dataset)
    arollback_dataset = twin(rollback_dataset)
    atable = twin(table)
    alatest = twin(latest)
    akinds = twin(kinds)
    aregister_documents = twin(register_documents)
    aregister_doctags = twin(register_doctags)
    aemit_event = twin(emit_event)
    aincident = twin(incident)
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
    areap = twin(reap)
    acollect = twin(collect)
    arevert = twin(revert)


def _storage(place: str | os.PathLike[str] | Storage, options: Mapping[str, Any] | None, clock: Clock) -> Storage:
    """The storage at ``place``, made patient and certain about lost answers (P10)."""
    from prefect_registry.storage.resolving import ResolvingStorage

    if isinstance(place, ResolvingStorage):
        return place
    if isinstance(place, Storage):
        return ResolvingStorage(place, clock)
    from prefect_registry.storage.opening import open_storage

    return ResolvingStorage(open_storage(place, options), clock)
