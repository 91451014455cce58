"""Registries to test with: in memory, in a folder, and on emulators of object stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_support import FAST

from prefect_registry import Registry
from prefect_registry.testing.servers import Server


@pytest.fixture(params=["memory", "local"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """A new registry; every test that takes it runs in memory and in a folder."""
    if request.param == "memory":
        return Registry(f"memory://{request.node.nodeid}-{tmp_path.name}", settings=FAST)
    return Registry(tmp_path / "registry", settings=FAST)


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    """A new registry in a folder."""
    return Registry(tmp_path / "registry", settings=FAST)


@pytest.fixture
def memory(tmp_path: Path) -> Registry:
    """A new registry in memory."""
    return Registry(f"memory://{tmp_path}", settings=FAST)


@pytest.fixture(params=["seaweedfs", "fake_gcs", pytest.param("azurite", marks=pytest.mark.azure)])
def remote(request: pytest.FixtureRequest) -> Registry:
    """A new registry in a bucket of a real server."""
    server: Server = request.getfixturevalue(request.param)
    return Registry(server.url(), storage_options=server.storage_options, settings=FAST)
