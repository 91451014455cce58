"""The columns of what a run has read and published, for the events that tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from prefect_registry.errors import InvalidInput, RegistryError
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import manifests, paths
from prefect_registry.ledger.store import Store
from prefect_registry.provenance.captures import HasLedger
from prefect_registry.provenance.standards.openlineage_facts import MOST_FIELDS, DatasetFacts, RunFacts
from prefect_registry.records.datasets import DatasetGeneration

MOST_READ = 20
"""Files whose columns are read for one run; files that share their columns are read once."""
_STAGED = 1
Columns = tuple[tuple[str, str], ...]


def with_columns(registry: HasLedger, facts: RunFacts) -> RunFacts:
    """``facts`` with names and Arrow types of the columns of Parquet datasets in the registry, as far as they can be
    read; of a dataset whose files differ, those of its first file.
    """
    reader = _Reader(registry.ledger.store)
    return replace(facts, inputs=reader.filled(facts.inputs), outputs=reader.filled(facts.outputs))


class _Reader:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Columns] = {}
        self._left = MOST_READ

    def filled(self, datasets: Sequence[DatasetFacts]) -> list[DatasetFacts]:
        return [d if d.fields or not d.version.startswith("ds_") else self._filled(d) for d in datasets]

    def _filled(self, dataset: DatasetFacts) -> DatasetFacts:
        try:
            return replace(dataset, fields=self._columns(dataset.version))
        except (RegistryError, pa.ArrowException, OSError):  # gone, collected, damaged: the rest is worth telling
            return dataset

    def _columns(self, dataset_id: str) -> Columns:
        try:
            run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        except InvalidInput:
            return ()
        document = self._store.peek(paths.dataset_key(run_id, suffix, _STAGED), DatasetGeneration)
        if document is None or document.external:
            return ()
        files = document.files or (
            manifests.load_manifest(self._store, document.manifest) if document.manifest is not None else []
        )
        first = next((file for file in files if file.columns is not None), None)
        if first is None or first.columns is None:
            return ()
        if first.columns not in self._known:
            if not self._left:
                return ()
            self._left -= 1
            self._known[first.columns] = self._read(paths.dataset_prefix(run_id, suffix) + first.path)
        return self._known[first.columns]

    def _read(self, key: str) -> Columns:
        with self._store.storage.open(key) as file:
            schema = pq.read_schema(file)
        return tuple((field.name, str(field.type)) for field in schema)[:MOST_FIELDS]
