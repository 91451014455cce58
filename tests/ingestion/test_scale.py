"""A tick over many publications with long histories, when nothing is due."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from ingestion_support import START, Later, Stage

from prefect_registry import Registry
from prefect_registry.ingestion import Collection, Ingestion, Job, PlannedTask, Result, Task
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage

MOST_SECONDS = 2.0


def ended(publication: str, number: int, days_ago: float) -> Job:
    """A job as one looks that had five tasks and has told something."""
    start = START - timedelta(days=days_ago)
    id = f"{publication}/{number}"
    tasks = [
        Task(id=f"{id}/{n}", job=id, type="played", order=n, name=f"task {n}", start=start, key=f"{id}/{n}/x")
        for n in range(1, 6)
    ]
    for task in tasks:
        task.complete(Result.OK, start + timedelta(hours=task.order))
    context = {"rows": 1000 + number, "etag": "x" * 40, "pages": list(range(20))}
    job = Job(id=id, collection=publication, start=start, tasks=tasks, context=context, archived=True)
    job.complete(start + timedelta(hours=5))
    return job


def filled(registry: Registry, publications: int, jobs: int) -> None:
    """Publications with jobs, by one run."""
    cells = registry.ledger.cells
    plan = [PlannedTask(type="played", name=f"task {n}") for n in range(1, 6)]
    with registry.run("fill") as run:
        for p in range(publications):
            found = Collection(id=f"p{p:04}", title="x" * 60, retrieval_frequency="MONTHLY", plan=plan, created=START)
            found.active_job = f"{found.id}/{jobs}"
            cells.write("publication", found.id, found.as_value(), run_id=run.id, blind=True, guarded=False)
            for n in range(1, jobs + 1):
                job = ended(found.id, n, days_ago=30 * (jobs - n) + 10)
                cells.write("job", job.id, job.as_value(), run_id=run.id, blind=True, guarded=False)


def tick_of(publications: int, jobs: int) -> tuple[float, int]:
    """Seconds and storage calls of a tick by a process whose index is up to date, hours after the last job."""
    clock = Later()
    storage = CountingStorage(MemoryStorage(clock=clock))
    registry = Registry(storage, use_cache=False, clock=clock)
    filled(registry, publications, jobs)
    ingestion = Ingestion(registry, managers={"played": Stage().manager}, now=lambda: START)
    for _ in range(3):  # what is looked at again and again is the present hour, and what is still open
        clock.hours += 2
        registry.incident("hour", "p", "Hour", "passes")
        ingestion.tick()
    with storage.measure() as measure:
        began = time.process_time()  # the store is this process's memory: nothing is waited for
        report = ingestion.tick()
        seconds = time.process_time() - began
    assert (report.created, report.changes, report.errors, report.archived) == ([], [], {}, [])
    assert not {"create", "put", "upload", "delete_many"} & set(measure.by_method)
    assert len(list(ingestion.publications())) == publications
    return seconds, measure.total


def test_the_calls_of_a_tick_do_not_grow() -> None:
    """With nothing due, a tick is one look at what is new, whatever there is."""
    assert tick_of(3, 2)[1] == tick_of(50, 20)[1] <= 3


@pytest.mark.deep
def test_a_thousand_publications_and_twenty_thousand_jobs() -> None:
    """With nothing due, a tick takes less than 2 seconds."""
    seconds, calls = tick_of(1_000, 20)
    print(f"{seconds:.2f} s, {calls} calls")
    assert calls <= 3
    assert seconds < MOST_SECONDS, f"{seconds:.2f} s"
    print(f"{seconds:.2f} s, {calls} calls")
