"""A kind's table: a fold over committed datasets, newest decision first (DESIGN.md P15)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from prefect_registry.asynchronous import twin
from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.published import Generation, publications, published_kinds, staged
from prefect_registry.datasets.partitions import left, within
from prefect_registry.datasets.reading import Dataset
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import IntegrityError, InvalidInput, NotFound
from prefect_registry.ledger import paths
from prefect_registry.ledger.journal import PublishedRun
from prefect_registry.notebook import MOST_ROWS, pairs_html, rows_html
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration, DatasetState, Partition, later_state

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
        self._note_used()
        return [url for d in self.datasets() for url in d.urls()]

    def to_table(self, columns: list[str] | None = None, *, verify: bool = True) -> pa.Table:
        """All rows as one pyarrow table; every file's sha256 is checked first unless ``verify=False``."""
        from prefect_registry.datasets.arrow import read_table

        self._note_used()
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

        self._note_used()
        return as_dataset(self.datasets())

    def _note_used(self) -> None:
        if self._datasets:
            self._datasets[0].usage.note(self._datasets)

    ato_table = twin(to_table)

    def __len__(self) -> int:
        return len(self._datasets)

    def _repr_html_(self) -> str:
        names = ("id", "mode", "partition", "rows", "bytes", "created_at")
        newest = [{name: getattr(dataset, name) for name in names} for dataset in self._datasets[:MOST_ROWS]]
        sums = {"datasets": len(self), "rows": self.rows, "bytes": self.bytes}
        return pairs_html(sums, f"Table {self.kind}") + (rows_html(newest, len(self)) if newest else "")

    def __repr__(self) -> str:
        rows = "unknown" if self.rows is None else f"{self.rows:,}"
        return f"<Table {self.kind!r}: {len(self)} dataset(s), {rows} rows, {self.bytes:,} bytes>"


class Tables:
    """Computes tables: of the present from the index, of a snapshot from the runs that it shows."""

    def __init__(self, datasets: Datasets, catalog: Catalog) -> None:
        self._datasets = datasets
        self._catalog = catalog
        self._ledger = datasets.ledger
        self._store = datasets.store

    def table(
        self,
        kind: str,
        run_id: str | None = None,
        published: list[PublishedRun] | None = None,
    ) -> Table:
        """The table of ``kind``; inside ``run_id``, with what is staged there on top."""
        if published is not None:
            return Table(kind, tuple(_fold(self._publications(kind, published))))
        if run_id is None:
            return Table(kind, tuple(_fold(self._current(kind))))
        self._ledger.runs.known(run_id)
        groups, found = self._catalog.ask(
            lambda connection: (list(publications(connection, kind)), staged(connection, kind))
        )
        inside = [generation for generation in found if self._ledger.outcomes.inside(generation.run_id, run_id)]
        own = self._not_taken_back([d for d in self._read(inside) if d.state in ("STAGED", "READY")], run_id)
        return Table(kind, tuple(_fold([own, *self._read_all(groups)])))

    def _not_taken_back(self, found: list[Dataset], run_id: str) -> list[Dataset]:
        """Without datasets of closed runs inside ``run_id`` that were taken back there: their tasks failed."""
        nested = [d for d in found if d.run_id != run_id]
        looks = [partial(self._ledger.cells.latest, LATER_STATES, d.id, run_id) for d in nested]
        later = self._store.together(looks) if looks else []
        gone = {c.name for c in later if c is not None and later_state(c.value) != "READY"}
        return [d for d in found if d.id not in gone]

    def latest(self, kind: str, published: list[PublishedRun] | None = None) -> Dataset:
        """The dataset of ``kind`` that was published last; ``InvalidInput`` with the count if its run had several."""
        groups = self._current(kind) if published is None else self._publications(kind, published)
        newest = next((shown for g in groups if (shown := [d for d in g if d.state != "DELETED"])), None)
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
        if published is None:
            return self._catalog.ask(published_kinds)
        return sorted({d.kind for batch in self._batches(published) for _, d in batch})

    # -- by the index --------------------------------------------------------------------------------------------

    def _current(self, kind: str) -> Iterator[list[Dataset]]:
        """The datasets of ``kind`` per root decision, newest first, up to the one that replaced all before it."""
        return self._read_all(self._catalog.ask(lambda connection: list(publications(connection, kind))))

    def _read_all(self, groups: Iterable[Sequence[Generation]]) -> Iterator[list[Dataset]]:
        for group in groups:
            released = {g for g in group if g.released}
            shown = self._read([g for g in group if g not in released], "READY")
            yield shown + (self._read([g for g in group if g in released], "DELETED") if released else [])

    def _read(self, generations: Sequence[Generation], state: DatasetState | None = None) -> list[Dataset]:
        keys = [paths.dataset_key(g.run_id, g.suffix, g.gen) for g in generations]
        return [self._datasets.view(self._datasets.checked(d, k), state)
                for k, d in zip(keys, self._documents(keys), strict=True)]  # fmt: skip

    def _documents(self, keys: Sequence[str]) -> list[DatasetGeneration]:
        """Generations that are known to exist: a table never goes without one that is lost."""
        documents = self._store.read_many(keys, DatasetGeneration) if keys else []
        for key, document in zip(keys, documents, strict=True):
            if document is None:
                raise IntegrityError(
                    f"{key} is missing, and a dataset with it",
                    why="Nothing of the registry deletes it: it was lost, or the store was put back from a backup that "
                    "is older than the index of this machine",
                    todo="Restore the object; after a backup was put back run 'prefect-registry fsck --repair', which "
                    "builds the index anew",
                    key=key,
                )
        return [document for document in documents if document is not None]

    # -- from runs to publications -------------------------------------------------------------------------------

    def _publications(self, kind: str, published: Sequence[PublishedRun]) -> Iterator[list[Dataset]]:
        """The datasets of ``kind`` per root decision, newest first; a run and those nested in it are one."""
        dead, released = self._tombstoned(published)
        found = (pair for batch in self._batches(published) for pair in batch)
        for _, group in groupby(found, key=lambda pair: pair[0].publication):
            documents = [d for _, d in group if d.kind == kind and d.dataset_id not in dead]
            yield [self._datasets.view(d, "DELETED" if d.dataset_id in released else "READY") for d in documents]

    def _batches(self, published: Sequence[PublishedRun]) -> Iterator[list[tuple[PublishedRun, DatasetGeneration]]]:
        for start in range(0, len(published), _RUNS_AT_A_TIME):
            runs = published[start : start + _RUNS_AT_A_TIME]
            members = [
                (run, paths.dataset_key(run.decision.run_id, suffix, gen))
                for run in runs
                for suffix, gen in sorted(self._store.members(run.decision).datasets.items())
            ]
            if members:
                documents = self._documents([key for _, key in members])
                yield [
                    (run, d)
                    for (run, _), d in zip(members, documents, strict=True)
                    if d.step == "staged" and d.run_id == run.decision.run_id
                ]

    def _tombstoned(self, published: Sequence[PublishedRun]) -> tuple[set[str], set[str]]:
        """Ids of datasets that a later decision un-published, and of those that it released, which still hide what they
        have replaced; by the decisions of this very state alone.

        The newest generation among those that ``published`` lists counts: what is decided meanwhile is another state.
        """
        newest: dict[str, int] = {}
        for run in published:
            for type_, key, gen in self._store.members(run.decision).cells:
                if type_ == LATER_STATES:
                    newest[key] = max(gen, newest.get(key, -1))
        keys = [paths.cell_key(CellRef(LATER_STATES, key), gen) for key, gen in newest.items()]
        found = self._store.read_many(keys, CellGeneration) if keys else []
        gone = [d for d in found if d is not None and d.value.get("state") not in ("READY", "ARCHIVED")]
        released = {d.name for d in gone if d.value.get("purged") is True and d.value.get("was") == "READY"}
        return {d.name for d in gone} - released, released


def _fold(groups: Iterable[list[Dataset]]) -> Iterator[Dataset]:
    """P15, newest publication first: ``replace`` ends it, ``append`` adds.

    ``replace_partitions`` hides what older publications have of its partition: datasets that were given it (or one
    inside it), and files below folders that spell it (``month=7/``). One that was released (DELETED) hides as it did.
    """
    hidden: list[Partition] = []
    for group in groups:
        shown = [rest for d in group if d.state != "DELETED" and (rest := without(d, hidden)) is not None]
        yield from sorted(shown, key=lambda d: (d.created_at, d.id), reverse=True)
        hidden += [d.partition for d in group if d.mode == "replace_partitions" and d.partition is not None]
        if any(d.mode == "replace" for d in group):
            return


def without(dataset: Dataset, hidden: Sequence[Mapping[str, Any]]) -> Dataset | None:
    """What is left of a dataset when newer ones have replaced some partitions; None when nothing is."""
    own = dataset.partition or {}
    if any(within(own, partition) for partition in hidden):
        return None
    if hidden and dataset.external:  # its files are known when it is read
        return replace(dataset, replaced=tuple(hidden), rows=None)
    if not hidden or not any("=" in f.path for f in dataset.files):
        return dataset
    shown = left((f.path for f in dataset.files), own, dataset.partitioning, hidden)
    files = [f for f, is_left in zip(dataset.files, shown, strict=True) if is_left]
    if len(files) == len(dataset.files):
        return dataset
    counts = [f.rows for f in files]
    rows = None if None in counts else sum(c for c in counts if c is not None)
    return replace(dataset, files=tuple(files), rows=rows, bytes=sum(f.size for f in files)) if files else None
