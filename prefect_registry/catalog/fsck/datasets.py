"""The datasets of one run: their steps, and the files that they say they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prefect_registry.catalog.fsck.expected import expect_dataset
from prefect_registry.catalog.fsck.folders import Folders, Made
from prefect_registry.catalog.fsck.look import batches
from prefect_registry.catalog.fsck.runs import RunCheck
from prefect_registry.ledger import paths
from prefect_registry.ledger.membership import MOST_LEFT_OUT
from prefect_registry.records.datasets import LATER_STATES, DatasetGeneration
from prefect_registry.storage.base import ObjectInfo

Steps = Mapping[int, DatasetGeneration]


class DatasetsCheck:
    """Looks at the datasets that a run has made, and at their folders."""

    def __init__(self, run: RunCheck, folders: Folders) -> None:
        self.run, self.run_id, self.folders = run, run.run_id, folders
        self.listed = run.members.datasets if run.members is not None else {}
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
        folder = self.folders.take(suffix)
        if self.run.is_unknown:
            return  # its bytes may be collected, or not
        document = steps.get(counts) if counts is not None else None
        if counts is not None and document is None and outcome != "aborted":
            return  # it is told already that its document is missing or damaged: who knows which files it had
        if document is None or outcome == "aborted" or document.step == "rolled_back":
            if outcome is not None or (document is not None and document.step == "rolled_back"):
                self.folders.waiting += folder.values()
        elif document.step == "begun":
            self.folders.waiting += folder.values() if committed and outcome is not None else ()
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
        kept = (document.file_count, document.bytes) if not document.external else None
        made = Made(key, "", suffix, document.files, document.manifest, kept, LATER_STATES, document.dataset_id)
        self.folders.check(made, folder, named_by)
