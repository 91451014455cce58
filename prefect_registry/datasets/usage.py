"""What a run reads through the registry, written down while it happens; and what nobody can read any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Protocol

from prefect_registry.errors import InvalidState, StorageError
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.datasets import LATER_STATES

MOST_PER_RECORD = 10_000
"""How many ids fit one document."""


class Made(Protocol):
    """A dataset: its id, and the run that made it."""

    @property
    def id(self) -> str:
        """Names it."""

    @property
    def run_id(self) -> str:
        """Made it."""


class Usage:
    """Tells the surrounding run of the datasets that are read in it.

    Each is told once per process and run, by a document that is a member of the run: what an aborted run has read is
    no lineage of anything.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: tuple[str, set[str]] = ("", set())

    def __getstate__(self) -> dict[str, Any]:
        return {"_ledger": self._ledger, "_told": ("", set())}

    def note(self, datasets: Iterable[Made]) -> None:
        """Some datasets are about to be read. Outside any run, and for a run's own datasets, nothing is noted."""
        run_id = self._ledger.surrounding()
        if run_id is None:
            return
        if self._told[0] != run_id:
            self._told = (run_id, set())
        told = self._told[1]
        new = list(dict.fromkeys(d.id for d in datasets if d.run_id != run_id and d.id not in told))
        for start in range(0, len(new), MOST_PER_RECORD):
            with contextlib.suppress(InvalidState):  # the run is decided: what it still reads is no part of it
                self._ledger.events.used(run_id, new[start : start + MOST_PER_RECORD])
        told.update(new)

    def deleted(self, dataset_id: str) -> InvalidState | None:
        """The error for a dataset whose files are not there, if retention has released it; read from the store now,
        whatever state of the past it was found in.
        """
        try:
            found = Ledger(self._ledger.store.thawed(), heartbeats=False).cells.latest(LATER_STATES, dataset_id)
        except StorageError:  # then nobody can say more than that it is missing
            return None
        if found is None or found.value.get("purged") is not True:
            return None
        return InvalidState(
            f"Dataset {dataset_id} is deleted: retention has released it",
            why=found.reason or "No table shows it, and no rule keeps it",
            todo="Read the table as it is now. To keep older states readable, set a rule that keeps more",
            dataset_id=dataset_id,
            run_id=found.tx,
        )
