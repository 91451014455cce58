from __future__ import annotations

from pathlib import Path

import pytest

from prefect_registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry in memory."""
    return Registry(f"memory://{tmp_path}", use_cache=False)
