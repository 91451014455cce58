"""Finding datasets, in whatever state they are (the table of states in DESIGN.md 4)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime

from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.usage import Usage
from prefect_registry.errors import IntegrityError, NotFound
from prefect_registry.ids import is_run_id, parse_inner_id
from prefect_registry.ledger import manifests, paths
from prefect_registry.ledger.journal import RunEntry
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.names import key_of
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration, DatasetState, later_state


class Finding:
    """Reads datasets of one registry."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.store = ledger.store
        self.usage = Usage(ledger)

    def get(self, dataset_id: str) -> Dataset:
        """One dataset in its present state, whatever that is. Raises ``NotFound``."""
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        found = self.highest(run_id, suffix)
        if found is None:
            raise unknown_dataset(dataset_id)
        return self.view(found)

    def highest(self, run_id: str, suffix: str) -> DatasetGeneration | None:
        """The newest generation of a dataset, read from the store now; None when it was never begun."""
        prefix = paths.dataset_key(run_id, suffix, 0).rpartition("/")[0] + "/"
        keys = paths.generations(self.store.storage.list(prefix))
        return self.checked(self.store.read(keys[-1], DatasetGeneration), keys[-1]) if keys else None

    def checked(self, document: DatasetGeneration, key: str) -> DatasetGeneration:
        """A generation that says what its key says, else ``IntegrityError``: nothing may point into another run."""
        run_id, suffix = document.run_id, document.dataset_id[-16:]
        if not is_run_id(run_id) or key != paths.dataset_key(run_id, suffix, document.gen):
            raise IntegrityError(
                f"{key} is not the generation of a dataset that its key names",
                why=f"It says that it is generation {document.gen} of {document.dataset_id} in {document.run_id}",
                todo="Somebody changed the store behind the registry's back; restore the object from a backup",
            )
        return document

    def _folder_of(self, document: DatasetGeneration) -> str:
        """The URL of a dataset's folder: where the store lies now, whatever it was called when it was written."""
        prefix = paths.dataset_prefix(document.run_id, document.dataset_id[-16:])
        return f"{self.store.storage.url}/{prefix.rstrip('/')}"

    def view(self, document: DatasetGeneration, state: DatasetState | None = None) -> Dataset:
        """A generation as readers see it; the state is derived unless it is known."""
        if state is None:
            document, state = self._derive(document)
            state = self.later_state(document.dataset_id) if state == "READY" else state
        files = document.files
        if document.manifest is not None and state in ("READY", "STAGED", "ARCHIVED"):
            files = manifests.load_manifest(self.store, document.manifest)
        manifests.check_stored(files, f"dataset {document.dataset_id}")
        return Dataset(
            id=document.dataset_id,
            kind=document.kind,
            run_id=document.run_id,
            state=state,
            mode=document.mode,
            partition=copy.copy(document.partition),
            root=document.root if document.external else self._folder_of(document),
            external=document.external,
            rows=document.rows,
            bytes=document.bytes,
            files=tuple(files),
            created_at=document.begun_at,
            committed_at=document.at if document.step == "staged" else None,
            key=document.key,
            task_run=document.task_run,
            tags=dict(document.tags),
            partitioning=dict(document.partitioning),
            store=self.store,
            usage=self.usage,
        )

    def _derive(self, document: DatasetGeneration) -> tuple[DatasetGeneration, DatasetState]:
        """The generation that counts, and its state but for what a tombstone made of it."""
        run_id, suffix = document.run_id, document.dataset_id[-16:]
        outcome = self.ledger.outcomes.effective(run_id)
        if outcome == "aborted":
            return document, "ROLLED_BACK"
        end = self.store.decision(run_id)
        if end is not None:  # what the decision lists counts, and nothing that landed later
            gen = self.store.members(end).datasets.get(suffix)
            if gen is None:
                return document, "ROLLED_BACK"
            document = self.store.read(paths.dataset_key(run_id, suffix, gen), DatasetGeneration)
        if document.step == "rolled_back":
            return document, "ROLLED_BACK"
        if outcome is None:
            return document, "PENDING" if document.step == "begun" else "STAGED"
        return document, "READY"

    def later_state(self, dataset_id: str, as_of: datetime | None = None) -> DatasetState:
        """READY, or what a tombstone made of it."""
        latest = self.ledger.cells.latest(LATER_STATES, dataset_id, as_of=as_of)
        return later_state(latest.value) if latest is not None else "READY"

    def all(self, entries: Mapping[str, RunEntry], until: datetime | None = None) -> Iterator[Dataset]:
        """Every dataset in these entries, in their order; with ``until``, only steps that were taken by then."""
        later = {key.split("/")[2] for key in paths.generations(self.store.storage.list(f"cells/{LATER_STATES}/"))}
        wanted = [(r, s, g) for r, e in entries.items() for s, g in sorted(e.datasets.items())]
        for start in range(0, len(wanted), 200):
            batch = wanted[start : start + 200]
            keys = [paths.dataset_key(r, s, g) for r, s, g in batch]
            for where, document in zip(keys, self.store.read_many(keys, DatasetGeneration), strict=True):
                step = self._step_at(self.checked(document, where), until) if document is not None else None
                if step is not None:
                    yield self._view_at(step, key_of(step.dataset_id) in later, until)

    def _step_at(self, document: DatasetGeneration, until: datetime | None) -> DatasetGeneration | None:
        while until is not None and document.at > until:
            if not document.gen:
                return None
            key = paths.dataset_key(document.run_id, document.dataset_id[-16:], document.gen - 1)
            document = self.store.read(key, DatasetGeneration)
        return document

    def _view_at(self, document: DatasetGeneration, has_later_states: bool, until: datetime | None) -> Dataset:
        document, state = self._derive(document)
        if state == "READY" and has_later_states:
            state = self.later_state(document.dataset_id, until)
        return self.view(document, state)


def unknown_dataset(dataset_id: str) -> NotFound:
    """The error for the id of a dataset that is not here."""
    return NotFound(
        f"There is no dataset {dataset_id} in this registry",
        todo="Check the id, and that it is the same registry that begin_dataset was called on",
        committed="no",
        dataset_id=dataset_id,
    )
