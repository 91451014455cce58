"""Every operation of the registry as a Prefect task: the same names and parameters, and ``registry``.

``run_id=None`` means the current run. They roll back when the flow fails, with or without ``@registry_run``: a run
that ``insert_run`` opened in an undecorated flow ends with its flow run. Their results are never cached, so that a
retry cannot skip a write; inside Prefect's ``transaction()`` they are rolled back with it.

>>> from prefect import flow
>>> @flow
... def ingest():
...     run = insert_run("ingest")
...     chunks = begin_dataset("chunks", run)
...     ...
...     close_run(run, success=True)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_registry.datasets.revert import RevertReport
from prefect_registry.ledger.reaping import CollectReport, ReapReport
from prefect_registry.objects.conflicts import OnConflict
from prefect_registry.records.datasets import Mode
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.runs import Publish
from prefect_registry.resolve import RegistryLike
from prefect_registry.tasks import calls
from prefect_registry.tasks.model_reads import (
    compare_models,
    get_model_artifact,
    get_model_version,
    get_registered_model,
    load_model,
    model_history,
)
from prefect_registry.tasks.models import (
    archive_model,
    register_hf_model,
    register_model,
    remove_model_alias,
    restore_model,
    set_model_alias,
    set_model_card,
    update_model,
    upload_artifact_and_register_model,
    upsert_model_artifact,
    upsert_model_version,
    upsert_registered_model,
)
from prefect_registry.tasks.provenance import (
    export_provenance,
    lineage_picture,
    provenance_report,
    register_model_run,
    reproduce,
    what_breaks,
    what_changed,
    where_from,
)

__all__ = [
    "archive_model",
    "begin_dataset",
    "close_run",
    "collect",
    "commit_dataset",
    "compare_models",
    "delete_object",
    "emit_event",
    "export_provenance",
    "get_model_artifact",
    "get_model_version",
    "get_registered_model",
    "incident",
    "insert_run",
    "lineage_picture",
    "load_model",
    "load_object",
    "model_history",
    "provenance_report",
    "reap",
    "register_doctags",
    "register_documents",
    "register_hf_model",
    "register_model",
    "register_model_run",
    "remove_model_alias",
    "reproduce",
    "restore_model",
    "restore_object",
    "revert",
    "rollback_dataset",
    "save_object",
    "set_alias",
    "set_model_alias",
    "set_model_card",
    "update_model",
    "upload_artifact_and_register_model",
    "upsert_model_artifact",
    "upsert_model_version",
    "upsert_registered_model",
    "what_breaks",
    "what_changed",
    "where_from",
]


@task(persist_result=False, cache_policy=NO_CACHE)
def insert_run(
    purpose: str,
    model_id: str | None = None,
    revision: str | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    publish: Publish = "on_close",
    lease: float | None = None,
    parent: str | None = None,
    isolated: bool = False,
    registry: RegistryLike | None = None,
) -> str:
    """Begin a run; returns its id. See :meth:`prefect_registry.Registry.insert_run`.

    Inside a decorated flow the run is nested in the flow's own. Elsewhere it ends with the flow run: what is still
    open when that fails, crashes or is cancelled is rolled back, and so, with a warning, is what nobody closed.
    """
    return calls.insert_run(purpose, model_id, revision, config, publish, lease, parent, isolated, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def close_run(
    run_id: str | None, success: bool, notes: str | None = None, *, registry: RegistryLike | None = None
) -> None:
    """Decide a run: publish everything or nothing. See :meth:`prefect_registry.Registry.close_run`."""
    calls.close_run(run_id, success, notes, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def begin_dataset(
    kind: str,
    run_id: str | None = None,
    *,
    mode: Mode | None = None,
    partition: Mapping[str, Any] | None = None,
    key: str | None = None,
    registry: RegistryLike | None = None,
) -> str:
    """Begin a dataset; returns its id. See :meth:`prefect_registry.Registry.begin_dataset`."""
    return calls.begin_dataset(kind, run_id, mode, partition, key, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def commit_dataset(
    dataset_id: str, parquet_root: str, rows: int, *, verify: str = "full", registry: RegistryLike | None = None
) -> None:
    """Stage a dataset. See :meth:`prefect_registry.Registry.commit_dataset`."""
    calls.commit_dataset(dataset_id, parquet_root, rows, verify, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def rollback_dataset(dataset_id: str, *, registry: RegistryLike | None = None) -> None:
    """Drop a dataset. See :meth:`prefect_registry.Registry.rollback_dataset`."""
    calls.rollback_dataset(dataset_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def register_documents(
    docs: Iterable[Doc | Mapping[str, Any]], *, run_id: str | None = None, registry: RegistryLike | None = None
) -> None:
    """Register documents. See :meth:`prefect_registry.Registry.register_documents`."""
    calls.register_documents(docs, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def register_doctags(
    assets: Iterable[DoctagsAsset | Mapping[str, Any]],
    *,
    run_id: str | None = None,
    allow_unknown_documents: bool = False,
    registry: RegistryLike | None = None,
) -> None:
    """Register doctags. See :meth:`prefect_registry.Registry.register_doctags`."""
    calls.register_doctags(assets, run_id, allow_unknown_documents, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def emit_event(
    event_name: str,
    subject_id: str,
    payload: Mapping[str, Any] | None = None,
    *,
    run_id: str | None = None,
    immediate: bool = False,
    registry: RegistryLike | None = None,
) -> str:
    """Emit an event; returns its id. See :meth:`prefect_registry.Registry.emit_event`."""
    return calls.emit_event(event_name, subject_id, payload, run_id, immediate, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def incident(
    event: str,
    subject_id: str,
    error_class: str,
    message: str,
    *,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> str:
    """Record an incident; returns its id. See :meth:`prefect_registry.Registry.incident`."""
    return calls.incident(event, subject_id, error_class, message, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def revert(run_id: str, reason: str | None = None, *, registry: RegistryLike | None = None) -> RevertReport:
    """Un-publish a committed run. See :meth:`prefect_registry.Registry.revert`."""
    return calls.revert(run_id, reason, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def reap(*, wait: bool = False, registry: RegistryLike | None = None) -> ReapReport:
    """Abort the runs that nobody will finish. See :meth:`prefect_registry.Registry.reap`.

    Asks Prefect which flow runs have ended: one more reason to suspect their runs, never a proof.
    """
    return calls.reap(wait, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def collect(dry_run: bool = True, *, registry: RegistryLike | None = None) -> CollectReport:
    """Delete the bytes of what was rolled back. See :meth:`prefect_registry.Registry.collect`."""
    return calls.collect(dry_run, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def save_object(
    name: str,
    obj: Any,
    *,
    version: str | None = None,
    on_conflict: OnConflict | str | None = None,
    materializer: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    allow_pickle: bool = False,
    registry: RegistryLike | None = None,
) -> str:
    """Save an object; returns its version. See :meth:`prefect_registry.Registry.save`.

    In a run it is staged and published with it; by itself, it is published at once.
    """
    return calls.save_object(name, obj, version, on_conflict, materializer, metadata, run_id, allow_pickle, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def load_object(
    name: str,
    version: str | None = None,
    *,
    verify: str = "integrity",
    lazy: bool = False,
    output_dir: str | None = None,
    pin: bool = False,
    run_id: str | None = None,
    allow_pickle: bool = False,
    registry: RegistryLike | None = None,
) -> Any:
    """Load an object. See :meth:`prefect_registry.Registry.load`.

    With ``pin``, a retry of the flow run gets the version that the first attempt got.
    """
    return calls.load_object(name, version, verify, lazy, output_dir, pin, run_id, allow_pickle, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def delete_object(
    name: str,
    version: str | None = None,
    *,
    reason: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> None:
    """Delete a version of an object, or all. See :meth:`prefect_registry.Registry.delete`."""
    calls.delete_object(name, version, reason, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def restore_object(
    name: str, version: str | None = None, *, run_id: str | None = None, registry: RegistryLike | None = None
) -> list[str]:
    """Take a deletion back; returns which versions. See :meth:`prefect_registry.Registry.restore`."""
    return calls.restore_object(name, version, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def set_alias(
    name: str,
    alias: str,
    version: str | None = None,
    *,
    reason: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> str | None:
    """Point an alias at a version; returns where it pointed. See :meth:`prefect_registry.Registry.set_alias`."""
    return calls.set_alias(name, alias, version, reason, run_id, registry)


insert_run.on_rollback(calls.roll_back_run)
commit_dataset.on_rollback(calls.roll_back_dataset)
