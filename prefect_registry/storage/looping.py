"""Requests that threads send on the event loop of a client of fsspec.

As ``fsspec.asyn.sync`` does it, but with one task and one lock per request instead of three tasks, two futures and an
event, and with the choice of waiting later: a thread can have a request under way while it sends another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from fsspec.exceptions import FSTimeoutError

T = TypeVar("T")

_INTERRUPTIBLE_SECONDS = 1.0
"""How long a wait for a lock may be: on Windows, Ctrl-C is noticed only between two of them."""


class Request(Generic[T]):
    """A request under way: ``call(*args)`` on ``loop``, cut off after ``seconds``.

    Raises ``RuntimeError`` when the loop is closed, and on its own thread, where waiting would never end.
    """

    __slots__ = ("_answered", "_args", "_call", "_error", "_loop", "_seconds", "_task", "_value")

    _task: asyncio.Task[None]
    _value: T

    def __init__(
        self, loop: asyncio.AbstractEventLoop, call: Callable[..., Awaitable[T]], args: tuple[Any, ...], seconds: float
    ) -> None:
        self._loop, self._call, self._args, self._seconds = loop, call, args, seconds
        self._error: BaseException | None = None
        if asyncio._get_running_loop() is loop:
            raise RuntimeError("A request cannot be waited for on the event loop that sends it")
        self._answered = threading.Lock()
        self._answered.acquire()
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._send())

    async def _send(self) -> None:
        limit = self._loop.call_later(self._seconds, self._give_up)
        try:
            self._value = await self._call(*self._args)
        except asyncio.CancelledError:
            self._error = FSTimeoutError()
        except Exception as error:
            self._error = error
        finally:
            limit.cancel()
            self._answered.release()

    def _give_up(self) -> None:
        self._task.cancel()

    def answer(self) -> T:
        """Wait for the answer; what the request raised is raised here. ``FSTimeoutError`` after the time limit.

        To be called once.
        """
        left = self._seconds + _INTERRUPTIBLE_SECONDS  # for a loop that is too busy to give up in time
        while not self._answered.acquire(timeout=_INTERRUPTIBLE_SECONDS):
            left -= _INTERRUPTIBLE_SECONDS
            if left < 0:
                raise FSTimeoutError
        if self._error is None:
            return self._value
        error, self._error = self._error, None  # no cycle by way of the traceback: it may hold a whole part of a file
        try:
            raise error
        finally:
            del error
