"""Beginning, committing, rolling back and finding datasets (reference system 1; DESIGN.md 4, 8, P13)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from prefect_registry.datasets import manifest
from prefect_registry.datasets.manifest import Verify
from prefect_registry.datasets.reading import Dataset, DatasetState
from prefect_registry.errors import AlreadyExists, Conflict, InvalidInput, InvalidState, NotFound, RunAborted
from prefect_registry.ids import encode, parse_inner_id
from prefect_registry.ledger import observers, paths
from prefect_registry.ledger.journal import RunEntry
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.names import name_problems
from prefect_registry.records.base import as_json, json_problems
from prefect_registry.records.datasets import DatasetGeneration, FileEntry, Mode
from prefect_registry.records.runs import failure

MODES = ("replace", "append", "replace_partitions")
TOMBSTONES = "dataset"
"""The type of the cells that hold later states of datasets: a tombstone un-publishes one (``revert``)."""


class Datasets:
    """The datasets of one registry."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.store = ledger.store
        self._written: dict[str, dict[str, FileEntry]] = {}

    # -- begin ---------------------------------------------------------------------------------------------------

    def begin(
        self,
        kind: str,
        run_id: str,
        *,
        mode: Mode | None = None,
        partition: Mapping[str, Any] | None = None,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        task_run: str | None = None,
    ) -> str:
        """A new PENDING dataset of ``run_id``; see ``Registry.begin_dataset``."""
        self._check_arguments(kind, mode, partition, key)
        if not self.ledger.runs.is_known(run_id):
            self.ledger.runs.check_open(run_id, "begin a dataset")
        run = self.ledger.runs.known(run_id)
        on_commit = run.publish == "on_commit"
        now = self.store.clock.now()
        draft: dict[str, Any] = {
            "kind": kind,
            "gen": 0,
            "step": "begun",
            "mode": mode or ("append" if on_commit else "replace"),
            "partition": as_json(partition) if partition is not None else None,
            "key": key,
            "own_run": on_commit,
            "parent_run": run_id if on_commit else None,
            "at": now,
            "begun_at": now,
            "tags": dict(tags or {}),
            "task_run": task_run,
        }
        if on_commit and key is not None:
            raise InvalidInput.of("the dataset", ['key= needs publish="on_close": here every dataset is a run'])
        document = self._begin_in_own_run(run_id, draft) if on_commit else self._begin_in(run_id, draft, key)
        observers.dataset_begun(self.store.storage.url, run_id, document.dataset_id)
        return document.dataset_id

    def _begin_in(self, run_id: str, draft: dict[str, Any], key: str | None) -> DatasetGeneration:
        suffix = self.store.ids.suffix() if key is None else _suffix_of(key, 0)
        for incarnation in range(1, 1_000):
            document = self._document(run_id, suffix, draft)
            where = paths.dataset_key(run_id, suffix, 0)
            try:
                self.ledger.runs.within(run_id, [partial(self.store.create, where, document)], "begin a dataset")
                return document
            except AlreadyExists:
                found = self._highest(run_id, suffix)
                if key is None or found is None or found.kind != draft["kind"] or found.key != key:
                    raise
                if found.step != "rolled_back":
                    return found
                suffix = _suffix_of(key, incarnation)  # a dropped attempt: begin afresh beside it
        raise Conflict(f"The key {key!r} was begun and rolled back too often in {run_id}", committed="no")

    def _begin_in_own_run(self, parent: str, draft: dict[str, Any]) -> DatasetGeneration:
        """``publish="on_commit"``: an isolated run for this dataset alone, begun beside it (P13)."""
        above = self.ledger.runs.check_open(parent, "begin a dataset")
        begin = self.ledger.runs.new(
            RunSpec(
                purpose=above.purpose,
                model_id=above.model_id,
                revision=above.revision,
                config=above.config,
                lease_seconds=above.lease_seconds,
                parent=parent,
                isolated=True,
                implicit=True,
                prefect=above.prefect,
            )
        )
        suffix = self.store.ids.suffix()
        document = self._document(begin.run_id, suffix, draft)
        where = paths.dataset_key(begin.run_id, suffix, 0)
        calls: list[Callable[[], object]] = [
            partial(self.ledger.runs.create_begin, begin),
            partial(self.store.create, where, document),
        ]
        self.store.together(calls)
        self.ledger.beats.start(begin)
        return document

    def _document(self, run_id: str, suffix: str, draft: dict[str, Any]) -> DatasetGeneration:
        return DatasetGeneration(
            write_id=self.store.ids.write_id(),
            dataset_id=f"ds_{run_id[4:]}_{suffix}",
            run_id=run_id,
            root=f"{self.store.storage.url}/{paths.dataset_prefix(run_id, suffix).rstrip('/')}",
            **draft,
        )

    def _check_arguments(self, kind: object, mode: object, partition: object, key: object) -> None:
        problems = list(name_problems(kind, "kind"))
        if mode is not None and mode not in MODES:
            problems.append(f"mode must be one of {', '.join(MODES)}, not {mode!r:.80}")
        if partition is not None and not (isinstance(partition, Mapping) and partition):
            problems.append("partition must be a non-empty mapping of column to value")
        elif partition is not None:
            problems += json_problems(partition, "partition")
        if mode == "replace_partitions" and partition is None:
            problems.append("mode 'replace_partitions' needs partition=, such as {'month': 7}")
        if key is not None:
            problems += name_problems(key, "key")
        if problems:
            raise InvalidInput.of("the dataset", problems)

    # -- commit --------------------------------------------------------------------------------------------------

    def note_written(self, dataset_id: str, entry: FileEntry) -> None:
        """Remember a file that this process hashed while writing it, so that committing need not read it again."""
        self._written.setdefault(dataset_id, {})[entry.path] = entry

    def written(self, dataset_id: str) -> dict[str, FileEntry]:
        """What this process has written into the dataset so far, by path."""
        return dict(self._written.get(dataset_id, {}))

    def commit(
        self,
        dataset_id: str,
        root: str | None,
        rows: int | None,
        *,
        verify: Verify = "full",
        only_ours: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> DatasetGeneration:
        """Stage a dataset: its manifest becomes generation 1. See ``Registry.commit_dataset``.

        ``only_ours`` says that nobody but this process wrote into the folder, so that it need not be listed.
        """
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        _check_rows_argument(rows)
        begun = self._begun(run_id, suffix)
        files, url, external = self._contents(begun, root, verify, only_ours)
        counted = rows if external else manifest.check_rows(files, rows, begun.root)
        reference = manifest.store_manifest(self.store, paths.dataset_prefix(run_id, suffix), files)
        document = begun.model_copy(
            update={
                "write_id": self.store.ids.write_id(),
                "gen": 1,
                "step": "staged",
                "at": self.store.clock.now(),
                "root": url,
                "external": external,
                "rows": counted,
                "bytes": sum(f.size for f in files),
                "file_count": len(files),
                "files": [] if reference else files,
                "manifest": reference,
                "tags": {**begun.tags, **(tags or {})},
            }
        )
        staged = self._stage(document)
        self._written.pop(dataset_id, None)
        if staged.own_run:
            self.ledger.commit(run_id)
        return staged

    def _stage(self, document: DatasetGeneration) -> DatasetGeneration:
        run_id, suffix = document.run_id, document.dataset_id[-16:]
        key = paths.dataset_key(run_id, suffix, 1)
        create = partial(self.store.create, key, document)
        try:
            self.ledger.runs.within(run_id, [create], f"commit dataset {document.dataset_id}")
        except (AlreadyExists, InvalidState) as error:
            found = self._highest(run_id, suffix)
            if found is None or found.gen == 0 or not isinstance(error, AlreadyExists):
                if found is not None and _same(found, document) and self._is_committed(run_id):
                    return found  # committing once more what is published already: nothing to do
                raise
            if found.step == "rolled_back":
                raise InvalidState(
                    f"Dataset {document.dataset_id} was rolled back",
                    why=found.reason or "",
                    todo="Begin a new dataset",
                    committed="no",
                ) from error
            if not _same(found, document):
                raise Conflict(
                    f"Dataset {document.dataset_id} is committed already, with another content",
                    why=f"{found.root}, {found.rows} rows, {found.file_count} files are there",
                    todo="Begin a new dataset for the new content",
                ) from error
            return found
        return document

    def _is_committed(self, run_id: str) -> bool:
        end = self.store.decision(run_id)
        return end is not None and end.committed

    def _begun(self, run_id: str, suffix: str) -> DatasetGeneration:
        """Generation 0, from memory or, in another process than the one that began it, from the store."""
        key = paths.dataset_key(run_id, suffix, 0)
        begun = self.store.peek(key, DatasetGeneration)
        if begun is None:
            raise unknown_dataset(f"ds_{run_id[4:]}_{suffix}")
        return begun

    def _contents(
        self, begun: DatasetGeneration, root: str | None, verify: Verify, only_ours: bool
    ) -> tuple[list[FileEntry], str, bool]:
        """The files under the root, its URL, and whether it lies outside the dataset's own folder."""
        prefix = paths.dataset_prefix(begun.run_id, begun.dataset_id[-16:])
        below = self._place_of(root, prefix) if root is not None else ""
        if below is None:
            assert root is not None
            return [], root, True
        known = self.written(begun.dataset_id)
        if only_ours:
            return manifest.check_files(known.values()), begun.root, False
        return manifest.inspect_folder(self.store, prefix, known, verify), begun.root, False

    def _place_of(self, root: str, prefix: str) -> str | None:
        """The empty string when ``root`` is the dataset's own folder, None when it lies outside the registry."""
        if not isinstance(root, str) or not root:
            raise InvalidInput.of("parquet_root", ["parquet_root must be a non-empty URL or path"])
        wanted, ours = _plain(root), _plain(self.store.storage.url)
        if wanted == f"{ours}/{prefix.rstrip('/')}":
            return ""
        if (wanted + "/").startswith(ours + "/"):
            raise InvalidInput(
                f"{root} lies in this registry, but is not the folder of this dataset",
                why="A dataset names only files of its own folder",
                todo=f"Write to {ours}/{prefix} and commit that, or adopt the files",
                committed="no",
            )
        return None

    # -- roll back -----------------------------------------------------------------------------------------------

    def rollback(self, dataset_id: str, reason: str | None = None) -> None:
        """Drop a PENDING or STAGED dataset; see ``Registry.rollback_dataset``."""
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        begun = self._begun(run_id, suffix)
        self._written.pop(dataset_id, None)
        if begun.own_run:
            decided = self.ledger.abort(run_id, failure("RolledBack", reason or ""), reason)
            self._refuse_ready(dataset_id, decided.committed)
            return
        while True:
            found = self._highest(run_id, suffix) or begun
            if found.step == "rolled_back":
                return
            end = self.store.decision(run_id)
            if end is not None:
                self._refuse_ready(dataset_id, end.committed and suffix in self.store.members(end).datasets)
                return
            document = found.model_copy(
                update={
                    "write_id": self.store.ids.write_id(),
                    "gen": found.gen + 1,
                    "step": "rolled_back",
                    "at": self.store.clock.now(),
                    "reason": reason,
                    "files": [],
                    "manifest": None,
                }
            )
            create = partial(self.store.create, paths.dataset_key(run_id, suffix, document.gen), document)
            try:
                self.ledger.runs.within(run_id, [create], f"roll back dataset {dataset_id}")
                return
            except (AlreadyExists, RunAborted):
                continue

    def _refuse_ready(self, dataset_id: str, ready: bool) -> None:
        if ready:
            raise InvalidState(
                f"Dataset {dataset_id} cannot be rolled back: it is READY",
                why="Its run has committed, and a decided run never changes",
                todo="Un-publish it with revert(run_id)",
                committed="yes",
            )

    # -- finding -------------------------------------------------------------------------------------------------

    def get(self, dataset_id: str) -> Dataset:
        """One dataset in its present state, whatever that is. Raises ``NotFound``."""
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        found = self._highest(run_id, suffix)
        if found is None:
            raise unknown_dataset(dataset_id)
        return self.view(found)

    def _highest(self, run_id: str, suffix: str) -> DatasetGeneration | None:
        prefix = paths.dataset_key(run_id, suffix, 0).rpartition("/")[0] + "/"
        keys = [o.key for o in self.store.storage.list(prefix)]
        return self.store.read(keys[-1], DatasetGeneration) if keys else None

    def view(self, document: DatasetGeneration, state: DatasetState | None = None) -> Dataset:
        """A generation as readers see it; the state is derived unless it is known."""
        if state is None:
            document, state = self._derive(document)
        files = document.files
        if document.manifest is not None and state in ("READY", "STAGED", "ARCHIVED"):
            files = manifest.load_manifest(self.store, document.manifest)
        return Dataset(
            id=document.dataset_id,
            kind=document.kind,
            run_id=document.run_id,
            state=state,
            mode=document.mode,
            partition=document.partition,
            root=document.root,
            external=document.external,
            rows=document.rows,
            bytes=document.bytes,
            files=tuple(files),
            created_at=document.begun_at,
            committed_at=document.at if document.step == "staged" else None,
            key=document.key,
            task_run=document.task_run,
            store=self.store,
        )

    def _derive(self, document: DatasetGeneration) -> tuple[DatasetGeneration, DatasetState]:
        """The generation that counts, and its state (the table of states in DESIGN.md 4)."""
        run_id, suffix = document.run_id, document.dataset_id[-16:]
        outcome = self.ledger.outcomes.effective(run_id)
        if outcome == "aborted" or document.step == "rolled_back":
            return document, "ROLLED_BACK"
        end = self.store.decision(run_id)
        if end is not None:
            gen = self.store.members(end).datasets.get(suffix)
            if gen is None:
                return document, "ROLLED_BACK"
            document = self.store.read(paths.dataset_key(run_id, suffix, gen), DatasetGeneration)
            if document.step == "rolled_back":
                return document, "ROLLED_BACK"
        if outcome is None:
            return document, "PENDING" if document.step == "begun" else "STAGED"
        return document, self.later_state(document.dataset_id)

    def later_state(self, dataset_id: str, as_of: datetime | None = None) -> DatasetState:
        """READY, or what a tombstone made of it."""
        latest = self.ledger.cells.latest(TOMBSTONES, dataset_id, as_of=as_of)
        if latest is None or latest.value.get("state") == "READY":
            return "READY"
        return "ARCHIVED" if latest.value.get("state") == "ARCHIVED" else "DELETED"

    def all(self, entries: Mapping[str, RunEntry]) -> Iterator[Dataset]:
        """Every dataset in the journal, oldest run first."""
        wanted = [(r, s, g) for r, e in entries.items() for s, g in sorted(e.datasets.items())]
        for start in range(0, len(wanted), 200):
            batch = wanted[start : start + 200]
            keys = [paths.dataset_key(r, s, g) for r, s, g in batch]
            for document in self.store.read_many(keys, DatasetGeneration):
                if document is not None:
                    yield self.view(document)


def _suffix_of(key: str, incarnation: int) -> str:
    """The same suffix for the same ``key`` in one run: what makes ``key=`` idempotent."""
    digest = hashlib.sha256(f"{incarnation}:{key}".encode()).digest()
    return encode(int.from_bytes(digest[:10], "big"), 16)


def _same(a: DatasetGeneration, b: DatasetGeneration) -> bool:
    """Whether two stagings of a dataset say the same: root, rows and every file."""
    if (a.step, a.root, a.rows, a.bytes, a.file_count) != (b.step, b.root, b.rows, b.bytes, b.file_count):
        return False
    if a.manifest is not None or b.manifest is not None:
        return a.manifest is not None and b.manifest is not None and a.manifest.size == b.manifest.size
    return [(f.path, f.size, f.sha256) for f in a.files] == [(f.path, f.size, f.sha256) for f in b.files]


def _plain(url: str) -> str:
    """A root in one spelling: ``file:`` URLs as paths, no slash at the end."""
    parts = urlsplit(url)
    if parts.scheme in ("file", "local"):
        url = unquote(parts.path)
    return url.rstrip("/")


def _check_rows_argument(rows: object) -> None:
    if rows is None:
        return
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise InvalidInput.of("rows", [f"rows must be an integer, not {type(rows).__name__}"])
    if not 0 <= rows < 2**63:
        raise InvalidInput.of("rows", [f"rows must be 0 or more and fit 63 bits, not {rows}"])


def unknown_dataset(dataset_id: str) -> NotFound:
    """The error for an id that names no dataset here."""
    return NotFound(
        f"There is no dataset {dataset_id} in this registry",
        todo="Check the id, and that it is the same registry that begin_dataset was called on",
        committed="no",
        dataset_id=dataset_id,
    )
