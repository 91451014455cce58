"""What the index says of a table, proved from the decisions in the store before anything is given up for it."""

from __future__ import annotations

from typing import NamedTuple

from prefect_registry.catalog.histories import Published
from prefect_registry.clock import iso
from prefect_registry.datasets.placing import Place
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.service import Datasets
from prefect_registry.datasets.tables import without
from prefect_registry.ledger import paths
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration


class _Standing(NamedTuple):
    """A published dataset by the store: its place in the order of publications, and its newest later state."""

    order: tuple[str, str]
    document: DatasetGeneration
    later: CellGeneration | None

    @property
    def counts(self) -> bool:
        """Whether it hides what it has replaced."""
        if self.later is None:
            return True
        value = self.later.value
        released = value.get("purged") is True and value.get("was") == "READY"
        return released or value.get("state") in ("READY", "ARCHIVED")


class Proofs:
    """Reads decisions, generations and cells: a few requests for each dataset, and for each that hides one."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._hiders: dict[str, _Standing | None] = {}

    def is_hidden(self, kind: str, place: Place) -> bool:
        """Whether a dataset is published, and no part of its table: a revert took it back, or those that
        ``place.hidden_by`` names leave nothing of it.
        """
        found = self._standing(place.dataset, kind)
        if found is None or (found.later is not None and found.later.value.get("purged")):
            return False
        if not place.hidden_by:
            return found.later is not None and not found.counts
        hiders = [self._hider(d, kind) for d in place.hidden_by]
        newer = [h for h in hiders if h is not None and h.counts and h.order > found.order]
        if not found.counts or len(newer) != len(hiders):
            return False
        if any(h.document.mode == "replace" for h in newer):
            return True
        partitions = [h.document.partition or {} for h in newer if h.document.mode == "replace_partitions"]
        return bool(partitions) and without(files_of(self._datasets, place.dataset), partitions) is None

    def _hider(self, dataset: Published, kind: str) -> _Standing | None:
        if len(self._hiders) > 10_000:
            self._hiders.clear()
        if dataset.id not in self._hiders:
            self._hiders[dataset.id] = self._standing(dataset, kind)
        return self._hiders[dataset.id]

    def _standing(self, dataset: Published, kind: str) -> _Standing | None:
        """None when the store does not say that it was published as a dataset of ``kind``."""
        ledger, store, suffix = self._datasets.ledger, self._datasets.store, dataset.id[-16:]
        key = paths.dataset_key(dataset.run_id, suffix, dataset.gen)
        document = store.peek(key, DatasetGeneration)
        end, root = store.decision(dataset.run_id), ledger.outcomes.root_decision(dataset.run_id)
        if document is None or end is None or root is None or ledger.outcomes.effective(dataset.run_id) != "committed":
            return None
        document = self._datasets.checked(document, key)
        listed = store.members(end).datasets.get(suffix) == dataset.gen
        if not listed or document.step != "staged" or document.kind != kind or document.dataset_id != dataset.id:
            return None
        later = ledger.cells.latest(LATER_STATES, dataset.id)
        return _Standing((iso(root.closed_at), root.run_id), document, later)


def files_of(datasets: Datasets, dataset: Published) -> Dataset:
    """A published dataset with its files, whatever became of it since."""
    key = paths.dataset_key(dataset.run_id, dataset.id[-16:], dataset.gen)
    return datasets.view(datasets.checked(datasets.store.read(key, DatasetGeneration), key), "READY")
