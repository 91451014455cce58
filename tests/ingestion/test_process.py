"""Advancing jobs, by the cases of reference system 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ingestion_support import Later, Scene, Stage

from prefect_registry import Registry
from prefect_registry.ingestion import (
    Collection,
    Ingestion,
    PlannedTask,
    RecoverableError,
    Result,
    Status,
    TaskManager,
    process,
)
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage

FIVE = ("collect", "process", "exporter", "coverage", "flattener")


def raising(error: Exception) -> Any:
    def call(manager: TaskManager) -> Any:
        raise error

    return call


def test_oc_10_the_first_two_calls(registry: Registry) -> None:
    """The first call starts job and task, the second completes both; then nothing is due."""
    scene = Scene(registry).process()
    (task,) = scene.job.tasks
    assert (scene.job.status, scene.job.start, scene.job.end) == (Status.RUNNING, scene.time.at, None)
    assert (task.status, task.start, task.end, task.result) == (Status.RUNNING, scene.time.at, None, "")
    scene.process()
    (task,) = scene.job.tasks
    assert (scene.job.status, task.status, task.result) == (Status.COMPLETED, Status.COMPLETED, Result.OK)
    assert not scene.publication.is_out_of_date()
    scene.process(3)
    assert len(scene.jobs) == 1


def test_oc_11_five_tasks_need_six_calls(registry: Registry) -> None:
    """Each call starts at most one task, in the order of the plan."""
    scene = Scene(registry, FIVE)
    for call in range(1, 7):
        scene.process()
        assert scene.stage.did("run") == list(FIVE[:call])
    assert scene.job.is_successful()
    assert len(set(scene.stage.keys)) == 5


def test_oc_12_a_reason_fails_task_and_job(registry: Registry) -> None:
    """A task that ends with a reason has failed, and so has its job; later tasks stay planned, notes are kept."""
    scene = Scene(registry, FIVE)

    def empty(manager: TaskManager) -> tuple[Status, str | None]:
        manager.note("WARNING", "2 pages were empty")
        return Status.COMPLETED, "Collection is empty"

    scene.stage.tells["process"] = empty
    scene.process(3)
    collect, failed, *later = scene.job.tasks
    assert (collect.result, failed.result, failed.note) == (Result.OK, Result.FAILED, "Collection is empty")
    assert [n.note for n in failed.notes] == ["2 pages were empty"]
    assert [t.status for t in later] == [Status.PLANNED] * 3
    assert scene.job.status == Status.COMPLETED
    assert scene.job.is_unsuccessful()
    assert not scene.job.successful
    assert scene.publication.active_job is None
    assert registry.get_run(str(scene.job.run)).state == "ABORTED"
    (incident,) = registry.incidents()
    assert (incident.event, incident.subject_id) == ("job.failed", "p/1")


@pytest.mark.parametrize("where", ["runs", "tells"])
def test_oc_14_other_exceptions_fail_the_task(registry: Registry, where: str) -> None:
    """Whatever a manager raises fails its task, with the text of the exception."""
    scene = Scene(registry)
    getattr(scene.stage, where)["collect"] = raising(ValueError("no such spider"))
    scene.process(2)
    (task,) = scene.job.tasks
    assert (task.status, task.result, task.note) == (Status.COMPLETED, Result.FAILED, "no such spider")
    assert scene.job.start is not None
    scene.time.pass_(days=7)
    assert scene.publication.is_out_of_date()


def test_oc_15_one_job_does_not_stop_another(registry: Registry) -> None:
    """The second of two incomplete jobs goes on when the first raises."""
    scene = Scene(registry)
    scene.add_job(1)
    scene.add_job(2)

    def run(manager: TaskManager) -> None:
        if manager.job.number == 1:
            raise ValueError("boom")

    scene.stage.runs["collect"] = run
    scene.process(2)
    assert [j.successful for j in scene.jobs] == [False, True]


def test_oc_16_a_first_task_that_cannot_start_yet(registry: Registry) -> None:
    """When the first task cannot start now, job and task stay planned, with the reason, and are tried again later."""
    scene = Scene(registry)
    scene.stage.runs["collect"] = raising(RecoverableError("Scrapyd is down"))
    scene.process()
    (task,) = scene.job.tasks
    assert (scene.job.status, scene.job.start, scene.job.run) == (Status.PLANNED, None, None)
    assert (task.status, task.result, task.failures) == (Status.PLANNED, Result.FAILED, 1)
    assert "Scrapyd is down" in task.note
    scene.process()
    assert scene.stage.did("run") == ["collect"], "it waits"
    scene.stage.runs.clear()
    scene.time.pass_(minutes=1)
    scene.process(2)
    assert scene.job.successful
    assert len(scene.stage.keys) == 1, "the same start, under the same key"


def test_failures_that_pass_are_borne_so_often(registry: Registry) -> None:
    """The wait doubles with each failure in a row; after the tenth, the task has failed."""
    scene = Scene(registry)
    scene.process()
    scene.stage.tells["collect"] = raising(RecoverableError("503"))
    waits = []
    while scene.job.status != Status.COMPLETED:
        scene.process()
        (task,) = scene.job.tasks
        if task.not_before is not None:
            waits.append((task.not_before - scene.time.at).total_seconds())
            scene.time.at = task.not_before
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert task.note.startswith("Failed 10 times in a row: 503")


def test_a_failure_that_passed_is_forgotten(registry: Registry) -> None:
    """A task that tells its status again has no failure any more."""
    scene = Scene(registry).process()
    scene.stage.tells["collect"] = raising(RecoverableError("503"))
    scene.process()
    scene.stage.tells["collect"] = lambda manager: (Status.RUNNING, None)
    scene.time.pass_(minutes=5)
    scene.process()
    (task,) = scene.job.tasks
    assert (task.status, task.result, task.note, task.failures) == (Status.RUNNING, "", "", 0)


def test_oc_17_success_makes_the_job_active(registry: Registry) -> None:
    """The job becomes the active one, on the day its first task ended; a policy that is blank is taken over."""
    scene = Scene(registry, ("collect", "final"))

    def told(manager: TaskManager) -> tuple[Status, str | None]:
        manager.job.publication_policy = "https://example.org/policy"
        return Status.COMPLETED, None

    scene.stage.tells["collect"] = told
    scene.process(2)
    first_end = scene.time.at
    scene.time.pass_(days=2)
    scene.process()
    found = scene.publication
    assert (found.active_job, found.last_retrieved) == ("p/1", first_end.date())
    assert found.publication_policy == "https://example.org/policy"
    scene.stage.tells["collect"] = lambda m: setattr(m.job, "publication_policy", "new") or (Status.COMPLETED, None)
    scene.time.pass_(days=30)
    scene.finish()
    assert (scene.publication.active_job, scene.publication.publication_policy) == ("p/2", found.publication_policy)


def test_oc_23_a_dry_run_writes_nothing(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """A dry run tells what it would do, and sends no write of any kind."""
    caplog.set_level("INFO")
    scene = Scene(registry, FIVE)
    storage = CountingStorage(registry.storage)
    dry = Ingestion(Registry(storage, use_cache=False), managers=scene.ingestion.managers)
    with storage.measure() as measure:
        report = dry.process(dry.publication("p"), dry_run=True)
        assert report.created == ["p/1"]
        scene.process()
        process(dry.publication("p"), dry_run=True)
        dry.tick(dry_run=True)
    assert not {"create", "put", "upload", "delete_many"} & set(measure.by_method)
    assert "Would create a job of publication p" in caplog.text
    assert "Would go on with task p/1/1, which is RUNNING" in caplog.text
    assert scene.stage.did("run") == ["collect"]


def test_oc_30_notes_are_rebuilt_on_retry(registry: Registry) -> None:
    """The same note again raises its count; a new start begins without notes."""
    scene = Scene(registry)

    def run(manager: TaskManager) -> None:
        for note, count in {"a": 7, "b": 3, "c": 1, "d": 1, "e": 1, "f": 1}.items():
            for _ in range(count):
                manager.note("ERROR", note)
        if scene.time.at.day == 1:
            raise RecoverableError("not yet")

    scene.stage.runs["collect"] = run
    scene.process()
    scene.time.pass_(days=1)
    scene.process()
    notes = scene.job.tasks[0].notes
    assert [n.data.get("count", 1) for n in notes] == [7, 3, 1, 1, 1, 1]


def test_oc_31_a_job_by_hand(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """None is made while one is due or incomplete; otherwise one, and then no second."""
    scene = Scene(registry)
    assert scene.ingestion.create_job("p") is None
    assert "there is no new one" in caplog.text
    scene.finish()
    made = scene.ingestion.create_job("p")
    assert made is not None
    assert made.id == "p/2"
    assert scene.ingestion.create_job("p") is None


def test_oc_36_a_stuck_task_is_started_again(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """A task beyond its time limit, a day by default, is wiped and started again under a new key, with a warning."""
    scene = Scene(registry).process()
    scene.stage.tells["collect"] = lambda manager: (Status.RUNNING, None)
    scene.time.pass_(days=1)
    scene.process()
    assert scene.stage.did("wipe") == []
    scene.time.pass_(seconds=1)
    scene.process()
    assert scene.stage.calls[-2:] == [("wipe", "collect"), ("run", "collect")]
    assert list(scene.stage.keys.values()) == [1, 1]
    assert "is started again" in caplog.text
    (task,) = scene.job.tasks
    assert (task.restarts, task.start, task.status) == (1, scene.time.at, Status.RUNNING)
    assert [n.level for n in task.notes] == ["WARNING"]


def test_unchanged_sources_make_no_job(registry: Registry) -> None:
    """A source that is what it was is recorded as checked, makes no job, and is asked again after its frequency."""
    scene = Scene(registry)
    scene.finish()
    scene.stage.changed = lambda manager: False
    scene.time.pass_(days=30)
    scene.process(3)
    assert len(scene.jobs) == 1
    assert scene.publication.last_checked == scene.time.at
    assert scene.stage.did("changed") == ["collect"]
    scene.time.pass_(days=30)
    scene.stage.changed = lambda manager: True
    scene.finish()
    assert scene.publication.active_job == "p/2"


def test_a_run_that_was_aborted_by_others_fails_the_job(registry: Registry) -> None:
    """When somebody rolls the job's run back, its task is undone, and the job fails with a note that says so."""
    scene = Scene(registry).process()
    registry.close_run(str(scene.job.run), False, notes="by hand")
    scene.process()
    assert scene.job.status == Status.COMPLETED
    assert scene.job.tasks[0].note == f"Run {scene.job.run} was aborted: by hand"
    assert scene.stage.did("wipe") == ["collect"]


def without_touch(registry: Registry, gen: int) -> None:
    """What a writer leaves that dies after it has created a generation of the job, and before it has touched it."""
    keys = [o.key for o in registry.storage.list("runs/") if f"/touch/job/p%2F1/{gen:010d}" in o.key]
    assert keys
    registry.storage.delete_many(keys)


def test_a_manager_that_dies_while_it_publishes(registry: Registry) -> None:
    """The end of a job that was staged, and of which no journal tells, is published by the next manager, whole."""
    scene = Scene(registry).process()
    job = scene.job
    job.tasks[0].complete(Result.OK, scene.time.at)
    job.complete(scene.time.at)
    scene.ingestion.shelf.save_job(job, scene.time.at, run=job.run)
    without_touch(registry, int(job.gen or 0))
    scene.stage.tells["collect"] = lambda manager: (Status.COMPLETED, "it changed its mind")
    scene.process()
    assert scene.publication.active_job == "p/1"
    assert scene.job.successful


def test_a_manager_that_dies_while_it_makes_or_fails_a_job(registry: Registry) -> None:
    """A state that no journal tells of is found all the same: the job is neither lost nor for ever incomplete."""
    scene = Scene(registry)
    job = scene.add_job(1)
    without_touch(registry, 0)
    scene.process()
    assert scene.stage.did("run") == ["collect"]
    scene.stage.tells["collect"] = lambda manager: (Status.COMPLETED, "empty")
    scene.process()
    job = scene.job
    assert job.status == Status.COMPLETED
    without_touch(registry, int(job.gen or 0))
    other = Scene.__new__(Scene)
    other.__dict__.update(scene.__dict__)
    other.ingestion = Ingestion(
        Registry(registry.storage, use_cache=False), managers=scene.ingestion.managers, now=scene.time
    )
    scene.time.pass_(days=7)
    other.process(2)
    assert [j.status for j in other.jobs] == [Status.COMPLETED, Status.RUNNING]


def test_runs_that_no_job_refers_to_are_dropped() -> None:
    """A manager that dies between the beginning of a job's run and the job's next state leaves one: for a day."""
    clock = Later()
    registry = Registry(MemoryStorage(clock=clock), use_cache=False, clock=clock, heartbeats=False)
    scene = Scene(registry).process()
    orphan = scene.ingestion._attempts.begin_job(scene.job)
    assert registry.fsck(verify="none").ok
    scene.ingestion.tick()
    assert registry.get_run(orphan).state == "RUNNING"
    clock.hours = 25
    scene.stage.tells["collect"] = lambda manager: (Status.RUNNING, None)
    scene.ingestion.tick()
    assert registry.get_run(orphan).state == "ABORTED"
    assert registry.reap(wait=True).suspects == []


def test_a_job_without_a_tick_for_more_than_its_lease_is_suspected_and_not_waited_for() -> None:
    """The reaper does not stand by for days; the next tick goes on with the job."""
    clock = Later()
    registry = Registry(MemoryStorage(clock=clock), use_cache=False, clock=clock, heartbeats=False)
    scene = Scene(registry).process()
    run = str(scene.job.run)
    clock.hours = 24 * 8
    assert run in registry.reap(wait=True).suspects
    scene.process()
    assert scene.job.successful


@pytest.mark.parametrize("hours", [24 * 400, -24 * 400])
def test_a_clock_that_is_wrong(hours: int) -> None:
    """A manager whose clock is a year ahead or behind makes no job before its time, and starts nothing again: the store
    tells the time.
    """
    storage = MemoryStorage(clock=Later())
    stage = Stage()
    stage.tells["collect"] = lambda manager: (Status.RUNNING, None)

    def manager_at(hours: int) -> Ingestion:
        clock = Later()
        clock.hours = hours
        return Ingestion(Registry(storage, use_cache=False, clock=clock), managers={"played": stage.manager})

    right = manager_at(0)
    plan = [PlannedTask(type="played", name="collect")]
    right.put(Collection(id="p", retrieval_frequency="MONTHLY", plan=plan))
    right.tick()
    manager_at(hours).tick()
    assert stage.calls == [("run", "collect"), ("status", "collect")]
    stage.tells.clear()
    manager_at(hours).tick()
    manager_at(hours).tick()
    right.tick()
    assert [j.successful for j in right.jobs("p")] == [True]
    assert right.publication("p").last_retrieved == right.now().date()


@pytest.mark.parametrize("where", ["run", "get_status"])
@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        (lambda manager: [manager.note("WARNING", f"{n} " + "x" * 2_000) for n in range(600)], "bytes"),
        (lambda manager: manager.job.context.update(big="x" * 1_000_000), "bytes"),
        (lambda manager: manager.job.context.update(what=object()), "object"),
    ],
    ids=["notes", "context", "no JSON"],
)
def test_what_a_job_cannot_hold_fails_its_task(
    registry: Registry, where: str, recorded: Callable[[TaskManager], Any], why: str
) -> None:
    """A job that cannot be stored any more would stay incomplete, and its publication without a new one, for ever."""
    scene = Scene(registry)
    if where == "run":
        scene.stage.runs["collect"] = recorded
    else:
        scene.stage.tells["collect"] = lambda manager: (Status.COMPLETED, recorded(manager) and None)
    scene.process(2)
    assert scene.job.is_unsuccessful()
    assert why in scene.job.tasks[0].note
    assert (scene.job.context, scene.stage.did("run")) == ({}, ["collect"])


def test_a_stuck_task_that_cannot_be_undone_fails(registry: Registry) -> None:
    """What its manager raises while it wipes fails the task, as it does elsewhere: it would be stuck for ever."""
    scene = Scene(registry)
    scene.stage.tells["collect"] = lambda manager: (Status.RUNNING, None)
    scene.process(2)
    scene.stage.wipes["collect"] = raising(KeyError("boom"))
    scene.time.pass_(days=2)
    scene.process()
    assert (scene.job.is_unsuccessful(), scene.job.tasks[0].note) == (True, "'boom'")
