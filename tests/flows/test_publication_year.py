"""The flights of New York City as a monthly publication, over a simulated year in which much goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flows import nycflights
from prefect_registry import Registry
from prefect_registry.ingestion import (
    Collection,
    Ingestion,
    Job,
    PlannedTask,
    RecoverableError,
    Status,
    Task,
    TaskManager,
)

FIRST_DAY = datetime(2013, 2, 3, 6, 0, tzinfo=UTC)
COLUMNS = ["year", "month", "day", "carrier", "flight", "origin", "dest", "dep_delay"]


@dataclass
class Publisher:
    """Publishes all flights up to the end of the last month, two days late; July not before September."""

    flights: pa.Table
    now: datetime = FIRST_DAY

    @property
    def month(self) -> int:
        """Up to which month there are data."""
        last = (self.now - timedelta(days=2)).month - 1 if self.now.year == 2013 else 12
        return 6 if self.now.month == 8 else last

    def file(self) -> pa.Table:
        if self.now.month == 4:
            raise ValueError("the archive is damaged")
        if (self.now.month, self.now.day) == (7, 31):
            raise RecoverableError("503")
        found = self.flights.filter(pc.less_equal(self.flights["month"], self.month))
        return (
            found.rename_columns([*COLUMNS[:-1], "delay"])
            if datetime(2013, 9, 20, tzinfo=UTC) < self.now < datetime(2013, 10, 15, tzinfo=UTC)
            else found
        )


class Retrieve(TaskManager):
    """Takes in the publisher's file, if its columns are those of the job before."""

    remote = False
    final_output = True
    publisher: Publisher

    def run(self) -> None:
        table = self.publisher.file()
        before = self.previous
        if before is not None and before.context["columns"] != table.column_names:
            raise ValueError(f"the columns have changed: {table.column_names}")
        with self.attempt.dataset("flights") as ds:
            ds.write_table(table)
        self.job.context |= {"columns": table.column_names, "month": self.publisher.month, "flights": table.num_rows}

    def get_status(self) -> tuple[Status, str | None]:
        return Status.COMPLETED, None

    def has_changed(self) -> bool | None:
        before = self.previous
        return None if before is None else before.context["month"] != self.publisher.month

    def wipe(self) -> None:
        pass


class Count(Retrieve):
    """Counts the flights by month of what was retrieved."""

    def run(self) -> None:
        staged = self.attempt.table("flights").to_table()
        with self.attempt.dataset("by_month") as ds:
            ds.write_table(staged.group_by("month").aggregate([("flight", "count")]))


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher(nycflights.read_kind("flights").select(COLUMNS))


def seen(registry: Registry) -> tuple[int, int]:
    """Flights that readers see, by the rows and by the counts."""
    now = registry.snapshot()
    counts = now.table("by_month").to_table().to_pydict().get("flight_count", [])
    return now.table("flights").rows or 0, sum(counts)


def test_a_year(publisher: Publisher, tmp_path: Path) -> None:
    """Every day readers see one complete job; what failed is tried again after a week, and what is late next time."""
    registry = Registry(f"memory://{tmp_path}", use_cache=False)

    def maker(kind: type[Retrieve]) -> Any:
        def make(task: Task) -> TaskManager:
            made = kind(task)
            made.publisher = publisher
            return made

        return make

    ingestion = Ingestion(registry, managers={"retrieve": maker(Retrieve), "count": maker(Count)},
                          now=lambda: publisher.now)  # fmt: skip
    plan = [PlannedTask(type="retrieve", max_attempts=0), PlannedTask(type="count")]
    ingestion.put(
        Collection(id="flights", retrieval_frequency="MONTHLY", public=True, plan=plan, prune_metric="flights")
    )
    made: dict[str, Job] = {}
    unchanged = 0
    while publisher.now < FIRST_DAY + timedelta(days=364):
        midnight = publisher.now + timedelta(days=1)
        while (report := ingestion.tick()).created or report.changes:
            active = ingestion.publication("flights").active_job
            job = ingestion.get_job(active) if active is not None else None
            flights = int(job.context["flights"]) if job is not None else 0
            assert seen(registry) == (flights, flights)
            made |= {j.id: j for j in ingestion.jobs("flights")}
            publisher.now += timedelta(minutes=5)
        unchanged += len(report.unchanged)
        publisher.now = midnight
    jobs = sorted(made.values(), key=lambda j: j.number)
    failed = [j for j in jobs if j.is_unsuccessful()]
    notes = [next(t.note for t in j.tasks if t.note) for j in failed]
    assert [n.partition(":")[0] for n in notes] == ["the archive is damaged"] * 4 + ["the columns have changed"] * 3
    assert {(b.start - a.start).days for a, b in pairwise(failed) if a.start and b.start} >= {7}
    months = [j.context["month"] for j in jobs if j.successful]
    assert months == sorted(set(months)), "each month once, and none without new data"
    assert months == [1, 2, 3, 4, 5, 6, 9, 10, 11, 12]
    assert unchanged == 1
    assert {j.start.date() for j in jobs if j.start is not None and j.context.get("month") == 6} == {date(2013, 8, 1)}
    # What the rules keep: the active job, the one before, and failures of the last 180 days before it.
    active_job = next(j for j in jobs if j.id == ingestion.publication("flights").active_job)
    assert active_job.end is not None
    line = active_job.end - timedelta(days=180)
    kept = [j.id for j in jobs if j.successful][-2:] + [j.id for j in failed if j.start is not None and j.start >= line]
    assert sorted(j.id for j in ingestion.jobs("flights")) == sorted(kept)
