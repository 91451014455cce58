"""Committing and rolling back datasets (reference system 1; DESIGN.md 4, 8, P13)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from prefect_registry.datasets import manifest
from prefect_registry.datasets.beginning import Beginning
from prefect_registry.datasets.checks import check_rows_argument, is_own_folder
from prefect_registry.datasets.finding import unknown_dataset
from prefect_registry.datasets.manifest import Verify
from prefect_registry.errors import AlreadyExists, Conflict, InvalidInput, InvalidState, RegistryError
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import manifests, observers, paths
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.base import as_reason
from prefect_registry.records.datasets import DatasetGeneration, FileEntry
from prefect_registry.records.runs import Decision, Reference, failure

LONGEST_REASON_CHARACTERS = 4_000


class Datasets(Beginning):
    """The datasets of one registry."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._written: dict[str, dict[str, FileEntry]] = {}

    # -- commit --------------------------------------------------------------------------------------------------

    def note_written(self, dataset_id: str, entry: FileEntry) -> None:
        """Remember a file that this process hashed while writing it, so that committing need not read it again."""
        self._written.setdefault(dataset_id, {})[entry.path] = entry

    def forget_written(self, dataset_id: str, files: Iterable[str]) -> set[str]:
        """Nobody knows any more what these files hold: committing has to read them. Returns those that were known."""
        known = self._written.get(dataset_id, {})
        return {path for path in files if known.pop(path, None) is not None}

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
        ours: Mapping[str, FileEntry] | None = None,
        tags: Mapping[str, str] | None = None,
        partitioning: Mapping[str, str] | None = None,
        empty: bool = False,
    ) -> DatasetGeneration:
        """Stage a dataset: its manifest becomes generation 1. See ``Registry.commit_dataset``.

        ``ours`` are the files, when nobody but this process wrote into the folder, so that it need not be listed. One
        without files is taken for a mistake unless it is ``empty`` on purpose, or 0 rows are given: in mode "replace"
        it would empty the table.
        """
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        check_rows_argument(rows)
        begun = self._begun(run_id, suffix)
        try:
            files, url, external = self._contents(begun, root, verify, ours)
            if not (files or external or empty) and rows is None:
                raise _nothing_written(begun)
            counted = rows if external else manifest.check_rows(files, rows, begun.root)
        except RegistryError as error:  # of a run that was aborted, the bytes may be collected already
            end = self.store.decision(run_id)
            if end is not None:
                raise self.ledger.runs.refusal(end, f"commit dataset {dataset_id}", published=False) from error
            raise
        inline = manifests.fits_inline(files)
        reference = None if inline else self._large_manifest(run_id, suffix, files)
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
                "files": files if inline else [],
                "manifest": reference,
                "tags": {**begun.tags, **(tags or {})},
                "partitioning": dict(partitioning or {}),
            }
        )
        staged = self._stage(document, files)
        if staged.own_run:
            self.ledger.commit(run_id)
        self._written.pop(dataset_id, None)
        if staged.own_run:
            observers.dataset_published(self.store.storage.url, staged.parent_run or run_id, dataset_id)
        return staged

    def _large_manifest(self, run_id: str, suffix: str, files: list[FileEntry]) -> Reference | None:
        """Store a manifest, but only for a dataset that can still be staged: a second commit leaves nothing behind."""
        found = self.highest(run_id, suffix)
        if found is not None and found.gen > 0:
            return None
        self.ledger.runs.check_open(run_id, f"commit dataset ds_{run_id[4:]}_{suffix}")
        return manifests.store_manifest(self.store, paths.dataset_prefix(run_id, suffix), files)

    def _stage(self, document: DatasetGeneration, files: list[FileEntry]) -> DatasetGeneration:
        run_id, suffix = document.run_id, document.dataset_id[-16:]
        create = partial(self.store.create, paths.dataset_key(run_id, suffix, 1), document)
        try:
            self.ledger.runs.within(run_id, [create], f"commit dataset {document.dataset_id}")
            return document
        except (AlreadyExists, InvalidState) as error:
            found = self.highest(run_id, suffix)
            if isinstance(error, InvalidState):
                if found is None or not self._is_member(found):
                    raise
                if self._same(found, document, files):
                    return found  # committing once more what is published already: nothing to do
                if document.own_run:
                    self._refuse_other(found, document, files, error)
                raise
            if found is None or found.gen == 0:
                raise
            self._refuse_other(found, document, files, error)
            return found

    def _refuse_other(
        self, found: DatasetGeneration, document: DatasetGeneration, files: list[FileEntry], cause: Exception
    ) -> None:
        if found.step == "rolled_back":
            raise InvalidState(
                f"Dataset {document.dataset_id} was rolled back",
                why=found.reason or "rollback_dataset was called, or the block that wrote it failed",
                todo="Begin a new dataset",
                committed="no",
            ) from cause
        if not self._same(found, document, files):
            raise Conflict(
                f"Dataset {document.dataset_id} is committed already, with another content",
                why=f"{found.root}, {found.rows} rows, {found.file_count} files are there",
                todo="Begin a new dataset for the new content",
                committed="no",
                dataset_id=document.dataset_id,
            ) from cause

    def _is_member(self, document: DatasetGeneration) -> bool:
        """Whether the run's decision publishes this very generation; one that landed late is dead."""
        end = self.store.decision(document.run_id)
        return (
            end is not None
            and end.committed
            and self.store.members(end).datasets.get(document.dataset_id[-16:]) == document.gen
        )

    def _same(self, found: DatasetGeneration, document: DatasetGeneration, files: list[FileEntry]) -> bool:
        """Whether two stagings of a dataset say the same: root, rows and every file."""
        a, b = found, document
        if (a.step, a.root, a.rows, a.bytes, a.file_count) != (b.step, b.root, b.rows, b.bytes, b.file_count):
            return False
        stored = manifests.load_manifest(self.store, a.manifest) if a.manifest is not None else a.files
        return all(map(_same_file, stored, files))

    def _begun(self, run_id: str, suffix: str) -> DatasetGeneration:
        """Generation 0, from memory or, in another process than the one that began it, from the store."""
        key = paths.dataset_key(run_id, suffix, 0)
        begun = self.store.peek(key, DatasetGeneration)
        if begun is None:
            raise unknown_dataset(f"ds_{run_id[4:]}_{suffix}")
        return begun

    def _contents(
        self, begun: DatasetGeneration, root: str | None, verify: Verify, ours: Mapping[str, FileEntry] | None
    ) -> tuple[list[FileEntry], str, bool]:
        """The files under the root, its URL, and whether it lies outside the dataset's own folder."""
        prefix = paths.dataset_prefix(begun.run_id, begun.dataset_id[-16:])
        known = self.written(begun.dataset_id)
        if root is not None and not is_own_folder(root, self.store.storage.url, prefix):
            if known:
                raise InvalidInput(
                    f"{root} is not the folder that dataset {begun.dataset_id} was written to",
                    why=f"{len(known):,} files were written to {begun.root}",
                    todo="Commit that folder, or begin another dataset for files that lie elsewhere",
                    committed="no",
                )
            return [], root, True
        if ours is not None:
            return manifests.check_files(ours.values()), begun.root, False
        return manifest.inspect_folder(self.store, prefix, known, verify), begun.root, False

    # -- roll back -----------------------------------------------------------------------------------------------

    def rollback(self, dataset_id: str, reason: str | None = None) -> None:
        """Drop a PENDING or STAGED dataset; see ``Registry.rollback_dataset``."""
        reason = as_reason(reason, LONGEST_REASON_CHARACTERS)
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        begun = self._begun(run_id, suffix)
        self._written.pop(dataset_id, None)
        if begun.own_run:
            self._check_dropped(self.ledger.abort(run_id, failure("RolledBack", reason or ""), reason), dataset_id)
            return
        while True:
            looks: list[Callable[[], object]] = [
                partial(self.store.decision, run_id),
                partial(self.highest, run_id, suffix),
            ]
            end, highest = self.store.together(looks)
            if isinstance(end, Decision):
                self._check_dropped(end, dataset_id)
                return
            found = highest if isinstance(highest, DatasetGeneration) else begun
            if found.step == "rolled_back":
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
            with contextlib.suppress(AlreadyExists, InvalidState):  # then look again
                self.ledger.runs.within(run_id, [create], f"roll back dataset {dataset_id}")
                return

    def _check_dropped(self, end: Decision, dataset_id: str) -> None:
        """Whether a decided run has left the dataset out, or published it: its members tell, not what landed late."""
        effective, suffix = self.ledger.outcomes.effective(end.run_id), dataset_id[-16:]
        member = self.store.members(end).datasets.get(suffix) if end.committed else None
        if effective == "aborted" or member is None:
            return
        if self.store.read(paths.dataset_key(end.run_id, suffix, member), DatasetGeneration).step == "rolled_back":
            return
        if effective is None:
            raise InvalidState(
                f"Dataset {dataset_id} cannot be rolled back: its run is closed",
                why="A decided run never changes; it becomes visible when the runs around it commit",
                todo="Roll the run around it back",
            )
        raise InvalidState(
            f"Dataset {dataset_id} cannot be rolled back: it is READY",
            why="Its run has committed, and a decided run never changes",
            todo="Un-publish it with revert(run_id)",
            committed="yes",
        )


def _same_file(a: FileEntry, b: FileEntry) -> bool:
    """Whether two entries are of the same bytes, as far as both were hashed (``verify="size"`` hashes nothing)."""
    return (a.path, a.size) == (b.path, b.size) and (not a.sha256 or not b.sha256 or a.sha256 == b.sha256)


def _nothing_written(begun: DatasetGeneration) -> InvalidInput:
    return InvalidInput(
        f"Nothing was written to dataset {begun.dataset_id} of kind {begun.kind!r}",
        why=f"There is no file in {begun.root}; whoever should have written there wrote elsewhere, or nothing",
        todo="Write to it. To publish an empty one, write a table without rows, or say set_rows(0)",
        committed="no",
        dataset_id=begun.dataset_id,
    )
