"""Real object stores as fixtures: each is started once per test session, when the first test asks for it.

A server that cannot start fails the test. The servers themselves are :mod:`prefect_registry.testing.servers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_registry.testing import servers
from prefect_registry.testing.proxies import Proxy
from prefect_registry.testing.servers import Server

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[Server]:
    """S3 whose conditional writes are atomic."""
    with servers.seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """S3 with AWS's error answers; not atomic."""
    with servers.moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[Server]:
    """S3 that ignores the condition of a conditional write."""
    with servers.rclone() as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[Server]:
    """Google Cloud Storage."""
    with servers.fake_gcs() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[Server]:
    """Azure Blob Storage, which `make test-azure` installs."""
    with servers.azurite(REPOSITORY / ".build" / "azurite") as server:
        yield server


@pytest.fixture
def seaweedfs_proxy(seaweedfs: Server) -> Iterator[Proxy]:
    """A proxy before SeaweedFS that can lose answers."""
    with Proxy(seaweedfs.endpoint, stall_seconds=4).running() as proxy:
        yield proxy


@pytest.fixture
def fake_gcs_proxy(fake_gcs: Server) -> Iterator[Proxy]:
    """A proxy before fake-gcs-server that can lose answers."""
    with Proxy(fake_gcs.endpoint, stall_seconds=4).running() as proxy:
        yield proxy


@pytest.fixture
def ignoring_server(moto: Server) -> Iterator[Server]:
    """An S3 server that ignores ``If-None-Match`` and answers 200, as several real ones do."""
    with Proxy(moto.endpoint, drop_headers=frozenset({"if-none-match"})).running() as proxy:
        yield moto.through(proxy.endpoint)
