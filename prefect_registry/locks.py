"""A lock that a fork cannot leave locked for ever."""

from __future__ import annotations

import os
import threading
import weakref


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
