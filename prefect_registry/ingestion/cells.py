"""Publications and jobs in the store: read from the index many at a time, written one generation at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

import orjson

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.schema import micros
from prefect_registry.errors import FormatError, RevisionConflict
from prefect_registry.ingestion.attempts import LEASE_SECONDS, PURPOSE
from prefect_registry.ingestion.enums import Status
from prefect_registry.ingestion.models import Collection, Job, Scope, bound
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.cells import CellGeneration

if TYPE_CHECKING:
    from prefect_registry.ingestion.service import Ingestion

log = logging.getLogger("prefect_registry")
PUBLICATION = "publication"
JOB = "job"

_NEWEST = (
    "SELECT {0} FROM cells AS c WHERE type = ? {1}"
    " AND gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key)"
)
_NEWEST_ALIVE = _NEWEST.removesuffix(")") + " AND NOT deleted)"
_SUMMARY = (
    "name, gen, deleted, json_extract(value, '$.status') AS status, json_extract(value, '$.start') AS start,"
    " json_extract(value, '$.archived') AS archived, json_extract(value, '$.keep_all_data') AS keep"
)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a tick needs of every job. ``start`` is ISO 8601 in UTC, so that texts compare as times do."""

    id: str
    gen: int
    status: str
    start: str | None
    archived: bool
    keep_all_data: bool

    @property
    def number(self) -> int:
        """The job's number in its publication."""
        return int(self.id.rpartition("/")[2])

    @property
    def incomplete(self) -> bool:
        """Whether it has not ended."""
        return self.status != Status.COMPLETED


@dataclass
class Seen:
    """One publication and its jobs in one state of the index. ``highest`` counts jobs that were deleted too."""

    collection: Collection
    jobs: list[JobSummary] = field(default_factory=list)
    highest: int = 0

    @cached_property
    def last(self) -> JobSummary | None:
        """The job that was scheduled last; one without a start counts as the newest."""
        return max(self.jobs, key=lambda j: (j.start is None, j.start or "", j.number), default=None)

    @cached_property
    def incomplete(self) -> list[JobSummary]:
        """Jobs that have not ended, oldest first."""
        return sorted((j for j in self.jobs if j.incomplete), key=lambda j: j.number)


class Shelf:
    """Reads and writes the cells of publications and jobs."""

    def __init__(self, ledger: Ledger, catalog: Catalog, ingestion: Ingestion) -> None:
        self.ledger, self.catalog, self._ingestion = ledger, catalog, ingestion

    # -- many, from the index ------------------------------------------------------------------------------------

    def look(self, ids: Sequence[str] | None = None) -> dict[str, Seen]:
        """Publications with their jobs, by id: all, or those of ``ids``. One sync of the index, no reads by key."""
        return self.catalog.ask(lambda connection: self._look(connection, ids))

    def _look(self, connection: Connection, ids: Sequence[str] | None) -> dict[str, Seen]:
        seen = {c.id: Seen(c) for c in self._collections(connection, ids)}
        for row in _summaries(connection, ids):
            publication, _, number = row["name"].rpartition("/")
            if publication not in seen:
                continue
            found = seen[publication]
            found.highest = max(found.highest, int(number))
            if not row["deleted"]:
                found.jobs.append(
                    JobSummary(
                        row["name"], row["gen"], row["status"] or Status.PLANNED, row["start"],
                        bool(row["archived"]), bool(row["keep"]),
                    )
                )  # fmt: skip
        return seen

    def _collections(self, connection: Connection, ids: Sequence[str] | None) -> Iterable[Collection]:
        for row in _named(connection, "name, gen, deleted, value", PUBLICATION, ids):
            if row["deleted"]:
                continue
            try:
                yield bound(orjson.loads(row["value"]), row["gen"], self._ingestion)
            except FormatError as error:  # one of them must not stop the others
                log.warning("It is left alone: %s", error)

    def jobs(self, ids: Sequence[str]) -> list[Job]:
        """Whole jobs by id, in the order of ``ids``, as the index has them, without deleted ones."""
        if not ids:
            return []
        wanted = "name, gen, deleted, value"
        rows = self.catalog.ask(lambda c: {row["name"]: row for row in _named(c, wanted, JOB, ids)}, max_age=60)
        return [
            self._job(orjson.loads(rows[i]["value"]), rows[i]["gen"])
            for i in ids
            if i in rows and not rows[i]["deleted"]
        ]

    def left_jobs(self, publication: str) -> list[Job]:
        """The jobs of a publication that are not deleted, also when the publication is; oldest first."""
        return self._jobs_of(publication, _NEWEST)

    def past_jobs(self, publication: str) -> list[Job]:
        """Every job that there ever was, as it was before it was deleted; oldest first."""
        return self._jobs_of(publication, _NEWEST_ALIVE)

    def _jobs_of(self, publication: str, query: str) -> list[Job]:
        asked = query.format("name, gen, value", "AND name > ? AND name < ? AND NOT deleted")
        found = self.catalog.ask(
            lambda connection: connection.execute(asked, (JOB, f"{publication}/", f"{publication}0")).fetchall()
        )
        jobs = [self._job(orjson.loads(row["value"]), row["gen"]) for row in found]
        return sorted(jobs, key=lambda job: job.number)

    def orphans(self, before: datetime) -> list[str]:
        """Runs that were begun for jobs before a time, are undecided, and that no job that goes on refers to: their
        managers died before they could write that down.
        """

        def find(connection: Connection) -> list[str]:
            runs = connection.execute(
                "SELECT id FROM runs WHERE state = 'RUNNING' AND parent IS NULL AND lease_seconds = ?"
                " AND purpose LIKE ? AND started_at < ?",
                (LEASE_SECONDS, f"{PURPOSE}%", micros(before)),
            )
            found = {str(row["id"]) for row in runs}
            if not found:
                return []
            jobs = connection.execute(_NEWEST.format("json_extract(value, '$.run') AS run", "AND NOT deleted"), (JOB,))
            return sorted(found - {row["run"] for row in jobs})

        return self.catalog.ask(find, max_age=60)

    # -- one, from the store -------------------------------------------------------------------------------------

    def publication(self, id: str, run: str | None = None) -> Collection | None:
        """A publication as it is now, seen from inside ``run``."""
        found = self.ledger.cells.latest(PUBLICATION, id, run)
        if found is None or found.deleted:
            return None
        return bound(found.value, found.gen, self._ingestion)

    def is_removed(self, id: str) -> bool:
        """Whether a publication that the index shows is removed: who did it may have died before the tombstone got its
        touch. Then it gets one.
        """
        found = self.ledger.cells.latest(PUBLICATION, id)
        if found is None or not found.deleted:
            return False
        self.ledger.cells.touch(found)
        return True

    def job(self, id: str, known: int | None = None) -> tuple[Job | None, CellGeneration | None]:
        """A job as it is now; and what the run that publishes it has staged of it, if that was the last thing done.

        A writer may have died before its generation got its touch, without which no index and no commit finds it: what
        is newer than ``known`` is touched again.
        """
        cells = self.ledger.cells
        newest = cells.newest(JOB, id)
        if newest is None:
            return None, None
        visible = cells.visible_from(newest)
        if visible is None:
            return None, None
        if visible.tx is None and (known is None or visible.gen > known):
            cells.touch(visible)
        if visible.deleted:
            return None, None
        job = self._job(visible.value, visible.gen)
        if job.run is None or newest.tx != job.run:
            return job, None
        if self.ledger.store.decision(job.run) is not None:
            return job, None
        cells.touch(newest)
        return job, newest

    def touch_staged(self, publication: str, run: str) -> None:
        """Touch what a run has staged of a publication, for the writer of :meth:`job`."""
        newest = self.ledger.cells.newest(PUBLICATION, publication)
        if newest is not None and newest.tx == run:
            self.ledger.cells.touch(newest)

    def staged_job(self, staged: CellGeneration) -> Job:
        """The job as its run has staged it."""
        return self._job(staged.value, staged.gen)

    # -- writing -------------------------------------------------------------------------------------------------

    def save_job(self, job: Job, now: datetime, run: str | None = None) -> None:
        """The job's next generation. Raises ``RevisionConflict`` when somebody else has written one since it was read;
        for a new job, when its number is taken.
        """
        job.modified = now
        job.created = job.created or now
        for task in job.tasks:
            task.created = task.created or now
        written = self.ledger.cells.write(
            JOB, job.id, job.as_value(), run_id=run, expected=job.gen, blind=job.gen is None
        )
        job._gen = written.gen

    def delete_job(self, job: Job, reason: str) -> None:
        """A tombstone; its number is never used again."""
        self.ledger.cells.write(JOB, job.id, {}, expected=job.gen, deleted=True, reason=reason)

    def save_publication(
        self, collection: Collection, now: datetime, run: str | None = None, reason: str | None = None
    ) -> None:
        """The publication's next generation. Raises ``RevisionConflict`` as :meth:`save_job` does."""
        collection.modified = now
        collection.created = collection.created or now
        written = self.ledger.cells.write(
            PUBLICATION, collection.id, collection.as_value(), run_id=run, expected=collection.gen,
            blind=collection.gen is None, reason=reason,
        )  # fmt: skip
        collection._gen = written.gen

    def delete_publication(self, collection: Collection, reason: str) -> None:
        """A tombstone; its history stays, and its jobs are deleted one by one."""
        self.ledger.cells.write(PUBLICATION, collection.id, {}, expected=collection.gen, deleted=True, reason=reason)

    def change_publication(self, id: str, now: datetime, **values: Any) -> Collection | None:
        """Set fields of a publication, whoever else writes it meanwhile; None when there is none."""
        for attempt in range(10):
            found = self.publication(id)
            if found is None:
                return None
            for name, value in values.items():
                setattr(found, name, value)
            try:
                self.save_publication(found, now)
            except RevisionConflict:
                if attempt == 9:
                    raise
                continue
            return found
        raise AssertionError("unreachable")

    def bind(self, job: Job, collection: Collection) -> Job:
        """Make the job's tasks tasks of this job and publication."""
        scope = Scope(self._ingestion, collection, job)
        job._ingestion = self._ingestion
        for task in job.tasks:
            task.bind(scope)
        return job

    def _job(self, value: Any, gen: int) -> Job:
        job = Job.model_validate(value)
        job._gen, job._ingestion = gen, self._ingestion
        return job


def _summaries(connection: Connection, ids: Sequence[str] | None) -> Iterable[Any]:
    if ids is None:
        yield from connection.execute(_NEWEST.format(_SUMMARY, ""), (JOB,))
        return
    for id in ids:  # "0" follows "/" in every encoding of names
        yield from connection.execute(_NEWEST.format(_SUMMARY, "AND name > ? AND name < ?"), (JOB, f"{id}/", f"{id}0"))


def _named(connection: Connection, columns: str, type_: str, names: Sequence[str] | None) -> Iterable[Any]:
    if names is None:
        yield from connection.execute(_NEWEST.format(columns, "") + " ORDER BY name", (type_,))
        return
    for start in range(0, len(names), 500):
        part = names[start : start + 500]
        marks = ", ".join("?" * len(part))
        yield from connection.execute(_NEWEST.format(columns, f"AND name IN ({marks})"), (type_, *part))
