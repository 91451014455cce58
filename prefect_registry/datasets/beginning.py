"""Beginning datasets, in the run or, with ``publish="on_commit"``, each in a run of its own (DESIGN.md P13)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_registry.datasets.checks import check_arguments
from prefect_registry.datasets.finding import Finding
from prefect_registry.errors import AlreadyExists, Conflict, RevisionConflict, in_run
from prefect_registry.ids import encode, parse_inner_id
from prefect_registry.ledger import observers, paths
from prefect_registry.ledger.ledger import RunSpec
from prefect_registry.records.base import as_json
from prefect_registry.records.datasets import DatasetGeneration, Mode
from prefect_registry.records.runs import failure

KEYS = "dataset_key"
"""The type of the cells that tell which dataset a key names, where every dataset has a run of its own (P13)."""
MOST_INCARNATIONS = 1_000


class Beginning(Finding):
    """Begins datasets of one registry."""

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
    ) -> DatasetGeneration:
        """A new PENDING dataset of ``run_id``, or the one that ``key`` names; see ``Registry.begin_dataset``."""
        check_arguments(kind, mode, partition, key, tags, task_run)
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
        if on_commit:
            with in_run(run_id):
                document = self._begin_keyed(run_id, draft, key) if key else self._begin_in_own_run(run_id, draft)
        else:
            document = self._begin_in(run_id, draft, key)
        observers.dataset_begun(self.store.storage.url, run_id, document.dataset_id)
        return document

    def _begin_in(self, run_id: str, draft: dict[str, Any], key: str | None) -> DatasetGeneration:
        suffix = self.store.ids.suffix() if key is None else _suffix_of(key, 0)
        for incarnation in range(1, MOST_INCARNATIONS):
            document = self._document(run_id, suffix, draft)
            where = paths.dataset_key(run_id, suffix, 0)
            try:
                self.ledger.runs.within(run_id, [partial(self.store.create, where, document)], "begin a dataset")
                return document
            except AlreadyExists:
                found = self.highest(run_id, suffix)
                if key is None or found is None:
                    raise
                _check_same_key(found, draft)
                if found.step == "begun":
                    found = self._take_over(found, key)
                if found.step == "staged":
                    return found
                suffix = _suffix_of(key, incarnation)  # a dropped attempt: begin afresh beside it
        raise _too_often(key, run_id)

    def _take_over(self, found: DatasetGeneration, key: str) -> DatasetGeneration:
        """Drop what another writer has begun under the key, or learn that it is staged.

        That writer may be dead, or not know that its task runs again elsewhere: two of them must not write into one
        folder. So the newest one has the key, as with attempts of a flow run (P14).
        """
        dropped = found.model_copy(
            update={
                "write_id": self.store.ids.write_id(),
                "gen": found.gen + 1,
                "step": "rolled_back",
                "at": self.store.clock.now(),
                "reason": f"its key {key!r} was begun again: the newer writer has it",
            }
        )
        where = paths.dataset_key(found.run_id, found.dataset_id[-16:], dropped.gen)
        try:
            self.ledger.runs.within(found.run_id, [partial(self.store.create, where, dropped)], "begin a dataset")
        except AlreadyExists:
            return self.highest(found.run_id, found.dataset_id[-16:]) or dropped
        return dropped

    def _begin_keyed(self, parent: str, draft: dict[str, Any], key: str) -> DatasetGeneration:
        """``key`` with ``publish="on_commit"``: a cell tells which dataset it names, in all attempts of a flow run.

        One that was aborted, or begun and never committed, is begun afresh: the newest writer has the key.
        """
        flow_run = self.ledger.runs.known(parent).flow_run
        attempts = self.ledger.runs.attempts(flow_run) if flow_run is not None else []
        name = f"{attempts[0].value['run_id'] if attempts else parent}/{key}"
        for _ in range(MOST_INCARNATIONS):
            latest = self.ledger.cells.latest(KEYS, name)
            found = self._still_there(latest.value["dataset_id"]) if latest is not None else None
            if found is not None:
                _check_same_key(found, draft)
                return found
            document = self._begin_in_own_run(parent, draft)
            try:
                self.ledger.cells.write(
                    KEYS, name, {"dataset_id": document.dataset_id}, expected=latest.gen if latest is not None else None
                )
                return document
            except RevisionConflict:  # another process was first: use its dataset
                self.ledger.abort(document.run_id, failure("KeyTaken", f"{key!r} names another dataset", "cancelled"))
            except BaseException as error:  # nobody else knows of the run: it must not go on beating
                self.ledger.drop(document.run_id, error)
                raise
        raise _too_often(key, parent)

    def _still_there(self, dataset_id: str) -> DatasetGeneration | None:
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        why = "its key was begun again: the newer writer has it"
        decided = self.store.decision(run_id)
        if decided is None:
            found = self.highest(run_id, suffix)
            if found is not None and found.step == "staged":  # being committed, or given up on the way
                self.ledger.leases.abort_if_over(run_id, why)
            else:
                self.ledger.abort(run_id, failure("KeyTakenOver", why, "cancelled"), why)
        return self.highest(run_id, suffix) if self.ledger.outcomes.effective(run_id) != "aborted" else None

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
        self.ledger.keep(begin)
        return document

    def _document(self, run_id: str, suffix: str, draft: dict[str, Any]) -> DatasetGeneration:
        return DatasetGeneration(
            write_id=self.store.ids.write_id(),
            dataset_id=f"ds_{run_id[4:]}_{suffix}",
            run_id=run_id,
            root=paths.dataset_prefix(run_id, suffix).rstrip("/"),
            **draft,
        )


def _suffix_of(key: str, incarnation: int) -> str:
    """The same suffix for the same ``key`` in one run: what makes ``key=`` idempotent."""
    digest = hashlib.sha256(f"{incarnation}:{key}".encode()).digest()
    return encode(int.from_bytes(digest[:10], "big"), 16)


def _check_same_key(found: DatasetGeneration, draft: Mapping[str, Any]) -> None:
    """One key names one dataset: refuse to begin another kind, mode or partition under it."""
    differing = [n for n in ("key", "kind", "mode", "partition") if getattr(found, n) != draft[n]]
    if differing:
        raise AlreadyExists(
            f"The key {draft['key']!r:.80} names dataset {found.dataset_id} of kind {found.kind!r:.80} already",
            why=f"It was begun with another {' and '.join(differing)}",
            todo="Give every dataset of a run a key of its own",
            committed="no",
        )


def _too_often(key: str | None, run_id: str) -> Conflict:
    return Conflict(
        f"The key {key!r:.80} was begun too often in {run_id}",
        why=f"It was rolled back {MOST_INCARNATIONS:,} times",
        todo="Find out why the work fails every time",
        committed="no",
    )
