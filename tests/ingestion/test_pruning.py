"""What is deleted of jobs: temporary data when they have ended, old jobs when there are better ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ingestion_support import Scene

from prefect_registry import Registry
from prefect_registry.errors import InvalidState
from prefect_registry.ingestion import Ingestion, RecoverableError, Status, TaskManager, delete_older_jobs
from prefect_registry.testing.counting import CountingStorage


def numbers(scene: Scene) -> list[int]:
    return [job.number for job in scene.jobs]


def pruned(scene: Scene, count: int, *old: int, dry_run: bool = False) -> list[int]:
    """Jobs with ``old`` rows, then a new one with ``count``: which are left."""
    for n, rows in enumerate(old, start=1):
        scene.add_job(n, days_ago=100 - n, context={"rows": rows})
    new = scene.add_job(len(old) + 1, days_ago=0, context={"rows": count})
    delete_older_jobs(scene.publication, new, dry_run=dry_run)
    return numbers(scene)


@pytest.mark.parametrize(
    ("new", "old", "left"),
    [
        (1000, (900, 1000, 1100, 1101, 500), [4, 5, 6]),
        (0, (0, 1, 0, 0), [2, 4, 5]),  # OC-20
        (10, (5,), [1, 2]),
        (10, (12, 11), [1, 2, 3]),
    ],
)
def test_oc_20_old_successful_jobs(
    registry: Registry, caplog: pytest.LogCaptureFixture, new: int, old: tuple[int, ...], left: list[int]
) -> None:
    """The second newest stays, and those that have over 10 % more than the new one, with a warning."""
    scene = Scene(registry)
    assert pruned(scene, new, *old) == left
    if 1101 in old:
        assert "Keeping old job p/4 with over 10% more rows (1101 >> 1000)" in caplog.text


def test_the_metric_can_be_any_number_of_the_job(registry: Registry) -> None:
    """A path of the coverage, a count, or a number in the context."""
    for metric in ("/ocid", "tenders_count", "pages"):
        scene = Scene(Registry(f"memory://{registry.url}-{metric}", use_cache=False), prune_metric=metric)

        def of(n: int, metric: str = metric) -> dict[str, Any]:
            return {"coverage": {metric: n}} if metric == "/ocid" else {"context": {metric: n}}

        counts = of if metric != "tenders_count" else lambda n: {"tenders_count": n}
        for number, rows in enumerate((5, 12, 10), start=1):
            scene.add_job(number, days_ago=9 - number, **counts(rows))
        new = scene.add_job(4, days_ago=0, **counts(10))
        delete_older_jobs(scene.publication, new)
        assert numbers(scene) == [2, 3, 4]


def test_old_unsuccessful_jobs(registry: Registry) -> None:
    """A failed job goes when it began more than 180 days ago, and not a second before."""
    scene = Scene(registry)
    for number, days in enumerate((181, 180.00001, 180, 3), start=1):
        scene.add_job(number, days_ago=days, result="FAILED")
    new = scene.add_job(5, days_ago=0)
    delete_older_jobs(scene.publication, new)
    assert numbers(scene) == [3, 4, 5]


def test_oc_21_incomplete_jobs_stay(registry: Registry) -> None:
    """A job that has not ended is never touched."""
    scene = Scene(registry)
    scene.add_job(1, days_ago=400, result="", status="RUNNING")
    scene.add_job(2)
    new = scene.add_job(3, days_ago=0)
    delete_older_jobs(scene.publication, new)
    assert numbers(scene) == [1, 2, 3]


def test_oc_22_the_active_job_stays(registry: Registry) -> None:
    """What readers see cannot be deleted, by the rules or by hand."""
    scene = Scene(registry)
    active = scene.finish()
    for number in range(2, 6):
        scene.add_job(number, days_ago=-number)
    new = scene.add_job(9, days_ago=-9)
    delete_older_jobs(scene.publication, new)
    assert numbers(scene) == [1, 5, 9]
    with pytest.raises(InvalidState, match="what readers of p see"):
        scene.ingestion.delete_job(active.id)


def test_oc_23_a_dry_run_deletes_nothing(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """It only tells, and writes nothing."""
    caplog.set_level("INFO")
    scene = Scene(registry)
    assert pruned(scene, 10, 1, 1, 1, dry_run=True) == [1, 2, 3, 4]
    assert "Would delete job p/1" in caplog.text
    assert scene.stage.calls == []


def test_numbers_are_not_used_again(registry: Registry) -> None:
    """A deleted job's number stays its own."""
    scene = Scene(registry)
    scene.add_job(1, days_ago=60)
    scene.ingestion.delete_job("p/1")
    assert numbers(scene) == []
    scene.process()
    assert numbers(scene) == [2]


def test_deleting_wipes_every_task_and_waits_for_it(registry: Registry) -> None:
    """A job whose task cannot be wiped now stays until it can."""
    scene = Scene(registry)
    scene.stage.wipes["collect"] = raising(RecoverableError("busy"))
    assert pruned(scene, 10, 1, 1, 1) == [1, 2, 3, 4]
    scene.stage.wipes.clear()
    delete_older_jobs(scene.publication, scene.job)
    assert numbers(scene) == [3, 4]


def test_pruning_follows_a_success(registry: Registry) -> None:
    """Each success lets old jobs go; the one before it stays."""
    scene = Scene(registry, ("final",))
    for _ in range(4):
        scene.finish()
        scene.time.pass_(days=30)
    assert numbers(scene) == [3, 4]


def test_oc_25_wipe_before_the_start_does_nothing(registry: Registry) -> None:
    """``skip_if_not_started`` keeps managers from undoing what was never done; twice is as once."""
    scene = Scene(registry)
    scene.add_job(1)
    (job,) = scene.jobs
    manager = scene.stage.manager(job.tasks[0])
    manager.wipe()
    assert scene.stage.did("wipe") == []
    scene.process()
    manager = scene.stage.manager(scene.job.tasks[0])
    manager.wipe()
    manager.wipe()
    assert scene.stage.did("wipe") == ["collect", "collect"]


def test_oc_26_archiving(registry: Registry) -> None:
    """After a job, only what is temporary is wiped; a wipe that fails is made again next time."""
    scene = Scene(registry, ("collect", "process", "final"))
    scene.stage.wipes["process"] = raising(RecoverableError("busy"))
    scene.finish()
    scene.ingestion.tick()
    assert scene.stage.did("wipe") == ["collect", "process"]
    assert not scene.job.archived
    scene.stage.wipes.clear()
    report = scene.ingestion.tick()
    assert report.archived == ["p/1"]
    assert scene.job.archived
    assert scene.stage.did("wipe") == ["collect", "process"] * 2
    scene.ingestion.tick()
    assert len(scene.stage.did("wipe")) == 4


def test_oc_26_keep_all_data(registry: Registry) -> None:
    """A job that keeps all data is not wiped, whether it succeeded or failed."""
    scene = Scene(registry, ("collect", "process"), keep_all_data=True)
    scene.stage.tells["process"] = lambda manager: (Status.COMPLETED, "empty")
    scene.finish()
    assert scene.ingestion.tick().archived == []
    assert scene.stage.did("wipe") == []


def raising(error: Exception) -> Callable[[TaskManager], None]:
    def call(manager: TaskManager) -> None:
        raise error

    return call


def test_delete_jobs(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Every publication with an active job is pruned; the others are told of."""
    scene = Scene(registry)
    scene.ingestion.delete_jobs()
    assert "has no active job" in caplog.text
    for number in (1, 2, 3):
        scene.add_job(number, days_ago=100 - number)
    scene.ingestion.put(scene.publication.model_copy(update={"frozen": True}))
    new = scene.add_job(4, days_ago=1)
    scene.ingestion.shelf.change_publication("p", scene.time.at, active_job=new.id)
    assert scene.ingestion.delete_jobs().deleted == ["p/1", "p/2"]


def test_a_tick_over_many_publications_that_has_nothing_to_do(registry: Registry) -> None:
    """Its calls do not depend on how many jobs and publications there are."""
    scene = Scene(registry, ("final",))
    scene.finish()
    scene.ingestion.tick()
    calls = []
    for more in (0, 8):
        for n in range(more):
            scene.ingestion.put(scene.publication.model_copy(update={"id": f"q{n}", "retrieval_frequency": ""}))
        storage = CountingStorage(registry.storage)
        counted = Ingestion(Registry(storage, use_cache=False), now=scene.time)
        counted.tick()
        with storage.measure() as measure:
            counted.tick()
        calls.append(measure.total)
    assert calls[0] == calls[1] <= 3


def boom(manager: TaskManager) -> None:
    if manager.job.number == 1:
        raise KeyError("boom")


@pytest.mark.parametrize("how", ["delete_jobs", "remove"])
def test_a_manager_that_cannot_wipe_stops_no_other_job(registry: Registry, how: str) -> None:
    """Whatever it raises, its job stays and is reported, and the others go."""
    scene = Scene(registry)
    for number in range(1, 5):
        scene.add_job(number, days_ago=400 - number)
    scene.stage.wipes["collect"] = boom
    scene.ingestion.shelf.change_publication("p", scene.time.at, active_job="p/4")
    report = scene.ingestion.delete_jobs() if how == "delete_jobs" else scene.ingestion.remove("p", dry_run=False)
    assert report.errors == {"p/1": "'boom'"}
    assert report.deleted == (["p/2"] if how == "delete_jobs" else ["p/2", "p/3", "p/4"])
