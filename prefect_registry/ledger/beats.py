"""Heartbeats of the runs this process owns, from a thread of their own (DESIGN.md P7)."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time

from prefect_registry.errors import ConfigurationError
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.records.runs import Begin, Heartbeat, Holder

log = logging.getLogger("prefect_registry")

_IDLE_SECONDS = 10.0
"""How long the thread waits for another run before it ends, and how long it sleeps at most: nobody wakes it when the
last run is closed, and while it sleeps it keeps the registry, and its connections, of whoever has let go of it.
"""


class Beats:
    """Beats every lease/3 for each open run; a beat that finds its run decided stops it.

    The thread is a daemon and belongs to one process: after a fork the child beats for nothing, since the runs are
    its parent's.
    """

    def __init__(self, store: Store, enabled: bool = True) -> None:
        self._store = store
        self._enabled = enabled
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._due: dict[str, tuple[float, float, int]] = {}
        self._signed: dict[str, float] = {}
        self._wake = threading.Condition()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"_store": self._store, "_enabled": self._enabled}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._reset()

    def start(self, begin: Begin) -> None:
        """Keep ``begin``'s run alive until :meth:`stop`, or until it is found decided.

        Raises ``ConfigurationError`` where no thread can be started.
        """
        if not self._enabled:
            return
        if self._pid != os.getpid():
            self._reset()
        every = begin.lease_seconds / 3
        due = time.monotonic() + every
        with self._wake:
            self._due[begin.run_id] = (due, every, 1)
            if self._thread is None or not self._thread.is_alive():
                self._thread = self._started(begin.run_id)
            elif due < self._wakes_at:  # to wake a thread costs as much as all else of beginning a run
                self._wake.notify()

    def _started(self, run_id: str) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="registry-heartbeats", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            del self._due[run_id]
            raise ConfigurationError(
                f"Run {run_id} could not be begun",
                why=f"Its lease is kept by a thread, and this process can start no more of them: {error}",
                todo="Raise the limit of processes and threads (of the container, or ulimit -u), or start fewer",
                committed="no",
                run_id=run_id,
            ) from error
        return thread

    def stop(self, run_id: str) -> None:
        """No more beats for that run."""
        self._signed.pop(run_id, None)
        if self._pid == os.getpid():
            with self._wake:
                self._due.pop(run_id, None)

    def work_on(self, begin: Begin) -> None:
        """This process is about to write into a run: if the one that began it has ended, that is the sign of life.

        At most one beat in a third of the lease, and none but for work: so a worker that lives on does not hold a run
        for ever that nobody will close.
        """
        if not self._enabled or begin.holder == self._store.holder():
            return
        if self._pid != os.getpid():
            self._reset()
        now = time.monotonic()
        if self._signed.get(begin.run_id, -math.inf) + begin.lease_seconds / 3 > now:
            return
        if self._store.is_gone(begin.holder):
            self._signed[begin.run_id] = now
            self._beat(begin.run_id, int(self._store.clock.now().timestamp() * 1000))

    def sign(self, begin: Begin) -> None:
        """One beat, now, for a run that belongs to no process."""
        self._beat(begin.run_id, int(self._store.clock.now().timestamp() * 1000), begin.holder)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._due:
                    self._sleep(_IDLE_SECONDS)
                    if not self._due:
                        self._thread = None
                        return
                run_id, (due, every, beat) = min(self._due.items(), key=lambda item: item[1][0])
                pause = due - time.monotonic()
                if pause > 0:
                    self._sleep(min(pause, _IDLE_SECONDS))
                    continue
                self._due[run_id] = (time.monotonic() + every, every, beat + 1)
            self._beat(run_id, beat)

    def _sleep(self, seconds: float) -> None:
        self._wakes_at = time.monotonic() + seconds
        self._wake.wait(timeout=seconds)

    def _beat(self, run_id: str, beat: int, holder: Holder | None = None) -> None:
        try:
            if self._store.decision(run_id) is not None:
                self.stop(run_id)
                return
            document = Heartbeat(
                write_id=self._store.ids.write_id(),
                run_id=run_id,
                beat=beat,
                at=self._store.clock.now(),
                holder=holder or self._store.holder(),
            )
            self._store.storage.put(paths.heartbeat_key(run_id), document.encode())
        except Exception as error:  # whatever it is: the thread must live, for the sake of the other runs
            # A missed beat is no failure of the run: the next one comes in a third of the lease.
            with contextlib.suppress(Exception):
                log.warning("The heartbeat of %s failed and will be tried again: %s", run_id, error)
