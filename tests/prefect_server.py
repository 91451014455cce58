"""One real Prefect server for the whole test process, whichever folders' tests ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

_users = 0
_stack = ExitStack()


@contextmanager
def shared_prefect_server() -> Iterator[str]:
    """Start it for the first user and stop it after the last. Yields its API URL, which is also in the settings."""
    global _users
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    if _users == 0:
        _stack.enter_context(prefect_test_harness(server_startup_timeout=120))
        # Prefect joins its heartbeat thread for a second at the end of every flow run.
        _stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
    _users += 1
    try:
        yield str(PREFECT_API_URL.value())
    finally:
        _users -= 1
        if _users == 0:
            _stack.close()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The API URL of a Prefect server that this process and its children use."""
    with shared_prefect_server() as url:
        yield url
