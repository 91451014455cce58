"""Clients of model registries in memory."""

from __future__ import annotations

import pytest
from model_support import client, opened

from prefect_registry import Registry
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.lists import ModelLists


@pytest.fixture
def registry() -> Registry:
    """A new registry in memory."""
    return opened()


@pytest.fixture
def models(registry: Registry) -> ModelRegistry:
    """The high-level client of ``registry``."""
    return client(registry)


@pytest.fixture
def lists(models: ModelRegistry) -> ModelLists:
    """The core calls of ``registry``, synchronously."""
    return models.models
