"""The datasets of one run: their steps, their manifests, and the files in their folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prefect_registry.catalog.fsck.expected import expect_dataset
from prefect_registry.catalog.fsck.look import Damage, batches
from prefect_registry.catalog.fsck.report import amount
from prefect_registry.catalog.fsck.runs import RunCheck, decoded
from prefect_registry.clock import iso
from prefect_registry.ledger import paths
from prefect_registry.ledger.membership import MOST_LEFT_OUT
from prefect_registry.names import path_problems
from prefect_registry.records.datasets import DatasetGeneration, FileEntry, ManifestDocument
from prefect_registry.storage.base import ObjectInfo

Steps = Mapping[int, DatasetGeneration]


class DatasetsCheck:
    """Looks at what a run has made, and at every byte in its data folder."""

    def __init__(self, run: RunCheck) -> None:
        self.run, self.run_id = run, run.run_id
        self.listed = run.members.datasets if run.members is not None else {}
        self._waiting: list[ObjectInfo] = []
        self._folders: dict[str, dict[str, ObjectInfo]] = defaultdict(dict)
        prefix = paths.data_prefix(self.run_id)
        for key, info in run.home.data.items():
            suffix, _, path = key[len(prefix) :].partition("/")
            self._folders[suffix][path] = info
        self._gens: dict[str, set[int]] = {suffix: set() for suffix in self.listed}
        for key in run.home.objects:
            parts = key.split("/")
            if parts[4] == "datasets":
                self._gens.setdefault(parts[5], set()).add(paths.gen_of_key(key))

    def check(self) -> None:
        """All of them."""
        if not self.run.home.objects:
            return
        for some in batches(sorted(self._gens)):
            wanted = [(suffix, gen) for suffix in some for gen in sorted(self._wanted(suffix))]
            keys = [paths.dataset_key(self.run_id, *each) for each in wanted]
            steps: dict[str, dict[int, DatasetGeneration]] = defaultdict(dict)
            for (suffix, gen), key, found in zip(
                wanted, keys, self.run.checked.documents(keys, DatasetGeneration), strict=True
            ):
                document = self.run.taken(key, found, self.run.ended or self._info(suffix))
                if document is not None and self._fits(suffix, gen, key, document):
                    steps[suffix][gen] = document
            for suffix in some:
                self._dataset(suffix, steps[suffix])
        self._rest()

    def _info(self, suffix: str) -> ObjectInfo | None:
        return self.run.info(paths.dataset_key(self.run_id, suffix, max(self._gens[suffix], default=0)))

    def _wanted(self, suffix: str) -> set[int]:
        """Every step that is there, and those that must be: what the decision lists, and all before the newest."""
        gens = self._gens[suffix] | ({self.listed[suffix]} if suffix in self.listed else set())
        return gens | set(range(min(max(gens, default=0), 10)))

    def _fits(self, suffix: str, gen: int, key: str, document: DatasetGeneration) -> bool:
        dataset_id = f"ds_{self.run_id[4:]}_{suffix}"
        if (document.dataset_id, document.run_id, document.gen) == (dataset_id, self.run_id, gen):
            return True
        self.run.wrong(key, f"generation {document.gen} of {document.dataset_id} in {document.run_id}")
        return False

    # -- one dataset ---------------------------------------------------------------------------------------------

    def _dataset(self, suffix: str, steps: Steps) -> None:
        newest = max(self._gens[suffix], default=0)
        committed = self.run.members is not None
        counts = self.listed.get(suffix) if committed else newest
        if committed:
            self._late(suffix, newest)
        outcome = self.run.standing.outcome
        shown = counts if counts is not None else newest
        expect_dataset(self.run, suffix, steps, shown, counts is not None if committed else None)
        folder = self._folders.pop(suffix, {})
        if self.run.is_unknown:
            return  # its bytes may be collected, or not
        document = steps.get(counts) if counts is not None else None
        if counts is not None and document is None and outcome != "aborted":
            return  # it is told already that its document is missing or damaged: who knows which files it had
        if document is None or outcome == "aborted" or document.step == "rolled_back":
            if outcome is not None or (document is not None and document.step == "rolled_back"):
                self._waiting += folder.values()
        elif document.step == "begun":
            self._waiting += folder.values() if committed and outcome is not None else ()
        else:
            self._staged(suffix, document, folder)

    def _late(self, suffix: str, newest: int) -> None:
        end = self.run.end
        assert end is not None
        listed, pending = self.listed.get(suffix), end.left_out.pending
        known = newest <= listed if listed is not None else newest == 0 and suffix in pending
        if not known and not (listed is None and newest == 0 and len(pending) >= MOST_LEFT_OUT):
            key = paths.dataset_key(self.run_id, suffix, newest)
            what = f"The decision lists generation {listed}" if listed is not None else "The decision does not list it"
            self.run.looked.tell("late-member", key, what, self.run.info(key))
            if listed is None:  # the index may have sealed the hour before it landed: it is dead either way
                self.run.looked.remember("hidden", "datasets", f"ds_{self.run_id[4:]}_{suffix}")

    # -- files ---------------------------------------------------------------------------------------------------

    def _staged(self, suffix: str, document: DatasetGeneration, folder: dict[str, ObjectInfo]) -> None:
        key = paths.dataset_key(self.run_id, suffix, document.gen)
        named_by = self.run.info(key)
        files = self._manifest(suffix, document, folder, named_by)
        if files is None:
            return
        total = sum(f.size for f in files)
        if not document.external and (document.file_count, document.bytes) != (len(files), total):
            says = f"{document.file_count:,} files with {document.bytes:,} bytes"
            what = f"It says {says}; its list has {len(files):,} with {total:,}"
            self.run.looked.tell("manifest-contradicted", key, what, named_by)
        prefix = paths.dataset_prefix(self.run_id, suffix)
        if any(f.path not in folder for f in files) and self.run.checked.is_released(document.dataset_id):
            self._waiting += folder.values()
            return
        for entry in files:
            if next(path_problems(entry.path), None) is not None:
                what = f"It names {entry.path!r:.200}, which no dataset can have"
                self.run.looked.tell("manifest-contradicted", key, what, named_by)
                continue
            self._file(prefix + entry.path, entry, folder.pop(entry.path, None), named_by)
        for path, info in folder.items():
            self._extra(path, info)

    def _manifest(
        self, suffix: str, document: DatasetGeneration, folder: dict[str, ObjectInfo], named_by: ObjectInfo | None
    ) -> list[FileEntry] | None:
        ref = document.manifest
        if ref is None:
            return document.files
        prefix = paths.dataset_prefix(self.run_id, suffix)
        if not ref.key.startswith(prefix):
            what = f"Its manifest is {ref.key:.200}, in another folder"
            key = paths.dataset_key(self.run_id, suffix, document.gen)
            self.run.looked.tell("manifest-contradicted", key, what, named_by)
            return None
        folder.pop(ref.key[len(prefix) :], None)
        found = decoded(self.run.referred(ref), ref.key, ManifestDocument)
        if isinstance(found, Damage):
            found = Damage(f"The list of its files: {found.why}")
        manifest = self.run.taken(ref.key, found, named_by)
        return manifest.files if manifest is not None else None

    def _file(self, key: str, entry: FileEntry, info: ObjectInfo | None, named_by: ObjectInfo | None) -> None:
        if info is None:
            self.run.looked.tell("file-missing", key, f"{entry.size:,} bytes are missing", named_by)
        elif info.size != entry.size:
            what = f"It has {info.size:,} bytes; {entry.size:,} were committed"
            self.run.looked.tell("file-changed", key, what, info)
        elif entry.sha256 and self.run.standing.outcome == "committed":
            self.run.looked.files.append((key, entry.size, entry.sha256, iso(info.modified)))

    def _extra(self, path: str, info: ObjectInfo) -> None:
        name = path.rpartition("/")[2]
        if name.startswith("_manifest-"):
            self.run.looked.tell("left-over", info.key, "A list of files that no dataset refers to", info)
        else:
            hidden = any(part.startswith(("_", ".")) for part in path.split("/"))  # Hadoop's own: no members by design
            what = f"{info.size:,} bytes that the manifest of the dataset does not list"
            self.run.looked.tell("foreign-file", info.key, what, info, "note" if hidden else "warning")

    def _rest(self) -> None:
        """Folders of no dataset, and what waits for the collector."""
        aborted = self.run.standing.outcome == "aborted"
        for folder in self._folders.values():
            if aborted or self.run.is_unknown:
                self._waiting += folder.values() if aborted else ()
                continue
            for info in folder.values():
                what = f"{info.size:,} bytes in a folder of no dataset"
                self.run.looked.tell("foreign-file", info.key, what, info)
        if self._waiting:
            size = sum(o.size for o in self._waiting)
            what = f"{amount(len(self._waiting), 'file')} with {amount(size, 'byte')}"
            since = self.run.ended or max(self._waiting, key=lambda o: o.modified)
            self.run.looked.tell("bytes-waiting", paths.data_prefix(self.run_id), what, since)
