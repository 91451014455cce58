"""Copying a registry to another folder, bucket or cloud: the decisions last, so that no half of it is ever visible."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TypeVar

from pydantic import ValidationError

from prefect_registry.clock import StoreClock, SystemClock
from prefect_registry.errors import AlreadyExists, IntegrityError, InvalidInput, InvalidState, NotFound
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import manifests, paths
from prefect_registry.ledger.frozen import FrozenStore
from prefect_registry.ledger.journal import RunEntry
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.opening import open_registry
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.runs import FLOW_RUN
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import shown
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration, FileEntry
from prefect_registry.records.objects import PAYLOAD, ObjectValue
from prefect_registry.records.runs import Decision, Members, Reference, failure
from prefect_registry.records.store import RegistryDocument
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import ObjectInfo, Progress, Upload

T = TypeVar("T")
_AT_A_TIME = 200
_FILES_AT_A_TIME = 16
UNFINISHED = "Unfinished"
"""The failure, in the copy, of runs that were going on when it was made."""
_OF_THE_OWNER = ("heartbeat.json", "end.json", "see")


@dataclass
class CopyReport:
    """What was copied: ``runs`` that were decided, published ``files`` with their ``bytes``, small ``documents``.

    ``unfinished`` were still running when the copy began: in the copy they are aborted. ``skipped`` files were there
    already, from an attempt that was interrupted.
    """

    registry_id: str = ""
    runs: int = 0
    documents: int = 0
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    unfinished: list[str] = field(default_factory=list)

    _repr_html_ = shown


def open_target(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None, like: Store) -> Store:
    """The store that is to become the copy of ``like``."""
    from prefect_registry.storage.opening import open_storage
    from prefect_registry.storage.resolving import ResolvingStorage

    storage = ResolvingStorage(open_storage(url, storage_options))
    return Store(storage, StoreClock(SystemClock()), settings=like.settings)


class Copy:
    """One copy of a registry. It can be made again after an interruption, and goes on where it was."""

    def __init__(self, source: Store, target: Store, progress: Progress | None) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._report = CopyReport()

    def run(self, entries: dict[str, RunEntry]) -> CopyReport:
        """Copy the state that ``entries`` show: data first, then what describes it, decisions, and the registry's own
        document last. Until then nobody can open the copy.

        Raises:
            InvalidState: There is a registry at the target.
            IntegrityError: A file of the source is not what its manifest says. Nothing was changed there.
        """
        if self._target.peek(paths.REGISTRY, RegistryDocument) is not None:
            raise InvalidState(
                f"There is a registry at {self._target.storage.url} already",
                why="A copy has an id and a history of its own, and is never mixed with another one's",
                todo="Copy to an empty folder or prefix",
                committed="no",
            )
        frozen = FrozenStore.of(self._source, [r for r, e in entries.items() if e.decided], None)
        begun = [run_id for run_id, entry in entries.items() if run_id.startswith("run_") and entry.begun]
        outcomes = Outcomes(frozen)
        effective, released = {r: outcomes.effective(r) for r in begun}, self._released(frozen)
        for run_id in begun:
            if effective[run_id] == "committed":
                self._copy_data(run_id, frozen, released)
        # With a run that is not settled go those nested in it, also when they have decided for themselves.
        self._report.unfinished = [run_id for run_id in begun if effective[run_id] is None]
        settled = frozenset(run_id for run_id in begun if effective[run_id] is not None)
        self._copy_cells(settled, self._copy_journal(entries, settled))
        self._copy_decisions([run_id for run_id in begun if run_id in settled and entries[run_id].decided])
        self._report.registry_id = open_registry(self._target, create=True).registry_id
        return self._report

    # -- data ----------------------------------------------------------------------------------------------------

    def _released(self, store: Store) -> set[str]:
        """Ids of the datasets and payloads whose bytes are gone, or about to be: retention has released them."""
        cells = Ledger(store, heartbeats=False).cells
        found: set[str] = set()
        for type_ in (LATER_STATES, PAYLOAD):
            listed = paths.generations(store.storage.list(f"{paths.CELLS}{type_}/"))
            newest = {k.rpartition("/")[0]: k for k in listed}
            for batch in _batches(newest.values(), _AT_A_TIME):
                visible = [cells.visible_from(d) for d in store.read_many(batch, CellGeneration) if d is not None]
                found |= {d.name for d in visible if d is not None and d.value.get("purged") is True}
        return found

    def _copy_data(self, run_id: str, store: Store, released: set[str]) -> None:
        end = store.decision(run_id)
        members = store.members(end) if end is not None else Members()
        keys = [paths.dataset_key(run_id, suffix, gen) for suffix, gen in sorted(members.datasets.items())]
        for document in store.read_many(keys, DatasetGeneration) if keys else []:
            if document is not None and document.step == "staged" and not document.external:
                prefix = paths.dataset_prefix(document.run_id, document.dataset_id[-16:])
                subject, gone = f"dataset {document.dataset_id}", document.dataset_id in released
                self._copy_folder(prefix, document.files, document.manifest, subject, gone)
        cells = [paths.cell_key(CellRef(c[0], c[1]), c[2]) for c in members.cells if c[0] == OBJECT]
        for batch in _batches(cells, _AT_A_TIME):
            for generation in store.read_many(batch, CellGeneration):
                if generation is not None and generation.value.get("payload"):
                    self._copy_payload(run_id, generation, released)

    def _copy_payload(self, run_id: str, generation: CellGeneration, released: set[str]) -> None:
        """The files of a version, also of one that was deleted or overwritten: both can be taken back in the copy."""
        subject = f"object {generation.name!r:.250}"
        try:
            value = ObjectValue.model_validate(generation.value)
            run, suffix = parse_inner_id(value.payload, "pl", "payload")
        except (ValidationError, InvalidInput) as error:
            raise _damaged(subject, "its record cannot be read") from error
        prefix = paths.dataset_prefix(run, suffix)
        if run != run_id or value.root != prefix:
            raise _damaged(subject, f"its record names files outside of its run: {value.root!r:.200}")
        self._copy_folder(prefix, value.files, value.manifest, subject, value.payload in released)

    def _copy_folder(
        self, prefix: str, files: Sequence[FileEntry], manifest: Reference | None, subject: str, released: bool
    ) -> None:
        files = [] if released else list(files)
        if manifest is not None:
            files = [] if released else manifests.load_manifest(self._source, manifest)
            path = manifest.key.removeprefix(prefix)
            files = [*files, FileEntry(path=path, size=manifest.size, sha256=manifest.sha256)]
        manifests.check_stored(files, subject)
        there = {info.key: info.size for info in self._target.storage.list(prefix)}
        missing = [f for f in files if there.get(prefix + f.path) != f.size]
        self._report.skipped += len(files) - len(missing)
        for batch in _batches(missing, _FILES_AT_A_TIME):
            self._copy_files(prefix, batch)

    def _copy_files(self, prefix: str, files: Sequence[FileEntry]) -> None:
        sources: list[BinaryIO] = []
        try:
            for each in files:
                sources.append(self._source.storage.open(prefix + each.path))
            uploads = [Upload(prefix + each.path, file) for each, file in zip(files, sources, strict=True)]
            stored = self._target.storage.upload(uploads, self._progress)
        except NotFound as error:
            raise _damaged(str(error.context.get("key", prefix)), "it is missing") from error
        finally:
            for file in sources:
                file.close()
        for each, found in zip(files, stored, strict=True):
            if found.size != each.size or (each.sha256 and found.sha256 != each.sha256):
                self._target.storage.delete_many([found.key])
                raise _damaged(found.key, f"it has {found.size:,} bytes that are not the {each.size:,} of its manifest")
            self._report.files += 1
            self._report.bytes += found.size

    # -- small objects -------------------------------------------------------------------------------------------

    def _copy_journal(self, entries: dict[str, RunEntry], settled: frozenset[str]) -> set[str]:
        """Of runs that are not settled only their begin and what was visible at once; their end says why.

        Returns the keys of the generations that are part of no run.
        """
        alone: set[str] = set()

        def belonging() -> Iterator[ObjectInfo]:
            for info in self._source.storage.list(paths.RUNS):
                alone.update(_touched_alone(info, entries))
                if _belongs(info, entries, settled):
                    yield info

        self._copy_documents(belonging())
        return alone

    def _copy_cells(self, settled: frozenset[str], alone: set[str]) -> None:
        """What settled runs wrote, and what was written ``alone``: what came later stands on what is not copied."""
        for batch in _batches(self._source.storage.list(paths.CELLS), _AT_A_TIME):
            keys = paths.generations(batch)
            documents = self._source.read_many(keys, CellGeneration) if keys else []
            wanted = {
                key
                for key, document in zip(keys, documents, strict=True)
                if document is not None and (key in alone if document.tx is None else document.tx in settled)
            }
            self._copy_documents(info for info in batch if info.key in wanted)

    def _copy_documents(self, objects: Iterable[ObjectInfo]) -> None:
        for batch in _batches(objects, _AT_A_TIME):
            self._target.together([partial(self._copy_document, info) for info in batch])
            self._report.documents += len(batch)

    def _copy_document(self, info: ObjectInfo) -> None:
        if info.size:
            self._target.storage.create(info.key, self._source.storage.get(info.key))
        else:
            self._target.storage.put(info.key, b"")

    def _copy_decisions(self, decided: Sequence[str]) -> None:
        """In the order in which they were made; first those that say that nothing of an unfinished run is published."""
        for run_id in self._report.unfinished:
            begin = self._source.begin(run_id)
            if begin is None or self._target.decision(run_id) is not None:
                continue
            decision = Decision(
                write_id=self._target.ids.write_id(),
                run_id=run_id,
                outcome="aborted",
                success=False,
                failure=failure(UNFINISHED, "it was running when the registry was copied", "cancelled"),
                closed_at=self._target.clock.decision_time(),
                closed_by=self._target.holder(),
                ancestors=begin.ancestors,
            )
            self._target.create(paths.end_key(run_id), decision)
        ends = self._source.read_many([paths.end_key(run_id) for run_id in decided], Decision) if decided else []
        for end in sorted((e for e in ends if e is not None), key=lambda e: (e.closed_at, e.run_id)):
            key = paths.end_key(end.run_id)
            try:
                self._target.storage.create(key, self._source.storage.get(key))
            except AlreadyExists:
                self._forget_unfinished(end.run_id)
                self._target.storage.create(key, self._source.storage.get(key))
            self._report.runs += 1

    def _forget_unfinished(self, run_id: str) -> None:
        """The run has ended since an earlier attempt, which was interrupted, said in the target that it had not. Nobody
        could open that.
        """
        said = self._target.decision(run_id)
        if said is not None and said.failure is not None and said.failure.cls == UNFINISHED:
            self._target.storage.delete_many([paths.end_key(run_id)])


def _belongs(info: ObjectInfo, entries: dict[str, RunEntry], settled: frozenset[str]) -> bool:
    parsed = paths.parse_run_object(info.key)
    if parsed is None or parsed.run_id not in entries or parsed.kind in _OF_THE_OWNER:
        return False
    if parsed.run_id.startswith("op_"):
        return parsed.kind != "touch" or parsed.touched in entries[parsed.run_id].touched
    if parsed.run_id in settled:
        return True
    return parsed.kind == "begin.json" or (parsed.kind == "events" and parsed.rest[0].startswith("i"))


def _touched_alone(info: ObjectInfo, entries: Mapping[str, RunEntry]) -> Iterator[str]:
    """The key of the generation, of no run, that a touch tells of: one outside any run, or of a flow run's attempt.

    What was touched after ``entries`` were listed, by an operation that they have, is left out.
    """
    parsed = paths.parse_run_object(info.key)
    if parsed is None or parsed.run_id not in entries or parsed.kind != "touch":
        return
    listed = parsed.run_id.startswith("op_") and parsed.touched in entries[parsed.run_id].touched
    if listed or parsed.rest[0] == FLOW_RUN:
        yield parsed.touched


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _damaged(key: str, how: str) -> IntegrityError:
    return IntegrityError(
        f"{key} cannot be copied: {how}",
        why="The source is damaged, or was changed behind the registry's back",
        todo="Run fsck on the source; restore the file, or revert the run that made it, and copy again",
        key=key,
    )
