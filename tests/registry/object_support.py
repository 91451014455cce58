"""What the tests of objects and housekeeping share: a registry whose clock can be set forward."""

from __future__ import annotations

from typing import Any

import pytest
from registry_support import FAST, Later

from prefect_registry import Registry
from prefect_registry.errors import AccessDenied
from prefect_registry.ids import random_token
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.faults import FaultyStorage, error_before

LARGE = 20_000
"""Bytes that do not fit the record."""


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def storage(clock: Later) -> MemoryStorage:
    return MemoryStorage(f"memory://objects-{random_token()}", clock=clock)


def opened(storage: Any, clock: Later, **options: Any) -> Registry:
    """A registry with versioned objects, as another process would open it."""
    options = {"version_objects": True, **options}
    return Registry(storage, settings=FAST, clock=clock, heartbeats=False, use_cache=False, **options)


@pytest.fixture
def store(storage: MemoryStorage, clock: Later) -> Registry:
    return opened(storage, clock)


@pytest.fixture
def mutable(storage: MemoryStorage, clock: Later) -> Registry:
    return opened(storage, clock, mutable=True)


def refusing(storage: Storage, name: str, version: str) -> FaultyStorage:
    """A store that takes the bytes of that version, and never its record."""
    key = f"cells/object/{name}/{version}/*"
    return FaultyStorage(storage, error_before(lambda: AccessDenied("planned", key=key), method="create", key=key))


def large(value: int) -> bytes:
    """An object whose bytes are a file, different for each value."""
    return bytes([value]) * LARGE


def folders(registry: Registry) -> list[str]:
    """The folders of data, as run and suffix."""
    return sorted({"/".join(o.key.split("/")[3:5]) for o in registry.storage.list("data/")})


def payload_of(registry: Registry, name: str, gen: int = 0) -> str:
    """Run and suffix of the files of a version."""
    found = registry.ledger.cells.generation(OBJECT, name, gen)
    assert found is not None
    return f"run_{found.value['payload'][3:29]}/{found.value['payload'][-16:]}"


class Files(dict[str, bytes]):
    """Several files that are one object."""


class FilesForm(Materializer):
    """Saves :class:`Files` as they are."""

    name = "test.files"

    def save(self, value: Any) -> Payload:
        return Payload([Part(path, data) for path, data in value.items()])

    def load(self, payload: StoredPayload) -> Files:
        return Files({path: payload.read(path) for path in payload.paths()})
