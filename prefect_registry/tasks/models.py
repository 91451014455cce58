"""What writes to the model registry, as Prefect tasks; :mod:`~prefect_registry.tasks.model_reads` has what reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_registry.models.resources import (
    UNSET,
    Artifact,
    DocArtifact,
    ModelVersion,
    RegisteredModel,
)
from prefect_registry.models.uploading import S3Params
from prefect_registry.resolve import RegistryLike
from prefect_registry.tasks import model_calls


@task(persist_result=False, cache_policy=NO_CACHE)
def register_model(
    name: str,
    uri: str | None = None,
    *,
    version: str | None = None,
    model: Any = UNSET,
    model_format_name: str | None = None,
    model_format_version: str | None = None,
    storage_key: str | None = None,
    storage_path: str | None = None,
    service_account_name: str | None = None,
    model_source_kind: str | None = None,
    model_source_class: str | None = None,
    model_source_group: str | None = None,
    model_source_id: str | None = None,
    model_source_name: str | None = None,
    author: str | None = None,
    owner: str | None = None,
    version_description: str | None = None,
    description: str | None = None,
    metadata: Mapping[str, bool | int | float | str] | None = None,
    external_id: str | None = None,
    artifacts: Sequence[Artifact] = (),
    card: str | os.PathLike[str] | None = None,
    aliases: Sequence[str] = (),
    materializer: Any = None,
    reason: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> RegisteredModel:
    """Register a version of a model. See :meth:`prefect_registry.models.ModelRegistry.register_model`.

    In a run it is staged, the object of ``model`` with it, and published with the run; by itself, at once.
    """
    given = {
        "version": version, "model_format_name": model_format_name, "model_format_version": model_format_version,
        "storage_key": storage_key, "storage_path": storage_path, "service_account_name": service_account_name,
        "model_source_kind": model_source_kind, "model_source_class": model_source_class,
        "model_source_group": model_source_group, "model_source_id": model_source_id,
        "model_source_name": model_source_name, "owner": owner, "version_description": version_description,
        "description": description, "metadata": metadata, "external_id": external_id, "artifacts": artifacts,
        "card": card, "aliases": aliases, "materializer": materializer, "reason": reason,
    }  # fmt: skip
    return model_calls.register_model(name, uri, model, author, given, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def upload_artifact_and_register_model(
    name: str,
    model_files_path: str | os.PathLike[str],
    *,
    version: str | None = None,
    upload_params: S3Params | None = None,
    author: str | None = None,
    owner: str | None = None,
    model_format_name: str | None = None,
    model_format_version: str | None = None,
    storage_key: str | None = None,
    storage_path: str | None = None,
    service_account_name: str | None = None,
    version_description: str | None = None,
    metadata: Mapping[str, bool | int | float | str] | None = None,
    model_source_kind: str | None = None,
    model_source_class: str | None = None,
    model_source_group: str | None = None,
    model_source_id: str | None = None,
    model_source_name: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> RegisteredModel:
    """Upload files to a bucket, and register them as a version.
    See :meth:`prefect_registry.models.ModelRegistry.upload_artifact_and_register_model`.

    What is uploaded elsewhere stays there when the run around it is rolled back; ``register_model(…, model=path)``
    keeps the files in the registry, where it does not.
    """
    given = {
        "version": version, "owner": owner, "model_format_name": model_format_name,
        "model_format_version": model_format_version, "storage_key": storage_key, "storage_path": storage_path,
        "service_account_name": service_account_name, "version_description": version_description,
        "metadata": metadata, "model_source_kind": model_source_kind, "model_source_class": model_source_class,
        "model_source_group": model_source_group, "model_source_id": model_source_id,
        "model_source_name": model_source_name,
    }  # fmt: skip
    return model_calls.upload_artifact_and_register_model(
        name, model_files_path, upload_params, author, given, run_id, registry
    )


@task(persist_result=False, cache_policy=NO_CACHE)
def register_hf_model(
    repo: str,
    path: str,
    *,
    version: str | None = None,
    model_format_name: str | None = None,
    model_format_version: str | None = None,
    author: str | None = None,
    owner: str | None = None,
    model_name: str | None = None,
    version_description: str | None = None,
    git_ref: str = "main",
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> RegisteredModel:
    """Register a model that is on the Hugging Face Hub.
    See :meth:`prefect_registry.models.ModelRegistry.register_hf_model`.
    """
    given = {
        "version": version, "model_format_name": model_format_name, "model_format_version": model_format_version,
        "author": author, "owner": owner, "model_name": model_name, "version_description": version_description,
        "git_ref": git_ref,
    }  # fmt: skip
    return model_calls.register_hf_model(repo, path, given, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def update_model(
    model: RegisteredModel | ModelVersion | Artifact,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> Any:
    """Update a model, a version or an artifact. See :meth:`prefect_registry.models.ModelRegistry.update`."""
    return model_calls.update_model(model, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def upsert_registered_model(
    registered_model: RegisteredModel,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> RegisteredModel:
    """Register a model without a version, or update one.
    See :meth:`prefect_registry.models.ModelRegistryAPIClient.upsert_registered_model`.
    """
    return model_calls.upsert_registered_model(registered_model, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def upsert_model_version(
    model_version: ModelVersion,
    registered_model_id: str | None = None,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> ModelVersion:
    """Register a version without artifacts, or update one.
    See :meth:`prefect_registry.models.ModelRegistryAPIClient.upsert_model_version`.
    """
    return model_calls.upsert_model_version(model_version, registered_model_id, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def upsert_model_artifact(
    model_artifact: Artifact,
    model_version_id: str | None = None,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> Artifact:
    """Register an artifact, a metric of an evaluation for example, in a version that is there; or update one.
    See :meth:`prefect_registry.models.ModelRegistryAPIClient.upsert_model_artifact`.
    """
    return model_calls.upsert_model_artifact(model_artifact, model_version_id, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def set_model_alias(
    name: str,
    alias: str,
    version: str,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> str | None:
    """Point an alias of a model at a version; returns where it pointed.
    See :meth:`prefect_registry.models.ModelRegistry.set_alias`.
    """
    return model_calls.set_model_alias(name, alias, version, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def remove_model_alias(
    name: str,
    alias: str,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> None:
    """Remove an alias of a model. See :meth:`prefect_registry.models.ModelRegistry.remove_alias`."""
    model_calls.remove_model_alias(name, alias, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def archive_model(
    name: str,
    version: str | None = None,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> RegisteredModel | ModelVersion:
    """Archive a version, or without one the model. See :meth:`prefect_registry.models.ModelRegistry.archive`."""
    return model_calls.archive_model(name, version, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def restore_model(
    name: str,
    version: str | None = None,
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> RegisteredModel | ModelVersion:
    """Take an archiving back. See :meth:`prefect_registry.models.ModelRegistry.restore`."""
    return model_calls.restore_model(name, version, reason, author, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def set_model_card(
    name: str,
    version: str,
    card: str | os.PathLike[str],
    *,
    reason: str | None = None,
    author: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> DocArtifact:
    """Give a version a model card. See :meth:`prefect_registry.models.ModelRegistry.set_card`."""
    return model_calls.set_model_card(name, version, card, reason, author, run_id, registry)
