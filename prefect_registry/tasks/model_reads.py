"""What reads from the model registry, as Prefect tasks: in a run, also what that has staged."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_registry.models.aliasing import LATEST
from prefect_registry.models.comparing import Comparison
from prefect_registry.models.histories import HistoryEntry
from prefect_registry.models.resources import ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.resolve import RegistryLike
from prefect_registry.tasks import model_calls


@task(persist_result=False, cache_policy=NO_CACHE)
def get_registered_model(
    name: str, *, run_id: str | None = None, registry: RegistryLike | None = None
) -> RegisteredModel | None:
    """A registered model, or None. See :meth:`prefect_registry.models.ModelRegistry.get_registered_model`."""
    return model_calls.get_registered_model(name, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def get_model_version(
    name: str, version: str, *, run_id: str | None = None, registry: RegistryLike | None = None
) -> ModelVersion | None:
    """A version of a model, or None. See :meth:`prefect_registry.models.ModelRegistry.get_model_version`."""
    return model_calls.get_model_version(name, version, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def get_model_artifact(
    name: str, version: str, *, run_id: str | None = None, registry: RegistryLike | None = None
) -> ModelArtifact | None:
    """The trained model of a version, where it is. See
    :meth:`prefect_registry.models.ModelRegistry.get_model_artifact`.
    """
    return model_calls.get_model_artifact(name, version, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def compare_models(
    name: str,
    first: str,
    second: str,
    *,
    second_name: str | None = None,
    run_id: str | None = None,
    registry: RegistryLike | None = None,
) -> Comparison:
    """What differs between two versions. See :meth:`prefect_registry.models.ModelRegistry.compare`."""
    return model_calls.compare_models(name, first, second, second_name, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def model_history(
    name: str, version: str | None = None, *, run_id: str | None = None, registry: RegistryLike | None = None
) -> list[HistoryEntry]:
    """Every change of a version, or of a model. See :meth:`prefect_registry.models.ModelRegistry.history`."""
    return model_calls.model_history(name, version, run_id, registry)


@task(persist_result=False, cache_policy=NO_CACHE)
def load_model(
    name: str,
    version: str = LATEST,
    *,
    verify: str = "integrity",
    lazy: bool = False,
    output_dir: str | None = None,
    run_id: str | None = None,
    allow_pickle: bool = False,
    registry: RegistryLike | None = None,
) -> Any:
    """Load the model of a version that is kept in the registry. See
    :meth:`prefect_registry.models.ModelRegistry.load`.
    """
    options = {"verify": verify, "lazy": lazy, "output_dir": output_dir, "allow_pickle": allow_pickle}
    return model_calls.load_model(name, version, options, run_id, registry)
