"""What a run reads, written down while it happens: its lineage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Literal

from prefect_registry.errors import InvalidState
from prefect_registry.ledger.events import Events

MOST_PER_RECORD = 10_000
"""How many ids fit one document."""


class Told:
    """Tells runs of what is read in them.

    Each id is told once per process and run, by a document that is a member of the run: what an aborted run has read is
    no lineage of anything.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._told: tuple[str, set[str]] = ("", set())

    def __getstate__(self) -> dict[str, Any]:
        return {"_events": self._events, "_told": ("", set())}

    def note(self, run_id: str, ids: Iterable[str], of: Literal["datasets", "objects"] = "datasets") -> None:
        """Some datasets, or versions of objects (``name@version``), are about to be read in a run."""
        if self._told[0] != run_id:
            self._told = (run_id, set())
        told = self._told[1]
        new = list(dict.fromkeys(i for i in ids if i not in told))
        for start in range(0, len(new), MOST_PER_RECORD):
            part = new[start : start + MOST_PER_RECORD]
            with contextlib.suppress(InvalidState):  # the run is decided: what it still reads is no part of it
                self._events.used(run_id, *((part, ()) if of == "datasets" else ((), part)))
        told.update(new)
