"""Requests of threads on an event loop: what comes back, when they are cut off, and where they may not be sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from fsspec.exceptions import FSTimeoutError

from prefect_registry.storage.looping import Request


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def echo(value: object) -> object:
    """Gives back what it gets, and raises an error."""
    await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value


def test_answers_and_errors_come_to_who_waits(loop: asyncio.AbstractEventLoop) -> None:
    """Several can be under way; each waits for its own."""
    requests = [Request(loop, echo, (i,), 10) for i in range(3)]
    failing = Request(loop, echo, (KeyError("x"),), 10)
    assert [request.answer() for request in reversed(requests)] == [2, 1, 0]
    with pytest.raises(KeyError, match="x"):
        failing.answer()


def test_a_request_is_cut_off_at_its_time_limit(loop: asyncio.AbstractEventLoop) -> None:
    """It ends on the loop too, and leaves nothing there."""
    ended = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(FSTimeoutError):
        Request(loop, endless, (), 0.05).answer()
    assert ended.is_set()


def test_a_loop_never_waits_for_itself(loop: asyncio.AbstractEventLoop) -> None:
    """It would wait without end; a closed one is told too."""

    async def wait() -> None:
        Request(loop, echo, (1,), 10).answer()

    with pytest.raises(RuntimeError, match="event loop that sends it"):
        Request(loop, wait, (), 10).answer()
    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        Request(closed, echo, (1,), 10)
