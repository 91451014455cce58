"""The Prefect server, and a fresh store for every test of the Prefect layer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect_support import HERE, Server
from process_forks import Forks

from prefect_registry.registry import Registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.prefect)


@pytest.fixture(scope="session")
def server(prefect_server: str) -> Server:
    """The API of a real server, which this process and its children use."""
    return Server(prefect_server)


@pytest.fixture(scope="session")
def forks(server: Server) -> Iterator[Forks]:
    """What starts the processes of ``process_flows``."""
    forks = Forks(HERE / "process_flows.py")
    yield forks
    forks.end()


@pytest.fixture
def store(tmp_path: Path, server: Server) -> Registry:
    """An empty registry in a folder."""
    return Registry(tmp_path / "store")
