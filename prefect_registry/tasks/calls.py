"""What the tasks do: plain functions, so that a task's body refers to nothing that cannot be pickled.

Prefect pickles a task by value for process pools, Dask and Ray, and with it whatever its function mentions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.context import FlowRunContext
from prefect.transactions import get_transaction

from prefect_registry.datasets.revert import RevertReport
from prefect_registry.errors import RegistryError
from prefect_registry.ledger.reaping import CollectReport, ReapReport
from prefect_registry.objects.conflicts import OnConflict
from prefect_registry.records.datasets import Mode
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.runs import Publish, failure
from prefect_registry.resolve import RegistryLike, resolve_registry
from prefect_registry.runs import bound, current, notices
from prefect_registry.runs.attempts import leave_no_cached_result
from prefect_registry.runs.capturing import capturing, worker
from prefect_registry.runs.flowrun import facts, log
from prefect_registry.runs.reports import flow_run_has_ended
from prefect_registry.tasks.where import current_run_id, run_id_or_none

_RUN = "prefect-registry.run"
_DATASET = "prefect-registry.dataset"


def insert_run(
    purpose: str,
    model_id: str | None,
    revision: str | None,
    config: Mapping[str, Any] | None,
    publish: Publish,
    lease: float | None,
    parent: str | None,
    isolated: bool,
    registry: RegistryLike | None,
) -> str:
    """Begin a run: nested in the one around it, or else bound to the flow run, with which it ends."""
    begun = capturing()
    store = resolve_registry(registry)
    around = current.run_around(store)
    run_id = store.insert_run(
        purpose, model_id, revision, config, publish=publish, lease=lease, parent=parent or around, isolated=isolated,
        prefect=facts(), capture=begun.finish(worker()),
    )  # fmt: skip
    if parent is None and around is None and FlowRunContext.get() is not None:
        bound.bind(store, run_id)
    _remember(_RUN, (store.url, run_id))
    notices.began(store.attach(run_id))
    return run_id


def close_run(run_id: str | None, success: bool, notes: str | None, registry: RegistryLike | None) -> None:
    """Decide a run."""
    store, wanted = resolve_registry(registry), current_run_id(run_id, registry)
    closed = store.close_run(wanted, success, notes)
    bound.unbind(wanted)
    begin = store.ledger.runs.known(wanted)
    if closed is not None:
        seconds = (store.ledger.store.clock.now() - begin.created_at).total_seconds()
        notices.closed_by_task(store.attach(wanted), closed, seconds)
    else:
        decision = store.ledger.store.decision(wanted)
        notices.rolled_back_by_task(store.attach(wanted), decision.failure if decision is not None else None, notes)


def begin_dataset(
    kind: str,
    run_id: str | None,
    mode: Mode | None,
    partition: Mapping[str, Any] | None,
    key: str | None,
    registry: RegistryLike | None,
) -> str:
    """Begin a dataset."""
    store = resolve_registry(registry)
    return store.begin_dataset(kind, current_run_id(run_id, registry), mode=mode, partition=partition, key=key)


def commit_dataset(dataset_id: str, parquet_root: str, rows: int, verify: str, registry: RegistryLike | None) -> None:
    """Stage a dataset."""
    store = resolve_registry(registry)
    store.commit_dataset(dataset_id, parquet_root, rows, verify=verify)
    _remember(_DATASET, (store.url, dataset_id))


def rollback_dataset(dataset_id: str, registry: RegistryLike | None) -> None:
    """Drop a dataset."""
    resolve_registry(registry).rollback_dataset(dataset_id)


def register_documents(
    docs: Iterable[Doc | Mapping[str, Any]], run_id: str | None, registry: RegistryLike | None
) -> None:
    """Register documents."""
    leave_no_cached_result()
    resolve_registry(registry).register_documents(docs, run_id=run_id_or_none(run_id, registry))


def register_doctags(
    assets: Iterable[DoctagsAsset | Mapping[str, Any]],
    run_id: str | None,
    allow_unknown_documents: bool,
    registry: RegistryLike | None,
) -> None:
    """Register doctags."""
    leave_no_cached_result()
    resolve_registry(registry).register_doctags(
        assets, run_id=run_id_or_none(run_id, registry), allow_unknown_documents=allow_unknown_documents
    )


def emit_event(
    event_name: str,
    subject_id: str,
    payload: Mapping[str, Any] | None,
    run_id: str | None,
    immediate: bool,
    registry: RegistryLike | None,
) -> str:
    """Emit an event."""
    leave_no_cached_result()
    return resolve_registry(registry).emit_event(
        event_name, subject_id, payload, run_id=run_id_or_none(run_id, registry), immediate=immediate
    )


def incident(
    event: str, subject_id: str, error_class: str, message: str, run_id: str | None, registry: RegistryLike | None
) -> str:
    """Record an incident."""
    return resolve_registry(registry).incident(
        event, subject_id, error_class, message, run_id=run_id_or_none(run_id, registry)
    )


def save_object(
    name: str,
    obj: Any,
    version: str | None,
    on_conflict: OnConflict | str | None,
    materializer: str | None,
    metadata: Mapping[str, Any] | None,
    run_id: str | None,
    allow_pickle: bool,
    registry: RegistryLike | None,
) -> str:
    """Save an object."""
    leave_no_cached_result()
    return resolve_registry(registry).save(
        name, obj, version=version, on_conflict=on_conflict, materializer=materializer, metadata=metadata,
        run_id=run_id_or_none(run_id, registry), allow_pickle=allow_pickle,
    )  # fmt: skip


def load_object(
    name: str,
    version: str | None,
    verify: str,
    lazy: bool,
    output_dir: str | None,
    pin: bool,
    run_id: str | None,
    allow_pickle: bool,
    registry: RegistryLike | None,
) -> Any:
    """Load an object."""
    return resolve_registry(registry).load(
        name, version, verify=verify, lazy=lazy, output_dir=output_dir, pin=pin,
        run_id=run_id_or_none(run_id, registry), allow_pickle=allow_pickle,
    )  # fmt: skip


def delete_object(
    name: str, version: str | None, reason: str | None, run_id: str | None, registry: RegistryLike | None
) -> None:
    """Delete an object."""
    leave_no_cached_result()
    resolve_registry(registry).delete(name, version, reason=reason, run_id=run_id_or_none(run_id, registry))


def restore_object(name: str, version: str | None, run_id: str | None, registry: RegistryLike | None) -> list[str]:
    """Take a deletion back."""
    leave_no_cached_result()
    return resolve_registry(registry).restore(name, version, run_id=run_id_or_none(run_id, registry))


def set_alias(
    name: str, alias: str, version: str | None, reason: str | None, run_id: str | None, registry: RegistryLike | None
) -> str | None:
    """Move an alias."""
    leave_no_cached_result()
    return resolve_registry(registry).set_alias(
        name, alias, version, reason=reason, run_id=run_id_or_none(run_id, registry)
    )


def revert(run_id: str, reason: str | None, registry: RegistryLike | None) -> RevertReport:
    """Un-publish a run."""
    return resolve_registry(registry).revert(run_id, reason)


def reap(wait: bool, registry: RegistryLike | None) -> ReapReport:
    """Abort what nobody will finish; Prefect's word on a flow run is one more reason to suspect it."""
    store = resolve_registry(registry)
    return store.reap(lambda run_id, flow_run: flow_run_has_ended(store, run_id, flow_run), wait=wait)


def collect(dry_run: bool, registry: RegistryLike | None) -> CollectReport:
    """Delete dead bytes."""
    return resolve_registry(registry).collect(dry_run)


# -- for users of Prefect's transactions -----------------------------------------------------------------------------


def roll_back_run(transaction: Any) -> None:
    """Rollback hook of ``insert_run``: abort the run, unless it is decided."""
    url, run_id = transaction.get(_RUN, (None, None))
    _quietly(url, lambda store: store.ledger.abort(run_id, failure("RolledBack", "Prefect's transaction", "cancelled")))
    bound.unbind(run_id)


def roll_back_dataset(transaction: Any) -> None:
    """Rollback hook of ``commit_dataset``: drop the dataset, unless its run is decided."""
    url, dataset_id = transaction.get(_DATASET, (None, None))
    _quietly(url, lambda store: store.rollback_dataset(dataset_id))


def _quietly(url: str | None, call: Any) -> None:
    """A hook that raises would keep Prefect from calling the ones after it."""
    if url is None:
        return
    try:
        call(current.registry_at(url))
    except RegistryError as error:
        log().warning("Could not be rolled back with Prefect's transaction: %s", error)


def _remember(name: str, value: tuple[str, str]) -> None:
    transaction = get_transaction()
    if transaction is not None:
        transaction.set(name, value)
