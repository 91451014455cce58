"""Signals while a command is wrapped: passed on to it, kept waiting while something is decided, or raised."""

from __future__ import annotations

import os
import signal
import subprocess
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal asked to end. The text is its name."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


class Signals:
    """What SIGINT, SIGTERM and SIGHUP do meanwhile.

    While a command runs they are passed on to it, and its end is waited for. While a decision is made they wait. Else
    they raise :class:`Interrupted`. A signal that was ignored stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self) -> None:
        """From now on signals are only remembered."""
        self._waits = True

    def pass_on(self, child: subprocess.Popen[bytes]) -> None:
        """From now on signals go to ``child``; also the one that came before."""
        self._child = child
        if self.received is not None:
            child.send_signal(self.received)

    def check(self) -> None:
        """From now on signals raise again; also the one that came meanwhile."""
        self._child, self._waits = None, False
        if self.received is not None:
            self._waits = True  # a second Ctrl-C does not disturb the rollback
            raise Interrupted(self.received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or number
        if self._child is not None:
            if number != signal.SIGINT or not _in_foreground():
                self._child.send_signal(number)
        elif first and not self._waits:
            self._waits = True
            raise Interrupted(number)


def _in_foreground() -> bool:
    """Whether a terminal has sent its Ctrl-C to the command already, as it does to all of the group in front of it."""
    if not hasattr(os, "tcgetpgrp"):  # Windows
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
