"""What a run reads through the registry, written down while it happens; and what nobody can read any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prefect_registry.errors import InvalidState, StorageError
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.datasets import LATER_STATES


class Made(Protocol):
    """A dataset: its id, and the run that made it."""

    @property
    def id(self) -> str:
        """Names it."""

    @property
    def run_id(self) -> str:
        """Made it."""


class Usage:
    """Tells the surrounding run of the datasets that are read in it, and of what nobody can read any more."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def note(self, datasets: Iterable[Made]) -> None:
        """Some datasets are about to be read. Outside any run, and for a run's own datasets, nothing is noted."""
        run_id = self._ledger.surrounding()
        if run_id is not None:
            self._ledger.used.note(run_id, (d.id for d in datasets if d.run_id != run_id))

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
