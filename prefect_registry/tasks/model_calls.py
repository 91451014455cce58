"""What the tasks of the model registry do: plain functions, for the reason that :mod:`~prefect_registry.tasks.calls`
gives.

``given`` holds the other arguments of the method of that name, ``author`` is who registers or changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.comparing import Comparison
from prefect_registry.models.histories import HistoryEntry
from prefect_registry.models.resources import (
    Artifact,
    DocArtifact,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
    Unset,
)
from prefect_registry.models.uploading import S3Params
from prefect_registry.resolve import RegistryLike, resolve_registry
from prefect_registry.runs.attempts import leave_no_cached_result
from prefect_registry.tasks.where import run_id_or_none


def register_model(
    name: str,
    uri: str | None,
    model: Any,
    author: str | None,
    given: Mapping[str, Any],
    run_id: str | None,
    registry: RegistryLike | None,
) -> RegisteredModel:
    """Register a version."""
    kept = {} if isinstance(model, Unset) else {"model": model}
    return _writing(registry, author).register_model(
        name, uri, author=author, **kept, **given, run_id=run_id_or_none(run_id, registry)
    )


def upload_artifact_and_register_model(
    name: str,
    model_files_path: str | os.PathLike[str],
    upload_params: S3Params | None,
    author: str | None,
    given: Mapping[str, Any],
    run_id: str | None,
    registry: RegistryLike | None,
) -> RegisteredModel:
    """Upload files, and register them."""
    return _writing(registry, author).upload_artifact_and_register_model(
        name, model_files_path, upload_params=upload_params, author=author, **given,
        run_id=run_id_or_none(run_id, registry),
    )  # fmt: skip


def register_hf_model(
    repo: str, path: str, given: Mapping[str, Any], run_id: str | None, registry: RegistryLike | None
) -> RegisteredModel:
    """Register a model of the Hugging Face Hub."""
    return _writing(registry).register_hf_model(repo, path, **given, run_id=run_id_or_none(run_id, registry))


def update_model(
    model: Any, reason: str | None, author: str | None, run_id: str | None, registry: RegistryLike | None
) -> Any:
    """Update a model, a version or an artifact."""
    return _writing(registry, author).update(model, reason=reason, run_id=run_id_or_none(run_id, registry))


def upsert_registered_model(
    registered_model: RegisteredModel,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> RegisteredModel:
    """Register or update a model."""
    return _writing(registry, author).models.upsert_registered_model(
        registered_model, reason=reason, run_id=run_id_or_none(run_id, registry)
    )


def upsert_model_version(
    model_version: ModelVersion,
    registered_model_id: str | None,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> ModelVersion:
    """Register or update a version."""
    return _writing(registry, author).models.upsert_model_version(
        model_version, registered_model_id, reason=reason, run_id=run_id_or_none(run_id, registry)
    )


def upsert_model_artifact(
    model_artifact: Artifact,
    model_version_id: str | None,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> Artifact:
    """Register or update an artifact."""
    return _writing(registry, author).models.upsert_model_artifact(
        model_artifact, model_version_id, reason=reason, run_id=run_id_or_none(run_id, registry)
    )


def set_model_alias(
    name: str,
    alias: str,
    version: str,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> str | None:
    """Move an alias."""
    return _writing(registry, author).set_alias(
        name, alias, version, reason=reason, run_id=run_id_or_none(run_id, registry)
    )


def remove_model_alias(
    name: str,
    alias: str,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> None:
    """Remove an alias."""
    _writing(registry, author).remove_alias(name, alias, reason=reason, run_id=run_id_or_none(run_id, registry))


def archive_model(
    name: str,
    version: str | None,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> RegisteredModel | ModelVersion:
    """Archive a version, or a model."""
    return _writing(registry, author).archive(name, version, reason=reason, run_id=run_id_or_none(run_id, registry))


def restore_model(
    name: str,
    version: str | None,
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> RegisteredModel | ModelVersion:
    """Take an archiving back."""
    return _writing(registry, author).restore(name, version, reason=reason, run_id=run_id_or_none(run_id, registry))


def set_model_card(
    name: str,
    version: str,
    card: str | os.PathLike[str],
    reason: str | None,
    author: str | None,
    run_id: str | None,
    registry: RegistryLike | None,
) -> DocArtifact:
    """Give a version a card."""
    return _writing(registry, author).set_card(
        name, version, card, reason=reason, run_id=run_id_or_none(run_id, registry)
    )


# -- reading ---------------------------------------------------------------------------------------------------------


def get_registered_model(name: str, run_id: str | None, registry: RegistryLike | None) -> RegisteredModel | None:
    """A model."""
    return _models(registry).get_registered_model(name, run_id=run_id_or_none(run_id, registry))


def get_model_version(
    name: str, version: str, run_id: str | None, registry: RegistryLike | None
) -> ModelVersion | None:
    """A version."""
    return _models(registry).get_model_version(name, version, run_id=run_id_or_none(run_id, registry))


def get_model_artifact(
    name: str, version: str, run_id: str | None, registry: RegistryLike | None
) -> ModelArtifact | None:
    """The trained model of a version."""
    return _models(registry).get_model_artifact(name, version, run_id=run_id_or_none(run_id, registry))


def compare_models(
    name: str, first: str, second: str, second_name: str | None, run_id: str | None, registry: RegistryLike | None
) -> Comparison:
    """What differs between two versions."""
    run = run_id_or_none(run_id, registry)
    return _models(registry).compare(name, first, second, second_name=second_name, run_id=run)


def model_history(
    name: str, version: str | None, run_id: str | None, registry: RegistryLike | None
) -> list[HistoryEntry]:
    """Every change."""
    return _models(registry).history(name, version, run_id=run_id_or_none(run_id, registry))


def load_model(
    name: str, version: str, options: Mapping[str, Any], run_id: str | None, registry: RegistryLike | None
) -> Any:
    """Load the object of a version."""
    return _models(registry).load(name, version, run_id=run_id_or_none(run_id, registry), **options)


def _models(registry: RegistryLike | None, author: str | None = None) -> ModelRegistry:
    return ModelRegistry(resolve_registry(registry), author=author)


def _writing(registry: RegistryLike | None, author: str | None = None) -> ModelRegistry:
    leave_no_cached_result()
    return _models(registry, author)
