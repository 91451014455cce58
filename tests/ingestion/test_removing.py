"""Removing a publication: nobody works on it any more, what it published stays, and its name can be used again."""

from __future__ import annotations

import pyarrow as pa
import pytest
from ingestion_support import Scene

from prefect_registry import Registry
from prefect_registry.errors import NotFound
from prefect_registry.ingestion import Collection, Export, Ingestion, RecoverableError, Status, TaskManager, TickReport


def staging(manager: TaskManager) -> None:
    with manager.attempt.dataset("rows") as ds:
        ds.write_table(pa.table({"job": [manager.job.number]}))


@pytest.fixture
def scene(registry: Registry) -> Scene:
    """A publication with a job that is published, and one that is at work."""
    scene = Scene(registry, ("final", "temporary"))
    scene.stage.runs["final"] = staging
    scene.finish()
    scene.time.pass_(days=31)
    scene.process(2)
    assert [j.status for j in scene.jobs] == [Status.COMPLETED, Status.RUNNING]
    scene.stage.calls.clear()
    return scene


def states(registry: Registry) -> list[str]:
    return [run.state for run in registry.runs(newest_first=False)]


def test_a_dry_run_changes_nothing(scene: Scene) -> None:
    """By default it is only told which jobs would go."""
    before = states(scene.registry)
    assert scene.ingestion.remove("p").deleted == ["p/1", "p/2"]
    assert states(scene.registry) == before
    assert scene.stage.calls == []
    assert scene.publication.active_job == "p/1"


def test_what_goes_and_what_stays(scene: Scene) -> None:
    """The job at work ends and its tasks are undone; published rows stay, and so does what earlier tasks made for good;
    history tells what there was.
    """
    registry, ingestion = scene.registry, scene.ingestion
    report = ingestion.remove("p", dry_run=False)
    assert (report.deleted, report.errors) == (["p/1", "p/2"], {})
    assert scene.stage.did("wipe") == ["temporary", "final", "temporary"], "of the first job what is not final"
    assert list(ingestion.publications()) == []
    with pytest.raises(NotFound):
        ingestion.publication("p")
    assert "RUNNING" not in states(registry)
    assert registry.table("rows").to_table()["job"].to_pylist() == [1]
    assert ingestion.get_job("p/1") is None
    assert [(j.id, str(j.status)) for j in ingestion.past_jobs("p")] == [("p/2", "RUNNING"), ("p/1", "COMPLETED")]
    history = ingestion.history("p")
    assert (history[-1].deleted, history[-2].value["active_job"]) == (True, "p/1")
    assert history[-1].reason == "the publication was removed"
    report = ingestion.tick()
    assert (report.created, report.changes, report.errors) == ([], [], {})
    with pytest.raises(NotFound):
        ingestion.remove("p", dry_run=False)
    with pytest.raises(NotFound):
        ingestion.remove("q")


def test_the_name_is_used_again(scene: Scene) -> None:
    """It is due at once, goes on with the numbers, and has nothing of the one before."""
    definition = scene.publication.model_copy()
    scene.ingestion.remove("p", dry_run=False)
    again = Collection.model_validate(definition.model_dump(exclude={"active_job", "last_retrieved"}))
    assert scene.ingestion.put(again).active_job is None
    assert scene.publication.is_out_of_date()
    assert scene.ingestion.jobs("p") == []
    assert scene.finish().id == "p/3"
    assert scene.publication.active_job == "p/3"
    assert scene.registry.table("rows").to_table()["job"].to_pylist() == [3]
    assert [j.number for j in scene.ingestion.past_jobs("p")] == [3, 2, 1]
    assert str(Export(scene.publication).status) == "WAITING"


def test_a_task_that_cannot_be_undone_now(scene: Scene) -> None:
    """Nobody works on the publication any more, the job stays, and the next call removes it."""

    def fails(manager: TaskManager) -> None:
        raise RecoverableError("the service is away")

    scene.stage.wipes["final"] = fails
    report = scene.ingestion.remove("p", dry_run=False)
    assert (report.deleted, list(report.errors)) == (["p/1"], ["p/2"])
    assert list(scene.ingestion.publications()) == []
    scene.stage.wipes.clear()
    assert scene.ingestion.remove("p").deleted == ["p/2"]
    assert scene.ingestion.remove("p", dry_run=False).deleted == ["p/2"]
    assert "RUNNING" not in states(scene.registry)


def test_removed_while_somebody_works_on_it(scene: Scene) -> None:
    """A manager that is about to publish the job meanwhile publishes nothing, and leaves nothing open."""
    removed: list[TickReport] = []

    def remove(manager: TaskManager) -> tuple[Status, str | None]:
        other = Ingestion(scene.registry, managers=scene.ingestion.managers, now=scene.time)
        removed.append(other.remove("p", dry_run=False))
        return Status.COMPLETED, None

    scene.stage.tells["temporary"] = remove
    scene.ingestion.tick()
    scene.ingestion.tick()
    assert [r.deleted for r in removed] == [["p/1", "p/2"]]
    assert list(scene.ingestion.publications()) == []
    assert "RUNNING" not in states(scene.registry)
    assert scene.registry.table("rows").to_table()["job"].to_pylist() == [1]


def test_definitions_that_are_gone(scene: Scene) -> None:
    """They are told as absent, or as what is to be removed."""
    ingestion = scene.ingestion
    assert [(d.id, d.action) for d in ingestion.compare([])] == [("p", "absent")]
    assert [(d.id, d.action) for d in ingestion.compare([], remove_absent=True)] == [("p", "remove")]
