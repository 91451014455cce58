"""The handle of a run: what a ``with registry.run(...) as run`` block works with (DESIGN.md 8)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from prefect_registry.asynchronous import context_twin, twin
from prefect_registry.catalog.results import RunInfo
from prefect_registry.datasets.adopt import How, adopt
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.tables import Table
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.errors import OutcomeUnknown, RegistryError, nothing_published, settle
from prefect_registry.ledger.ledger import active_run, enter_run, failure_of
from prefect_registry.records.base import text_of
from prefect_registry.records.datasets import Mode
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.registry.recording import LONGEST_MESSAGE_CHARACTERS
from prefect_registry.storage.base import Progress

if TYPE_CHECKING:
    from prefect_registry.ledger.runs import Attempt
    from prefect_registry.registry.facade import Registry


class Run:
    """A run that is open, or was. Works from any process that has the same registry: ``registry.attach(run_id)``."""

    def __init__(self, registry: Registry, run_id: str) -> None:
        self.registry = registry
        self.id = run_id

    @nothing_published
    def dataset(
        self,
        kind: str,
        *,
        mode: Mode | None = None,
        partition: Mapping[str, Any] | None = None,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> DatasetWriter:
        """Begin a dataset, to be used in a ``with`` block: leaving it commits, an exception rolls back.

        Args:
            kind: The table it belongs to.
            mode: ``replace`` (default): this run's datasets of the kind become the whole table; ``append``;
                ``replace_partitions``: replaces what has the same ``partition``. With ``publish="on_commit"`` the
                default is ``append`` (DESIGN.md P15).
            partition: Column values, such as ``{"month": 7}``.
            key: Makes it idempotent in this run: the same key gives the same dataset. What is written to one that was
                committed is compared with it: the same is fine, else ``Conflict``. One that was rolled back, or begun
                and not committed, is begun afresh: the newest writer has the key.
            tags: Labels stored with the dataset.
        """
        datasets = self.registry.parts.datasets
        begun = datasets.begin(kind, self.id, mode=mode, partition=partition, key=key, tags=tags)
        return DatasetWriter(datasets, begun)

    adataset = context_twin(dataset)

    @nothing_published
    def adopt(
        self,
        url: str,
        kind: str,
        how: How = "copy",
        *,
        rows: int | None = None,
        mode: Mode | None = None,
        partition: Mapping[str, Any] | None = None,
        storage_options: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Take in the file or folder at ``url`` as a dataset; returns its id.

        ``copy`` stores the bytes in the registry; ``reference`` records the URL, and never touches what is there.
        """
        datasets = self.registry.parts.datasets
        begun = datasets.begin(kind, self.id, mode=mode, partition=partition)
        try:
            adopt(datasets, begun, url, how, rows, storage_options, progress)
        except BaseException as error:
            try:
                datasets.rollback(begun.dataset_id, f"{type(error).__name__}: {text_of(error)}")
            except RegistryError as second:
                error.add_note(f"Rolling back dataset {begun.dataset_id} failed too: {second}")
            raise
        return begun.dataset_id

    def table(self, kind: str) -> Table:
        """The table of ``kind`` as it will be when this run commits: staged datasets included."""
        return self.registry.table(kind, run_id=self.id)

    def datasets(self, kind: str | None = None) -> list[Dataset]:
        """The datasets that this run has begun, in every state."""
        return list(self.registry.datasets(run_id=self.id, kind=kind, newest_first=False))

    def save(self, /, name: str, obj: Any, **options: Any) -> str:
        """Save an object in this run; returns its version. Options are those of ``Registry.save``."""
        return self.registry.save(name, obj, run_id=self.id, **options)

    def load(self, /, name: str, version: str | None = None, **options: Any) -> Any:
        """Load an object as this run sees it: what it has saved itself, too. Options are those of ``Registry.load``."""
        return self.registry.load(name, version, run_id=self.id, **options)

    asave = twin(save)
    aload = twin(load)

    def register_documents(self, docs: Iterable[Doc | Mapping[str, Any]]) -> None:
        """Register documents in this run."""
        self.registry.register_documents(docs, run_id=self.id)

    def register_doctags(
        self, assets: Iterable[DoctagsAsset | Mapping[str, Any]], allow_unknown_documents: bool = False
    ) -> None:
        """Register doctags in this run."""
        self.registry.register_doctags(assets, run_id=self.id, allow_unknown_documents=allow_unknown_documents)

    def emit_event(
        self, event_name: str, subject_id: str, payload: Mapping[str, Any] | None = None, *, immediate: bool = False
    ) -> str:
        """Emit an event in this run; returns its id."""
        return self.registry.emit_event(event_name, subject_id, payload, run_id=self.id, immediate=immediate)

    def incident(self, event: str, subject_id: str, error_class: str, message: str) -> str:
        """Record an incident of this run, visible at once; returns its id."""
        return self.registry.incident(event, subject_id, error_class, message, run_id=self.id)

    def info(self) -> RunInfo:
        """What is known of the run now."""
        return self.registry.get_run(self.id)

    aadopt = twin(adopt)
    atable = twin(table)
    adatasets = twin(datasets)
    aregister_documents = twin(register_documents)
    aregister_doctags = twin(register_doctags)
    aemit_event = twin(emit_event)
    aincident = twin(incident)
    ainfo = twin(info)

    def __repr__(self) -> str:
        return f"<Run {self.id} in {self.registry.url}>"


class RunScope:
    """``with registry.run(...)``: the block is the run. Leaving it commits; any exception aborts."""

    def __init__(self, registry: Registry, arguments: Mapping[str, Any]) -> None:
        self._registry = registry
        self._arguments = arguments
        self._run: Run | None = None
        self._token: Token[dict[str, str]] | None = None
        self._pid = os.getpid()

    def __enter__(self) -> Run:
        self._pid = os.getpid()
        self._run = self._registry.attach(self._registry.insert_run(**self._arguments))
        self.bind()
        return self._run

    def bind(self) -> None:
        """Make the run the surrounding one in the caller's context."""
        assert self._run is not None
        self._token = enter_run(self._registry.url, self._run.id)

    def unbind(self) -> None:
        """Undo :meth:`bind`."""
        if self._token is not None:
            token, self._token = self._token, None
            active_run.reset(token)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unbind()
        # A forked child that ends inside the block leaves the run to its parent.
        if self._run is None or self._pid != os.getpid():
            return
        if error is not None:
            fail_quietly(self._registry, self._run.id, error)
            return
        try:
            self._registry.close_run(self._run.id, True)
        except BaseException as failed:
            # Nobody can close it any more; left open, its heartbeats would keep it alive. If it was committed after
            # all, the abort finds that and changes nothing. Where even an abort gave no answer, nothing is cleaned up.
            if not isinstance(failed, OutcomeUnknown):
                fail_quietly(self._registry, self._run.id, failed)
            raise


def fail_quietly(registry: Registry, run_id: str, error: BaseException) -> None:
    """Abort a run because of ``error`` and record the incident; what goes wrong meanwhile becomes a note on it."""
    try:
        decision = registry.parts.ledger.abort(run_id, failure_of(error))
    except Exception as second:
        error.add_note(f"Run {run_id} could not be closed, and will be aborted when its lease is over: {second}")
        return
    settle(error, "yes" if decision.committed else "no")
    if decision.committed:
        return
    try:
        message = text_of(error)[:LONGEST_MESSAGE_CHARACTERS]
        registry.incident("run.failed", run_id, type(error).__name__, message, run_id=run_id)
    except Exception as second:
        error.add_note(f"Run {run_id} is aborted, but the incident could not be recorded: {second}")


def drop_attempt(registry: Registry, attempt: Attempt, error: BaseException) -> None:
    """Abort the run of an attempt that nobody will know of."""
    if attempt.published is None:
        fail_quietly(registry, attempt.begin.run_id, error)


def drop_dataset(registry: Registry, dataset_id: str, error: BaseException) -> None:
    """Roll back a dataset that nobody will know of, unless it is one that its key named before."""
    if registry.get_dataset(dataset_id).state == "PENDING":
        registry.rollback_dataset(dataset_id)
