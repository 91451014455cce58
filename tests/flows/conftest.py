"""Flows are no part of the installed package: they are imported from the repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from prefect_registry import Registry  # noqa: E402


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry in a folder."""
    return Registry(tmp_path / "store")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An empty folder for files to ingest."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder
