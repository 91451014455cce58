from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_support import Server, serving

from prefect_registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry in memory."""
    return Registry(f"memory://{tmp_path}", use_cache=False)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, which is asked directly."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with serving() as server:
        yield server
