"""The folders below the data of one run: the files of datasets and of objects against their manifests, and the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_registry.catalog.fsck.look import Damage
from prefect_registry.catalog.fsck.report import amount
from prefect_registry.catalog.fsck.runs import RunCheck, decoded
from prefect_registry.clock import iso
from prefect_registry.ledger import paths
from prefect_registry.names import path_problems
from prefect_registry.records.datasets import FileEntry, ManifestDocument
from prefect_registry.records.runs import Reference
from prefect_registry.storage.base import ObjectInfo

Folder = dict[str, ObjectInfo]
"""What lies in a folder, by relative path."""


@dataclass(frozen=True)
class Made:
    """What a document says that a folder has.

    Attributes:
        key: The document.
        of: What it describes, for people: "" or " of object 'm@1'".
        counts: Files and bytes in all, as it says; None where it is about files elsewhere.
        release_type: The type of the cell that tells whether retention has released it, and its ``release_name``.
    """

    key: str
    of: str
    suffix: str
    files: Sequence[FileEntry]
    manifest: Reference | None
    counts: tuple[int, int] | None
    release_type: str
    release_name: str


class Folders:
    """The folders of a run; each is taken by what has made it. ``waiting`` has the files that the collector may delete.

    ``is_unsure`` is set when something that may have made a folder cannot be read.
    """

    def __init__(self, run: RunCheck) -> None:
        self.run = run
        self.waiting: list[ObjectInfo] = []
        self.is_unsure = False
        self._folders: dict[str, Folder] = defaultdict(dict)
        prefix = paths.data_prefix(run.run_id)
        for key, info in run.home.data.items():
            suffix, _, path = key[len(prefix) :].partition("/")
            self._folders[suffix][path] = info

    def take(self, suffix: str) -> Folder:
        """What lies in a folder; nobody else may take it again."""
        return self._folders.pop(suffix, {})

    # -- files ---------------------------------------------------------------------------------------------------

    def check(self, made: Made, folder: Folder, named_by: ObjectInfo | None) -> None:
        """Every file of a manifest must be there, in its size; what else is there is told."""
        files = self._listed(made, folder, named_by)
        if files is None:
            return
        total = sum(f.size for f in files)
        if made.counts is not None and made.counts != (len(files), total):
            says = f"{made.counts[0]:,} files with {made.counts[1]:,} bytes"
            what = f"It says {says}; its list has {len(files):,} with {total:,}"
            self.run.looked.tell("manifest-contradicted", made.key, what, named_by)
        prefix = paths.dataset_prefix(self.run.run_id, made.suffix)
        is_partial = any(f.path not in folder for f in files)
        if is_partial and self.run.checked.is_released(made.release_type, made.release_name):
            self.waiting += folder.values()
            return
        for entry in files:
            if next(path_problems(entry.path), None) is not None:
                what = f"It names {entry.path!r:.200}, which cannot be a file{made.of}"
                self.run.looked.tell("manifest-contradicted", made.key, what, named_by)
                continue
            self._file(prefix + entry.path, entry, folder.pop(entry.path, None), named_by, made.of)
        for path, info in folder.items():
            self._extra(path, info, made.of)

    def _listed(self, made: Made, folder: Folder, named_by: ObjectInfo | None) -> Sequence[FileEntry] | None:
        ref = made.manifest
        if ref is None:
            return made.files
        prefix = paths.dataset_prefix(self.run.run_id, made.suffix)
        if not ref.key.startswith(prefix):
            what = f"Its manifest is {ref.key:.200}, in another folder"
            self.run.looked.tell("manifest-contradicted", made.key, what, named_by)
            return None
        folder.pop(ref.key[len(prefix) :], None)
        found = decoded(self.run.referred(ref), ref.key, ManifestDocument)
        if isinstance(found, Damage):
            found = Damage(f"The list of its files: {found.why}")
        manifest = self.run.taken(ref.key, found, named_by)
        return manifest.files if manifest is not None else None

    def _file(self, key: str, entry: FileEntry, info: ObjectInfo | None, named_by: ObjectInfo | None, of: str) -> None:
        if info is None:
            self.run.looked.tell("file-missing", key, f"{entry.size:,} bytes{of} are missing", named_by)
        elif info.size != entry.size:
            what = f"It has {info.size:,} bytes; {entry.size:,}{of} were committed"
            self.run.looked.tell("file-changed", key, what, info)
        elif entry.sha256 and self.run.standing.outcome == "committed":
            self.run.looked.files.append((key, entry.size, entry.sha256, iso(info.modified), of))

    def _extra(self, path: str, info: ObjectInfo, of: str) -> None:
        name = path.rpartition("/")[2]
        if name.startswith("_manifest-"):
            self.run.looked.tell("left-over", info.key, "A list of files that nothing refers to", info)
        else:
            hidden = any(part.startswith(("_", ".")) for part in path.split("/"))  # Hadoop's own: no members by design
            what = f"{info.size:,} bytes that the manifest{of or ' of the dataset'} does not list"
            self.run.looked.tell("foreign-file", info.key, what, info, "note" if hidden else "warning")

    # -- the rest ------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Folders that nothing has made, and what waits for the collector."""
        run = self.run
        if not run.home.objects:
            return  # told as an unknown run
        never_began = run.begin is None and run.end is None and not run.listing.datasets
        dead = run.standing.outcome is not None or never_began  # else they may be on their way
        if dead and not self.is_unsure and (run.standing.outcome == "aborted" or not run.is_unknown):
            self.waiting += (info for folder in self._folders.values() for info in folder.values())
        if self.waiting:
            size = sum(o.size for o in self.waiting)
            what = f"{amount(len(self.waiting), 'file')} with {amount(size, 'byte')}"
            since = run.ended or max(self.waiting, key=lambda o: o.modified)
            run.looked.tell("bytes-waiting", paths.data_prefix(run.run_id), what, since)
