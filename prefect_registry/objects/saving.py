"""Saving a version: inline by one object, with files by a run of its own, inside a run staged with it.

Nothing is locked. A version is a cell, and its generation 0 is created if absent: of any number of savers one has it.
Who asks for no number goes on to the next; who gives one compares what is there (SEEDS.md: saving what exists).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from prefect_registry.errors import InvalidInput, NotFound, RevisionConflict
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import manifests, observers, paths
from prefect_registry.ledger.dropping import was_never_saved
from prefect_registry.ledger.ledger import RunSpec
from prefect_registry.objects.conflicts import OnConflict
from prefect_registry.objects.draft import Draft, rewind
from prefect_registry.objects.errors import RegistryVersionConflict
from prefect_registry.objects.finding import Finding, Found, cell_name
from prefect_registry.objects.versions import FIRST, Version
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import FileEntry
from prefect_registry.records.objects import ObjectSettings, ObjectValue
from prefect_registry.records.runs import Begin, Members
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import CopyOf, Progress, Stored, Upload

LOOK_FIRST_BYTES = 8 << 20
"""From which size a save first looks whether the store has the content already: a request against an upload in parts,
which makes three or more."""
LISTED_AGAIN_AFTER = 8
"""How many numbers in a row a save finds taken before it lists again."""
WORTH_A_COPY_BYTES = 1 << 20
"""From which size one file is better copied inside the store from an older version than uploaded: that takes a look."""


@dataclass
class Saving:
    """One save on its way.

    Attributes:
        version: The number that was asked for; None takes the next one.
        run_id: The surrounding run; None outside any.
        met: This process has seen the object before, so its content is compared before anything is uploaded.
        last: What of it this process has saved or loaded last, if that was one file.
    """

    name: str
    version: Version | None
    draft: Draft
    run_id: str | None
    settings: ObjectSettings
    on_conflict: OnConflict
    metadata: Mapping[str, Any]
    met: bool = False
    progress: Progress | None = None
    last: ObjectValue | None = None
    next_number: Version | None = field(default=None, init=False)
    there: CellGeneration | None = field(default=None, init=False)
    """What is visible of ``version``, if it was ``looked`` at."""
    looked: bool = field(default=False, init=False)
    stored: list[FileEntry] = field(default_factory=list, init=False)
    """What was uploaded."""
    claimed: bool = field(default=False, init=False)
    """Generation 0 of ``version`` was to be created, beside the begin of the save's own run."""
    claim: CellGeneration | None = field(default=None, init=False)
    """That generation, if nobody had it."""

    @property
    def overwrites(self) -> bool:
        """Whether other content is to be replaced."""
        return self.on_conflict == "overwrite"


class Saver:
    """Saves drafts."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding
        self._ledger = finding.ledger
        self._store = finding.store

    def save(self, saving: Saving) -> tuple[Version, ObjectValue | None]:
        """Save a draft. Returns its version, and what was written; None when the same content was there."""
        if saving.draft.is_inline:
            value = self._value(saving, inline=True)
            version, written, generation = self._create(saving, value, saving.run_id, guarded=True)
            if saving.run_id is None and generation is not None:
                observers.cell_published(self._store.storage.url, generation)
            return version, written
        known = self._known(saving) if self._looks_first(saving) else None
        if known is not None and saving.version is not None:
            settled = self._settled(saving, known, saving.draft.digest(saving.draft.files))
            if settled is not None:
                return settled, None
        if saving.run_id is not None:
            return self._save_in_run(saving, saving.run_id, known)
        return self._save_by_itself(saving, known)

    # -- files ---------------------------------------------------------------------------------------------------

    def _save_in_run(self, saving: Saving, run_id: str, known: Found | None) -> tuple[Version, ObjectValue | None]:
        payload = self._store.ids.inner("pl", run_id)
        files: list[FileEntry] = []
        calls: list[Callable[[], object]] = [partial(self._upload, saving, payload, known, files)]
        calls += self._looks_beside(saving)
        self._ledger.runs.within(run_id, calls, f"save {saving.name!r}")
        value = self._value(saving, payload, files)
        return self._create(saving, value, run_id, guarded=True)[:2]

    def _save_by_itself(self, saving: Saving, known: Found | None) -> tuple[Version, ObjectValue | None]:
        """A run for this save alone: begun beside the upload, and closed without listing what nobody else wrote to."""
        self._store.know_time()
        spec = RunSpec(f"save {saving.name}"[:250], config={"object": saving.name[:1000]}, implicit=True)
        begin: Begin = self._ledger.runs.new(spec)
        payload = self._store.ids.inner("pl", begin.run_id)
        files: list[FileEntry] = []
        upload = partial(self._upload, saving, payload, known, files)
        asks = self._asks_by_writing(saving)
        if asks:
            value = self._value(saving, payload, saving.draft.files)
            work: list[Callable[[], object]] = [partial(self._claim, saving, value, begin.run_id)]
        else:
            work = [upload, *self._looks_beside(saving)]
        self._ledger.begin_beside(begin, work)
        try:
            if not asks:
                value = self._value(saving, payload, files)
            version, written, generation = self._create(saving, value, begin.run_id, guarded=False)
            if asks and generation is not None:
                upload()
        except BaseException as error:
            self._ledger.drop(begin.run_id, error)
            raise
        if generation is None:  # somebody has saved the same meanwhile
            self._ledger.abort(begin.run_id, notes=f"version {version} has this content already")
            return version, None
        ref = CellRef.named(OBJECT, generation.name)
        self._ledger.commit_own(begin.run_id, only=Members(cells=[(ref.type, ref.key, generation.gen)]))
        observers.cell_published(self._store.storage.url, generation)
        return version, written

    def _looks_beside(self, saving: Saving) -> list[Callable[[], object]]:
        """What is read while the data is sent."""
        if saving.version is None:
            return [partial(self._look_for_number, saving)]
        return [partial(self._look, saving)] if saving.overwrites and not saving.looked else []

    def _asks_by_writing(self, saving: Saving) -> bool:
        """Whether the version is created before its bytes are sent: who has not looked learns by that, and for nothing,
        whether its number is taken and its content there. Nobody can read it before the run is decided.
        """
        looked = saving.overwrites or saving.looked  # as on any store that is near, so there the bytes come first
        return saving.version is not None and not looked and manifests.fits_inline(saving.draft.files)

    def _claim(self, saving: Saving, value: ObjectValue, run_id: str) -> None:
        assert saving.version is not None
        name, stored = cell_name(saving.name, saving.version), _stored(value, saving.version)
        saving.claim = self._ledger.cells.first(OBJECT, name, stored, run_id=run_id, guarded=False)
        saving.claimed = True

    def _upload(self, saving: Saving, payload: str, known: Found | None, files: list[FileEntry]) -> None:
        draft, root = saving.draft, root_of(payload)
        there = self._copies(saving, known)
        try:
            stored = self._send(draft, root, there, saving.progress)
        except NotFound:
            if not there:
                raise
            # What was to be copied is being deleted: all of it is here, too.
            stored = self._send(draft, root, {}, saving.progress)
        draft.check_unchanged()
        found = [
            FileEntry(path=path, size=s.size, sha256=s.sha256) for path, s in zip(draft.sources, stored, strict=True)
        ]
        if "files" in vars(draft) and sorted(found, key=lambda f: f.path) != draft.files:
            raise InvalidInput(
                "The object's files changed while they were saved",
                why="Their bytes were others when they were uploaded than when they were hashed before",
                todo="Save them when nothing writes there any more",
                committed="no",
            )
        files += sorted(found, key=lambda f: f.path)
        saving.stored = files

    def _send(self, draft: Draft, root: str, there: Mapping[str, CopyOf], progress: Progress | None) -> list[Stored]:
        for source in draft.sources.values():
            rewind(source)
        uploads = [Upload(root + path, there.get(path, source)) for path, source in draft.sources.items()]
        return self._store.storage.upload(uploads, progress)

    def _copies(self, saving: Saving, known: Found | None) -> dict[str, CopyOf]:
        """For each file that the store has in ``known``, or had when this process has met it last, what to copy it
        from. Who has looked at nothing pays for the copy only if the content is the same.
        """
        value = known.value if known is not None else saving.last
        if value is None or not value.root or (known is None and self._store.storage.near):
            return {}
        files = self._finding.files(known) if known is not None else value.files
        there = {(f.size, f.sha256): value.root + f.path for f in files}
        ours = {f.path: (f.size, f.sha256) for f in saving.draft.files}
        return {path: CopyOf(there[k], *k) for path, k in ours.items() if k in there}

    def _value(
        self, saving: Saving, payload: str = "", files: Sequence[FileEntry] = (), inline: bool = False
    ) -> ObjectValue:
        draft = saving.draft
        value = ObjectValue(
            object=saving.name,
            version="",
            materializer=draft.materializer,
            **{"class": draft.class_},
            init=dict(draft.init),
            digest=draft.digest(draft.inline if inline else files),
            size=draft.size if inline else sum(f.size for f in files),
            file_count=len(draft.sources),
            metadata=dict(saving.metadata),
        )
        if inline:
            return value.model_copy(update={"inline": draft.inline})
        value = value.model_copy(update={"payload": payload, "root": root_of(payload)})
        if manifests.fits_inline(files):
            return value.model_copy(update={"files": list(files)})
        return value.model_copy(update={"manifest": manifests.store_manifest(self._store, value.root, list(files))})

    # -- the one conditional write -------------------------------------------------------------------------------

    def _create(
        self, saving: Saving, value: ObjectValue, run_id: str | None, guarded: bool
    ) -> tuple[Version, ObjectValue | None, CellGeneration | None]:
        """Create the version's generation; or learn that the same content is there, and return no generation."""
        if saving.version is None:
            return self._create_next(saving, value, run_id, guarded)
        version = saving.version
        name, stored = cell_name(saving.name, version), _stored(value, version)
        written = saving.claim
        if not (saving.overwrites or saving.looked or saving.claimed):  # what is to be overwritten is probably there
            written = self._ledger.cells.first(OBJECT, name, stored, run_id=run_id, guarded=guarded)
        while written is None:
            there = saving.there if saving.looked else self._look(saving)
            saving.looked = False
            found = self._finding.found(saving.name, version, there) if there is not None else None
            if found is not None:
                settled = self._settled(saving, found, value.digest)
                if settled is not None:
                    return settled, None, None
            elif there is not None and saving.settings.version_objects and not was_never_saved(there):
                raise self._deleted(saving, version)
            try:
                written = self._ledger.cells.write(
                    OBJECT, name, stored, run_id=run_id, expected=there.gen if there is not None else None,
                    fresh=True, guarded=guarded,
                )  # fmt: skip
            except RevisionConflict:
                continue
        return version, value, written

    def _look(self, saving: Saving) -> CellGeneration | None:
        """Read what is there of the version that was asked for, so that nothing has to be read before it is written."""
        assert saving.version is not None
        name = cell_name(saving.name, saving.version)
        saving.there = self._ledger.cells.latest(OBJECT, name, saving.run_id, guess=0)
        saving.looked = True
        return saving.there

    def _create_next(
        self, saving: Saving, value: ObjectValue, run_id: str | None, guarded: bool
    ) -> tuple[Version, ObjectValue, CellGeneration]:
        for tried in count(1):
            if saving.next_number is None:
                self._look_for_number(saving)
            assert saving.next_number is not None
            version = saving.next_number
            name = cell_name(saving.name, version)
            written = self._ledger.cells.first(OBJECT, name, _stored(value, version), run_id=run_id, guarded=guarded)
            if written is not None:
                return version, value, written
            # Others save at the same time. The next number is as good as what a listing would show: whoever has saved
            # a higher one meanwhile began before this save was done.
            saving.next_number = version.next_major() if tried % LISTED_AGAIN_AFTER else None
        raise AssertionError("unreachable")

    def _look_for_number(self, saving: Saving) -> None:
        """The number behind the highest that anybody has taken, whatever became of it: no number is used again."""
        highest = self._finding.highest_number(saving.name)
        saving.next_number = highest.next_major() if highest else FIRST

    def _settled(self, saving: Saving, found: Found, digest: str) -> Version | None:
        """The version, if there is nothing to write; None if it is to be overwritten.

        Raises:
            RegistryVersionConflict: It has other content or metadata, which stay.
        """
        same, facts = found.value.digest == digest, found.value.metadata
        loses = not saving.overwrites and bool(saving.metadata) and saving.metadata != facts
        if same and not loses and saving.run_id is not None and found.generation.tx == saving.run_id:
            return None  # another task of the run has staged it, and takes it back if it fails: this one has its own
        if saving.on_conflict == "skip":
            return found.version
        if saving.overwrites:
            return found.version if same and saving.metadata == facts else None
        if same and not loses:
            return found.version
        raise RegistryVersionConflict(
            f"Object {found.id!r:.250} exists with {'this content and other metadata' if same else 'other content'}",
            why="This registry can be overwritten, and the call did not ask for it"
            if saving.settings.mutable
            else "This registry never changes what it has saved",
            todo="Save it under another name or version; on_conflict='skip' keeps what is there"
            + (", on_conflict='overwrite' replaces it" if saving.settings.mutable else ""),
            committed="no",
            name=found.name,
            version=str(found.version),
        )

    def _deleted(self, saving: Saving, version: Version) -> RegistryVersionConflict:
        return RegistryVersionConflict(
            f"Object {cell_name(saving.name, version)!r:.250} was deleted",
            why="A number is never used again for another content",
            todo="Restore it, or save without a version to get the next number",
            committed="no",
            name=saving.name,
            version=str(version),
        )

    def _looks_first(self, saving: Saving) -> bool:
        """Whether the store probably has the content, or a part of it, and finding that out is cheaper than sending
        it.
        """
        size, count = saving.draft.size, len(saving.draft.sources)
        worth = saving.version is not None or count > 1 or size >= WORTH_A_COPY_BYTES
        given = saving.version is not None and (saving.run_id is not None or self._store.storage.near)
        return given or (saving.met and worth) or size >= LOOK_FIRST_BYTES

    def _known(self, saving: Saving) -> Found | None:
        """What the store has to compare with: that version, or the latest one."""
        if saving.version is not None:
            there = self._look(saving)
            return self._finding.found(saving.name, saving.version, there) if there is not None else None
        return self._finding.latest(saving.name, saving.run_id)


def _stored(value: ObjectValue, version: Version) -> dict[str, Any]:
    filled = value.model_copy(update={"version": str(version)})
    return filled.model_dump(by_alias=True, exclude_defaults=True)


def root_of(payload: str) -> str:
    """The key of the folder of a payload."""
    run_id, suffix = parse_inner_id(payload, "pl", "payload")
    return paths.dataset_prefix(run_id, suffix)
