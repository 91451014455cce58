"""Locks that nobody can leave locked for ever: of threads, which a fork frees, and of files, which the system frees."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no locks of files
    fcntl = None  # type: ignore[assignment]

FILE_LOCKS = fcntl is not None
"""Whether this system has locks of files that end with their process."""


class ForkSafeLock:
    """A mutual exclusion for threads of one process. In a forked child it starts out free, whoever held it in the
    parent: what it guards must bear that (caches and counters do). Pickles as a new lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _all.add(self)

    def __reduce__(self) -> tuple[type[ForkSafeLock], tuple[()]]:
        return (ForkSafeLock, ())

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Start out free. Only for a process that has one thread."""
        self._lock = threading.Lock()


_all: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_all):
        lock.renew()


if hasattr(os, "register_at_fork"):  # Windows cannot fork
    os.register_at_fork(after_in_child=_renew_all)


def lock_file(path: Path, create: bool, needed: bool = True) -> int | None:
    """The locked descriptor of ``path``, or None when another holds it or the file vanished meanwhile.

    Whoever gets it has proof that its last holder is gone: the lock ends with the process, however that ends.

    Args:
        create: Whether the file is made if it is not there.
        needed: Without it, a descriptor is returned for a file that is created where there are no locks (Windows, some
            network disks): good for a folder that has one owner for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
    except FileNotFoundError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif needed:
            os.close(descriptor)
            return None
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (FileNotFoundError, BlockingIOError):
        pass
    except OSError:  # a filesystem without locks
        if create and not needed:
            return descriptor
    os.close(descriptor)
    return None
