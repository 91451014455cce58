"""Taking turns among processes and threads, by a lock on a file: it saves work, and nothing relies on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect_registry.clock import Clock

try:
    import fcntl
except ImportError:  # Windows: nobody waits
    fcntl = None  # type: ignore[assignment]

_SHORTEST, _LONGEST = 0.01, 0.25


@contextmanager
def turn_at(path: Path, seconds: float, clock: Clock) -> Iterator[bool]:
    """Hold the lock of ``path`` in this block, or go on without it when ``seconds`` have passed: False says that.

    The system frees the lock when its holder dies. Where there are no locks, everybody has it. The folder must exist,
    and nobody ever removes the file. Raises ``OSError``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        held = _locked(descriptor)
        deadline, pause = clock.monotonic() + seconds, _SHORTEST
        while not held and clock.monotonic() < deadline:
            clock.sleep(pause)
            pause = min(2 * pause, _LONGEST)
            held = _locked(descriptor)
        try:
            yield held
        finally:
            _unlock(descriptor)  # closing is not enough: a child that was forked meanwhile has the file open too
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a filesystem without locks
        pass
    return True


def _unlock(descriptor: int) -> None:
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
