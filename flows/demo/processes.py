"""The processes of the demo: started, waited for, and ended with everything that they started, come what may."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_STOP_SECONDS = 5.0
_TAIL_BYTES = 3_000


class DidNotStart(RuntimeError):
    """A process ended, or was not ready in time; with the end of its log."""


class Child:
    """A process that leads a group of its own, with its log in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until ``ready``. Raises :class:`DidNotStart`."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DidNotStart(f"{self.name} did not start. Its log ends:\n{self.tail()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """``kill -9`` of it and of all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End the whole group: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def child(
    name: str, arguments: list[str], environment: Mapping[str, str], folder: Path, python: str = sys.executable
) -> Iterator[Child]:
    """Run this Python with ``arguments``; ended when the block is left, or when this process dies."""
    log = folder / f"{name.replace(' ', '-')}.log"
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [python, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    started = Child(name, process, log)
    try:
        yield started
    finally:
        started.stop()


def answers(url: str) -> bool:
    """Whether a web server answers."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc().prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if sys.platform == "linux":
    _libc()  # loaded before any fork


def end_politely() -> None:
    """Let SIGTERM and SIGHUP unwind this process like Ctrl-C, so that its children are ended too."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
