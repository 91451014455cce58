"""What the tests of the model registry share: registries in memory, clients on them, and what an error must leave."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from prefect_registry import Registry
from prefect_registry.errors import RegistryError
from prefect_registry.ids import random_token
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.lists import ModelLists

T = TypeVar("T")

FAST = LedgerSettings(undecided_wait_seconds=0.05, younger_wait_seconds=0.02, poll_seconds=0.005)
"""Settings that hardly wait for other runs."""
LARGE = 20_000
"""Bytes that do not fit a record."""
URI = "s3://models/hal.onnx"


class Later:
    """A clock that can be set forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead.total_seconds()

    def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


def opened(place: Any = None, **options: Any) -> Registry:
    """A registry in memory, or as another process would open it; a new one without ``place``."""
    place = place if place is not None else f"memory://models-{random_token()}"
    return Registry(place, **{"settings": FAST, "heartbeats": False, "use_cache": False, **options})


def client(registry: Registry | None = None, author: str = "me") -> ModelRegistry:
    """A client of a registry; of a new one without one."""
    return ModelRegistry(registry if registry is not None else opened(), author=author)


def registry_of(models: ModelRegistry | ModelLists) -> Registry:
    """The registry that a client is on."""
    lists = models.models if isinstance(models, ModelRegistry) else models
    return lists.registry


def keys(registry: Registry) -> list[str]:
    """Everything that is stored."""
    return [found.key for found in registry.storage.list("")]


def published(models: ModelRegistry, **asked: Any) -> dict[str, dict[str, list[tuple[str, str | None]]]]:
    """Everything that lists show: of each model its versions, of each version its artifacts by type and name."""
    lists = models.models
    found: dict[str, dict[str, list[tuple[str, str | None]]]] = {}
    for model in models.get_registered_models(states=["LIVE", "ARCHIVED"], **asked):
        versions = models.get_model_versions(model.name, states=["LIVE", "ARCHIVED"], **asked)
        found[model.name] = {
            v.name: sorted(
                (str(a.artifact_type), a.name) for a in lists.get_model_version_artifacts(str(v.id), **asked)
            )
            for v in versions
        }
    return found


def elsewhere(call: Callable[[], T]) -> T:
    """What somebody gets who is in no run, whatever run surrounds this."""
    return contextvars.Context().run(call)


def assert_whole(registry: Registry) -> None:
    """Nothing is damaged, and the index tells the same as the store."""
    report = registry.fsck()
    assert not report.of("error", "warning"), report.findings


@contextlib.contextmanager
def refused(
    expected: type[BaseException] | tuple[type[BaseException], ...], registry: Registry, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises an error that says what, why, what to do, and that nothing was committed; and nothing was."""
    before = keys(registry)
    with pytest.raises(expected, match=match) as caught:
        yield caught
    if isinstance(caught.value, RegistryError):
        assert all(text.strip() and text in str(caught.value) for text in (caught.value.what, caught.value.why))
        assert caught.value.todo.strip()
        assert caught.value.committed == "no"
    assert keys(registry) == before
