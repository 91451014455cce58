"""A kind's table: a fold over committed datasets, newest decision first (DESIGN.md P15)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from prefect_registry.asynchronous import twin
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.service import TOMBSTONES, Datasets
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.ledger import paths
from prefect_registry.ledger.journal import PublishedRun
from prefect_registry.records.datasets import DatasetGeneration

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads

_RUNS_AT_A_TIME = 32


@dataclass(frozen=True)
class Table:
    """What readers see of a kind: one whole published state. Newest dataset first."""

    kind: str
    _datasets: Sequence[Dataset] = field(repr=False)

    def datasets(self) -> list[Dataset]:
        """The datasets that make up the table, oldest first, so that appended rows come in order."""
        return list(reversed(self._datasets))

    @property
    def rows(self) -> int | None:
        """Rows of all datasets; None when one of them was not counted."""
        counts = [d.rows for d in self._datasets]
        return None if any(c is None for c in counts) else sum(c for c in counts if c is not None)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(d.bytes for d in self._datasets)

    def files(self) -> list[str]:
        """The URL of every file: what Spark, DuckDB and pandas read."""
        return [url for d in self.datasets() for url in d.urls()]

    def to_table(self, columns: list[str] | None = None, *, verify: bool = True) -> pa.Table:
        """All rows as one pyarrow table; every file's sha256 is checked first unless ``verify=False``."""
        from prefect_registry.datasets.arrow import read_table

        if verify:
            for dataset in self._datasets:
                dataset.verify()
        return read_table(self.datasets(), columns)

    def to_pandas(self, columns: list[str] | None = None) -> Any:
        """All rows as a pandas DataFrame (needs pandas)."""
        return self.to_table(columns).to_pandas()

    def dataset(self) -> pads.Dataset:
        """One lazy pyarrow dataset, for scans that read only what they use. Not verified."""
        from prefect_registry.datasets.arrow import as_dataset

        return as_dataset(self.datasets())

    ato_table = twin(to_table)

    def __len__(self) -> int:
        return len(self._datasets)

    def __repr__(self) -> str:
        rows = "unknown" if self.rows is None else f"{self.rows:,}"
        return f"<Table {self.kind!r}: {len(self)} dataset(s), {rows} rows, {self.bytes:,} bytes>"


class Tables:
    """Computes tables from the journal."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._ledger = datasets.ledger
        self._store = datasets.store

    def table(
        self,
        kind: str,
        run_id: str | None = None,
        published: list[PublishedRun] | None = None,
        as_of: datetime | None = None,
    ) -> Table:
        """The table of ``kind``; inside ``run_id``, with what is staged there on top."""
        published = self._ledger.journal.published() if published is None else published
        groups = self._publications(kind, published, as_of)
        if run_id is not None:
            staged = [d for d in self._staged_inside(run_id) if d.kind == kind]
            groups = iter([staged, *groups])
        return Table(kind, tuple(_fold(groups)))

    def latest(self, kind: str, published: list[PublishedRun] | None = None, as_of: datetime | None = None) -> Dataset:
        """The dataset of ``kind`` that was published last; ``InvalidInput`` with the count if its run had several."""
        published = self._ledger.journal.published() if published is None else published
        newest = next((g for g in self._publications(kind, published, as_of) if g), None)
        if newest is None:
            raise NotFound(f"No dataset of kind {kind!r} is published", todo="Check the kind's spelling")
        if len(newest) > 1:
            raise InvalidInput(
                f"The last run that published {kind!r} published {len(newest)} datasets",
                todo=f"Use table({kind!r}) to read all of them",
            )
        return newest[0]

    def kinds(self, published: list[PublishedRun] | None = None) -> list[str]:
        """Every kind that was ever published, sorted."""
        published = self._ledger.journal.published() if published is None else published
        return sorted({d.kind for batch in self._batches(published) for _, d in batch})

    # -- from runs to publications -------------------------------------------------------------------------------

    def _publications(
        self, kind: str, published: Sequence[PublishedRun], as_of: datetime | None
    ) -> Iterator[list[Dataset]]:
        """The datasets of ``kind`` per root decision, newest first; a run and those nested in it are one."""
        dead = self._tombstoned(published, as_of)
        found = (pair for batch in self._batches(published) for pair in batch)
        for _, group in groupby(found, key=lambda pair: pair[0].publication):
            documents = [d for _, d in group if d.kind == kind and d.dataset_id not in dead]
            yield [self._datasets.view(d, "READY") for d in documents]

    def _batches(self, published: Sequence[PublishedRun]) -> Iterator[list[tuple[PublishedRun, DatasetGeneration]]]:
        for start in range(0, len(published), _RUNS_AT_A_TIME):
            runs = published[start : start + _RUNS_AT_A_TIME]
            members = [
                (run, paths.dataset_key(run.decision.run_id, suffix, gen))
                for run in runs
                for suffix, gen in sorted(self._store.members(run.decision).datasets.items())
            ]
            if members:
                documents = self._store.read_many([key for _, key in members], DatasetGeneration)
                yield [
                    (run, d)
                    for (run, _), d in zip(members, documents, strict=True)
                    if d is not None and d.step == "staged"
                ]

    def _tombstoned(self, published: Sequence[PublishedRun], as_of: datetime | None) -> set[str]:
        """Ids of datasets that a later decision un-published, found in the decisions themselves."""
        cells = {c for run in published for c in self._store.members(run.decision).cells}
        keys = sorted({key for type_, key, _ in cells if type_ == TOMBSTONES})
        calls = [partial(self._datasets.later_state, key, as_of) for key in keys]
        states = self._store.together(calls) if calls else []
        return {key for key, state in zip(keys, states, strict=True) if state == "DELETED"}

    def _staged_inside(self, run_id: str) -> list[Dataset]:
        """Staged datasets visible inside a run: its own, its ancestors', and those of committed nested runs."""
        found: list[Dataset] = []
        entries = self._ledger.journal.entries()
        for entry in entries.values():
            if entry.datasets and self._ledger.outcomes.inside(entry.run_id, run_id):
                found += [d for d in self._datasets.all({entry.run_id: entry}) if d.state == "STAGED"]
        return sorted(found, key=lambda d: d.id, reverse=True)


def _fold(groups: Iterable[list[Dataset]]) -> Iterator[Dataset]:
    """P15: newest publication first; ``replace`` ends it, ``replace_partitions`` hides older datasets of the same
    partition, ``append`` adds.
    """
    hidden: list[dict[str, Any]] = []
    for group in groups:
        shown = [d for d in group if d.partition is None or d.partition not in hidden]
        yield from sorted(shown, key=lambda d: d.id, reverse=True)
        hidden += [d.partition for d in group if d.mode == "replace_partitions" and d.partition is not None]
        if any(d.mode == "replace" for d in group):
            return
