"""A lock that a fork cannot leave locked for ever."""

from __future__ import annotations

import os
import threading


class ForkSafeLock:
    """A mutual exclusion for threads of one process. In a forked child it starts out free, whoever held it in the
    parent: what it guards must bear that (caches and counters do). Pickles as a new lock.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ForkSafeLock], tuple[()]]:
        return (ForkSafeLock, ())

    def __enter__(self) -> None:
        if self._pid != os.getpid():
            self.__init__()  # type: ignore[misc]
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
