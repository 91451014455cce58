"""What the tests of blocks and of the choice of a registry share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from prefect_registry.resolve import lookup


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the registry, and nothing remembered from the test before."""
    for name in list(os.environ):
        if name.startswith(("PREFECT_REGISTRY_", "PREFECT_INTEGRATIONS_REGISTRY_")):
            monkeypatch.delenv(name)
    lookup.forget()
    yield
    lookup.forget()
