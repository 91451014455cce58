"""``Registry``: the one facade over a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from prefect_registry.asynchronous import context_twin, twin
from prefect_registry.capture import Capture, Capturing
from prefect_registry.clock import Clock, StoreClock, SystemClock
from prefect_registry.errors import InvalidInput, NoActiveRun, nothing_published, outcome_unknown
from prefect_registry.ledger.closing import UNSET, Closed
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.opening import open_registry
from prefect_registry.ledger.reaping import CollectReport, ReapReport, ReportedEnded
from prefect_registry.ledger.runs import Attempt, lease_problems
from prefect_registry.ledger.store import LedgerSettings, Store, jitter
from prefect_registry.names import name_problems
from prefect_registry.objects.cache import LIMIT_BYTES
from prefect_registry.objects.keeping import Keeping
from prefect_registry.records.base import checked_json_object, json_object_problems, printable
from prefect_registry.records.datasets import Mode
from prefect_registry.records.runs import Failure, Publish, not_published
from prefect_registry.registry.handles import Run, RunScope, drop_attempt, drop_dataset, fail_quietly
from prefect_registry.registry.health import check_access
from prefect_registry.registry.mapping import RegistryMapping
from prefect_registry.registry.places import one_place, storage_at
from prefect_registry.registry.snapshot import Parts
from prefect_registry.storage.base import Storage

if TYPE_CHECKING:  # what few programs do need not be loaded by all
    from prefect_registry.datasets.revert import RevertReport
    from prefect_registry.storage.probe import ProbeReport

PUBLISH = ("on_close", "on_commit", "never")


class Registry(RegistryMapping):
    """A transactional registry of runs and datasets in one folder or bucket.

    Args:
        url_or_backend: A folder or URL (``s3://bucket/prefix``), or a ``Storage``; never the name of a block:
            :func:`resolve_registry` takes those. Without one, a folder in the user's data folder.
        backend: The same by another name; give one of the two.
        version_objects: Keep versions of saved objects; otherwise each has one. Fixed when the first one is saved:
            None takes what is stored, or False; another value than the stored one is ``InvalidInput``.
        mutable: Saved objects can be overwritten. Fixed in the same way.
        use_cache: Keep the catalog's index, and files of objects of remote stores, in the user's cache folder; else
            each process builds the index in memory, and fetches files anew.
        cache_bytes: How large the files of objects in it may be together: 10 GiB.
        allow_pickle: Calls may ask for pickle (``allow_pickle=True``): then who can write there can run code here.
        storage_options: What the filesystem needs: endpoint, credentials … (fsspec's ``storage_options``).
        create: Make the registry if there is none. Opening and reading an existing one needs no right to write.
        settings: How long things are waited for: a ``LedgerSettings``.
        clock: Where time comes from; for tests.
        heartbeats: Whether runs begun here are kept alive; for tests.

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

    reference: str | None = None
    """The saved block that it was opened from, such as ``"data-registry-s3/prod"``: how another process opens the same
    store with the same credentials. None when it was opened otherwise."""

    def __init__(
        self,
        url_or_backend: str | os.PathLike[str] | Storage | None = None,
        *,
        backend: str | os.PathLike[str] | Storage | None = None,
        version_objects: bool | None = None,
        mutable: bool | None = None,
        use_cache: bool = True,
        cache_bytes: int = LIMIT_BYTES,
        allow_pickle: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        create: bool = True,
        settings: LedgerSettings | None = None,
        clock: Clock | None = None,
        heartbeats: bool = True,
    ) -> None:
        local = clock or SystemClock()
        storage = storage_at(one_place(url_or_backend, backend), storage_options, local)
        self._keeping = Keeping(version_objects, mutable, use_cache, cache_bytes, allow_pickle)
        store = Store(storage, StoreClock(local), settings=settings or LedgerSettings(), random=jitter)
        self._compose(store, heartbeats)
        self.registry_id = open_registry(self.parts.ledger.store, create).registry_id
        self.parts.objects.settings.check()

    def _compose(self, store: Store, heartbeats: bool) -> None:
        self.parts = Parts.of(store, heartbeats, self._keeping)

    @classmethod
    def open(
        cls, url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None, create: bool = True,
        **options: Any,
    ) -> Registry:  # fmt: skip
        """The registry at ``url``; the explicit form of the constructor, whose other arguments it takes too."""
        return cls(url, storage_options=storage_options, create=create, **options)

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

    @nothing_published
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
        capture: Capture | None = None,
    ) -> str:
        """Begin a run, and keep its lease from this process: when that ends, others may abort it. Returns its id.

        Args:
            purpose: What the run is for, such as ``"dense_embed"``.
            model_id: The model it works with.
            revision: The version of model or code.
            config: JSON values; they come back equal.
            publish: ``on_close`` (all at once), ``on_commit`` (each dataset by itself, P13), ``never`` (drop it all).
            lease: Seconds of silence after which others may abort the run: 15 minutes by default.
            parent: The run around this one: it is published only if that one lists it (P11).
            isolated: Keep ``parent`` for lineage only.
            flow_run: The Prefect flow run this is an attempt of (P14).
            prefect: What is known of the Prefect run: ids, names, version.
            capture: The program that begins it: code and environment. By default they are found out.

        Raises:
            InvalidInput: Lists every problem; nothing was written.
            RunAborted, RunAlreadyClosed: ``parent`` is decided, or an earlier attempt of ``flow_run`` has published.
        """
        attempt = self.begin_attempt(
            purpose, model_id, revision, config, publish=publish, lease=lease, parent=parent, isolated=isolated,
            flow_run=flow_run, prefect=prefect, capture=capture,
        )  # fmt: skip
        if attempt.published is not None:
            raise self.ledger.runs.refusal(attempt.published, f"run flow run {flow_run} once more")
        return attempt.begin.run_id

    @nothing_published
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
        capture: Capture | None = None,
    ) -> Attempt:
        """Like :meth:`insert_run`, and tells instead of raising when an earlier attempt has published (P14)."""
        problems = list(name_problems(purpose, "purpose"))
        for noun, value in (("model_id", model_id), ("revision", revision), ("flow_run", flow_run)):
            problems += list(name_problems(value, noun)) if value is not None else []
        if publish not in PUBLISH:
            problems.append(f"publish must be one of {', '.join(PUBLISH)}, not {publish!r:.80}")
        remote = not self.url.startswith(("/", "memory:", "file:"))
        problems += lease_problems(lease, remote) if lease is not None else []
        problems += [*json_object_problems(config, "config"), *json_object_problems(prefect, "prefect")]
        if problems:
            raise InvalidInput.of("the run", problems)
        config, prefect = checked_json_object(config, "config"), checked_json_object(prefect, "prefect")
        return self.ledger.begin(
            RunSpec(purpose, model_id, revision, config, publish, lease, parent, isolated, False, flow_run, prefect,
                    capture=capture if capture is not None else Capturing.of_caller().finish())
        )  # fmt: skip

    @outcome_unknown
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
            RunAborted: Somebody aborted it before.
            RunAlreadyClosed: It is committed, and was to be rolled back.
            OutcomeUnknown: The store gave no certain answer. Look at the run before anything else.
        """
        problems = [] if isinstance(success, bool) else [f"success must be True or False, not {success!r:.80}"]
        if notes is not None and not isinstance(notes, str):
            problems.append(f"notes must be a string, not {type(notes).__name__}")
        elif notes is not None and len(notes) > 100_000:
            problems.append(f"notes have {len(notes):,} characters; at most 100,000 are allowed")
        if failure is not None and not isinstance(failure, Failure):
            problems.append(f"failure must be a Failure, not {type(failure).__name__}")
        if problems:
            raise InvalidInput.of("close_run", problems)
        notes = printable(notes) if notes is not None else None
        if success:
            begin = self.ledger.runs.known(run_id)
            if begin.publish != "never":
                return self.ledger.commit(run_id, notes=notes, result=result, refuse_pending=refuse_pending)
            failure = not_published()
        self.ledger.fail(run_id, failure, notes)
        return None

    def run(
        self,
        /, purpose: str, model_id: str | None = None, revision: str | None = None,
            config: Mapping[str, Any] | None = None, **options: Any) -> RunScope:  # fmt: skip
        """``with registry.run("nightly") as run``: the block is a run. Leaving it commits, an exception aborts.

        Takes the arguments of :meth:`insert_run`. In the block, calls without ``run_id`` belong to the run.
        """
        return RunScope(
            self, {"purpose": purpose, "model_id": model_id, "revision": revision, "config": config, **options}
        )

    def attach(self, run_id: str) -> Run:
        """A handle on a run that any process began. If that one has ended, writing from here keeps the run's lease."""
        return Run(self, run_id)

    # -- datasets ------------------------------------------------------------------------------------------------

    @nothing_published
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
            NotFound: No such run.
            RunAborted, RunAlreadyClosed: The run is decided.
            NoActiveRun: No run was named, and none surrounds the call.
        """
        begun = self.parts.datasets.begin(
            kind, self._needed(run_id), mode=mode, partition=partition, key=key, tags=tags, task_run=task_run
        )
        return begun.dataset_id

    @nothing_published
    def commit_dataset(
        self, dataset_id: str, parquet_root: str | os.PathLike[str], rows: int, *, verify: str = "full"
    ) -> None:
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
        if not isinstance(parquet_root, (str, os.PathLike)):
            raise InvalidInput.of("parquet_root", [f"parquet_root must be a URL, not {type(parquet_root).__name__}"])
        self.parts.datasets.commit(dataset_id, os.fspath(parquet_root), rows, verify=verify)  # type: ignore[arg-type]

    @nothing_published
    def rollback_dataset(self, dataset_id: str) -> None:
        """Drop a dataset that is PENDING or STAGED. Again is a no-op; a READY one is ``InvalidState``."""
        self.parts.datasets.rollback(dataset_id)

    # -- health --------------------------------------------------------------------------------------------------

    def check(self) -> ProbeReport:
        """Whether the store can be trusted: reachable, conditional create, list after write, clock offset.

        Writes a few objects and deletes them again, and corrects this process's clock by the store's (P12).
        """
        from prefect_registry.storage.probe import probe

        report = probe(self.storage)
        if report.clock_offset is not None:
            self.ledger.store.clock.correct(report.clock_offset)
        return report

    def check_access(self) -> dict[str, bool]:
        """What these credentials may do: ``general`` (reach the store), ``read``, ``write``, ``admin`` (delete)."""
        return check_access(self.storage)

    # -- housekeeping --------------------------------------------------------------------------------------------

    def reap(self, reported_ended: ReportedEnded | None = None, *, wait: bool = False) -> ReapReport:
        """Abort runs that nobody will finish (P7), whose bytes :meth:`collect` may then delete.

        Args:
            reported_ended: Tells whether Prefect says that the flow run of a run ended without success, given the ids
                of both: one more reason to suspect a run, never a proof.
            wait: Watch suspects for half their lease in this call. Without it they are remembered for the next one.
        """
        return self.ledger.housekeeping.reap(reported_ended or (lambda run, flow_run: False), wait)

    def collect(self, dry_run: bool = True) -> CollectReport:
        """Delete bytes of aborted runs, of datasets and objects dropped or released; by default only tell (P8)."""
        return self.ledger.housekeeping.collect(dry_run)

    @nothing_published
    def revert(self, run_id: str, reason: str | None = None) -> RevertReport:
        """Un-publish a committed run by one new run. Reverting that one restores it."""
        from prefect_registry.datasets.revert import revert

        return revert(self.parts.datasets, self.catalog, run_id, reason)

    # -- inside --------------------------------------------------------------------------------------------------

    def _needed(self, run_id: str | None) -> str:
        wanted = self._wanted(run_id)
        if wanted is None:
            raise NoActiveRun(
                "No run was named and none surrounds the call",
                todo="Pass run_id, or work inside 'with registry.run(...)' or a flow with @registry_run",
                committed="no",
            )
        return wanted

    ainsert_run = twin(insert_run, fail_quietly)
    abegin_attempt = twin(begin_attempt, drop_attempt)
    aclose_run = twin(close_run)
    arun = context_twin(run)
    abegin_dataset = twin(begin_dataset, drop_dataset)
    acommit_dataset = twin(commit_dataset)
    arollback_dataset = twin(rollback_dataset)
    acheck = twin(check)
    acheck_access = twin(check_access)
    areap = twin(reap)
    acollect = twin(collect)
    arevert = twin(revert)
