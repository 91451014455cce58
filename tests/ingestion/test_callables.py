"""Tasks that are Python functions: what they stage is published with their job, or never."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from ingestion_support import Time

from prefect_registry import Registry
from prefect_registry.ingestion import Collection, Ingestion, PlannedTask, Status, TaskManager

FAILS: dict[str, Exception | None] = {}


def retrieve(manager: TaskManager, rows: int) -> dict[str, Any]:
    """Stages rows of the job's number."""
    with manager.attempt.dataset("raw") as ds:
        ds.write_table(pa.table({"job": [manager.job.number] * rows}))
    return {"etag": f"v{manager.job.number}"}


def derive(manager: TaskManager) -> None:
    """Counts what the task before has staged, which readers do not see yet."""
    staged = manager.attempt.table("raw").to_table()
    with manager.attempt.dataset("counts") as ds:
        ds.write_table(pa.table({"job": [manager.job.number], "rows": [staged.num_rows]}))
    if (error := FAILS.get("derive")) is not None:
        raise error


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def time() -> Time:
    FAILS.clear()
    return Time()


@pytest.fixture
def ingestion(registry: Registry, time: Time) -> Ingestion:
    plan = [
        PlannedTask(type="callable", options={"function": f"{__name__}:retrieve", "arguments": {"rows": 3}}, name="a"),
        PlannedTask(type="callable", options={"function": f"{__name__}:derive"}, name="b"),
    ]
    found = Ingestion(registry, now=time)
    found.put(Collection(id="p", retrieval_frequency="MONTHLY", plan=plan))
    return found


def published(registry: Registry) -> tuple[list[Any], list[Any]]:
    raw, counts = registry.table("raw").to_table(), registry.table("counts").to_table()
    return raw.to_pylist(), counts.to_pylist()


def test_a_job_is_published_as_a_whole(registry: Registry, ingestion: Ingestion, time: Time) -> None:
    """Readers see the outputs of all tasks at once, together with the active job; and its rows are known."""
    for _ in range(2):
        ingestion.tick()
        assert published(registry) == ([], [])
    ingestion.tick()
    assert published(registry) == ([{"job": 1}] * 3, [{"job": 1, "rows": 3}])
    (job,) = ingestion.jobs("p")
    assert job.context == {"etag": "v1", "rows": 4}
    assert ingestion.publication("p").active_job == job.id
    time.pass_(days=30)
    for _ in range(3):
        assert published(registry)[1] == [{"job": 1, "rows": 3}]
        ingestion.tick()
    assert published(registry) == ([{"job": 2}] * 3, [{"job": 2, "rows": 3}])


def test_nothing_of_a_failed_job_is_seen(registry: Registry, ingestion: Ingestion, time: Time) -> None:
    """The job before stays what readers see."""
    for _ in range(3):
        ingestion.tick()
    FAILS["derive"] = ValueError("negative counts")
    time.pass_(days=30)
    for _ in range(3):
        ingestion.tick()
    job = ingestion.jobs("p")[0]
    assert (job.number, job.status, job.tasks[1].note) == (2, Status.COMPLETED, "negative counts")
    assert published(registry) == ([{"job": 1}] * 3, [{"job": 1, "rows": 3}])
    assert ingestion.publication("p").active_job == "p/1"
    assert not list(registry.runs(state="RUNNING"))
    assert [r.state for r in registry.runs(purpose="p/2 b")] == ["ABORTED"]
    decision = registry.ledger.store.decision(next(registry.runs(purpose="p/2 b")).id)
    assert decision is not None, "its heartbeats end"
    assert not list(registry.fsck(verify="none").of("error", "warning"))
    collected = registry.collect(dry_run=False)
    assert (len(collected.runs), collected.waiting) == (2, [])
    assert {d.state for d in registry.datasets() if d.run_id != "" and d.kind == "raw"} == {"READY", "ROLLED_BACK"}


def test_an_attempt_that_was_killed_leaves_nothing(registry: Registry, ingestion: Ingestion, time: Time) -> None:
    """What a function had staged when its process ended is dropped; the next attempt stages it once."""
    ingestion.tick()
    FAILS["derive"] = Killed()  # type: ignore[assignment]
    with pytest.raises(Killed):
        ingestion.tick()
    FAILS.clear()
    for _ in range(3):
        ingestion.tick()
    assert published(registry) == ([{"job": 1}] * 3, [{"job": 1, "rows": 3}])
    assert ingestion.jobs("p")[0].tasks[1].restarts == 0


def test_a_function_that_was_done_when_its_process_ended_is_not_called_again(
    registry: Registry, ingestion: Ingestion, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it staged is kept, and so is what it told of the job."""
    save = ingestion.shelf.save_job
    calls = []

    def dies_after_the_claim(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 3:  # made, claimed, and now the function is done
            raise Killed
        save(*args, **kwargs)

    monkeypatch.setattr(ingestion.shelf, "save_job", dies_after_the_claim)
    with pytest.raises(Killed):
        ingestion.tick()
    for _ in range(3):
        ingestion.tick()
    assert published(registry)[0] == [{"job": 1}] * 3
    assert ingestion.jobs("p")[0].context == {"etag": "v1", "rows": 4}


@pytest.mark.parametrize("path", ["", "os", "os:nothing", "os:name", "no_such_module:f", "../x:y"])
def test_functions_that_there_are_not(registry: Registry, ingestion: Ingestion, path: str) -> None:
    """A plan that names no function fails its job, and says so."""
    plan = [PlannedTask(type="callable", options={"function": path})]
    ingestion.put(Collection(id="q", retrieval_frequency="WEEKLY", plan=plan))
    ingestion.tick()
    (job,) = ingestion.jobs("q")
    assert job.status == Status.COMPLETED
    assert "function" in job.tasks[0].note


def test_unknown_task_types(registry: Registry, ingestion: Ingestion) -> None:
    """They fail the job, which says what types there are; other publications go on."""
    ingestion.put(Collection(id="a", retrieval_frequency="WEEKLY", plan=[PlannedTask(type="kingfisher")]))
    ingestion.tick()
    (job,) = ingestion.jobs("a")
    assert "unknown type 'kingfisher'" in job.tasks[0].note
    assert "callable, deployment" in job.tasks[0].note
    assert ingestion.jobs("p")[0].status == Status.RUNNING
