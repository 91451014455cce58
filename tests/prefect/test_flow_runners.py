"""The current run is found wherever Prefect runs a task: in threads, in a pool of processes, on a Dask cluster."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from distributed import LocalCluster
from prefect import flow, task
from prefect.states import Failed
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner
from prefect_support import boom, ended, rows_of, seen, stage

from prefect_registry import tasks
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import InvalidState, NoActiveRun, StorageUnavailable
from prefect_registry.registry import Registry
from prefect_registry.runs import acurrent_run, current_run, registry_run


def runner_of(name: str, dask: str) -> Any:
    if name == "thread":
        return ThreadPoolTaskRunner(max_workers=4)
    return ProcessPoolTaskRunner(max_workers=1) if name == "process" else DaskTaskRunner(address=dask)


@task(retries=1)
def stage_flaky(kind: str, folder: str) -> None:
    """Stage, and fail once after that."""
    from pathlib import Path

    mark = Path(folder) / "failed-once"
    with current_run().dataset(kind, mode="append") as dataset:
        dataset.write_table(rows_of(3))
    current_run().save("model", mark.exists(), version="1")
    if not mark.exists():
        mark.touch()
        raise ConnectionError("once")


@task
def say(subject: str) -> str:
    """Emit an event without naming a run, through a registry that the task opens itself."""
    run = current_run()
    run.registry.emit_event("said", subject)
    return run.id


@pytest.mark.parametrize("name", ["thread", "process", "dask"])
def test_tasks_on_every_runner_stage_in_the_flows_run(store: Registry, dask: str, tmp_path: Any, name: str) -> None:
    """What all workers write becomes visible together; a retried task doubles nothing; events belong to the run."""
    seen_early: list[int] = []

    @registry_run(store)
    @flow(task_runner=runner_of(name, dask))
    def ingest() -> str:
        futures = stage.map(["a", "b"])
        stage_flaky.submit("c", str(tmp_path)).result()
        futures.wait()
        spoken = say.submit("x").result()
        seen_early.append(len(list(seen(store).registry.events(event_name="said"))))
        tasks.save_object.submit("other", [spoken]).wait()
        return str(spoken)

    run_id = ingest()
    reader = seen(store)
    assert [reader.rows(kind) for kind in ("a", "b", "c")] == [3, 3, 3]
    assert reader.states() == ["COMMITTED"]
    assert (reader.registry.load("model"), reader.registry.load("other")) == (True, [run_id])
    assert seen_early == [0]
    assert [e.run_id for e in reader.registry.events(event_name="said")] == [run_id]


@pytest.mark.usefixtures("forked_pools")
@pytest.mark.parametrize("name", ["process", "dask"])
def test_a_failure_on_another_worker_rolls_everything_back(store: Registry, dask: str, name: str) -> None:
    """Also when nobody looked at it."""

    @registry_run(store)
    @flow(task_runner=runner_of(name, dask))
    def ingest() -> None:
        stage.submit("a").wait()
        boom.submit("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"):
        ingest()
    assert seen(store).nothing()


def fail_to_drop(times: int) -> None:
    """In this process the store does not answer when datasets are rolled back."""
    original, left = Datasets.rollback, [times]

    def rollback(self: Datasets, dataset_id: str, reason: str | None = None) -> None:
        left[0] -= 1
        if left[0] < 0:
            Datasets.rollback = original  # type: ignore[method-assign]
            return original(self, dataset_id, reason)
        raise StorageUnavailable("the store does not answer")

    Datasets.rollback = rollback  # type: ignore[method-assign]


@task(retries=1)
def stage_in_vain(kind: str, folder: str, how: str) -> Any:
    """Stage, and fail when the store does not let go of what is staged."""
    from pathlib import Path

    with current_run().dataset(kind, mode="append") as dataset:
        dataset.write_table(rows_of(3))
    attempt = len(list(Path(folder).iterdir()))
    (Path(folder) / str(attempt)).touch()
    if how == "returns" and attempt == 0:
        fail_to_drop(times=2)
        return Failed(message="returned")
    if attempt == 0 or how == "raises":
        fail_to_drop(times=1)
        raise ConnectionError("in vain")
    return None


@pytest.mark.usefixtures("forked_pools")
@pytest.mark.parametrize(("how", "rows"), [("recovers", 3), ("raises", 0), ("returns", 0)])
@pytest.mark.parametrize("name", ["process", "dask"])
def test_what_a_failed_attempt_could_not_drop_on_its_worker_is_not_published(
    store: Registry, dask: str, tmp_path: Any, name: str, how: str, rows: int
) -> None:
    """The next attempt there drops it, or else the process that commits."""
    folder = tmp_path / "attempts"
    folder.mkdir()

    @registry_run(store)
    @flow(task_runner=runner_of(name, dask))
    def ingest() -> None:
        stage.submit("a").result()
        task = stage_in_vain if how != "returns" else stage_in_vain.with_options(retries=0)
        task.submit("b", str(folder), how).wait()

    ingest()
    reader = seen(store)
    assert (reader.rows("a"), reader.rows("b")) == (3, rows)
    states = {"recovers": ["READY", "ROLLED_BACK"], "raises": ["ROLLED_BACK"] * 2, "returns": ["ROLLED_BACK"]}
    assert sorted(d.state for d in reader.registry.datasets(kind="b")) == states[how]


def test_a_run_that_holds_what_could_not_be_dropped_is_not_published(
    store: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is anything added to it."""
    monkeypatch.setattr(Datasets, "rollback", Datasets.rollback)  # restores it
    refused: list[str] = []

    @task
    def stage_and_fail() -> None:
        stage("b")
        fail_to_drop(times=1_000)
        raise ConnectionError("in vain")

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage_and_fail(return_state=True)
        with pytest.raises(InvalidState, match="still holds") as caught:
            current_run().registry.begin_dataset("c")
        refused.append(str(caught.value.context["run_id"]))

    with pytest.raises(InvalidState, match="still holds"):
        ingest()
    assert seen(store).nothing()
    assert refused == [r.id for r in seen(store).registry.runs()]


@task(retries=1)
def stage_keyed(n: int, folder: str) -> int:
    """Stage under a key; the first attempt at number 3 is killed after that, with its worker."""
    import os
    import signal
    import time
    from pathlib import Path

    with current_run().dataset("a", mode="append", key=f"n={n}") as dataset:
        dataset.write_table(rows_of(n + 1))
    time.sleep(0.2)  # both workers have something to do
    if n == 3 and not (Path(folder) / "killed").exists():
        (Path(folder) / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@pytest.mark.usefixtures("forked_pools")
def test_a_dask_worker_killed_in_a_task_doubles_no_rows(store: Registry, tmp_path: Any) -> None:
    """Two workers, eight datasets: what the dead one had staged is taken over by its key."""

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:

        @registry_run(store)
        @flow(task_runner=DaskTaskRunner(address=cluster.scheduler_address))
        def ingest() -> list[int]:
            return stage_keyed.map(range(8), str(tmp_path)).result()

        workers = ingest()
    assert (tmp_path / "killed").exists()
    assert len(set(workers)) >= 2
    assert seen(store).rows("a") == sum(range(1, 9))
    assert len(seen(store).registry.table("a")) == 8


@pytest.mark.usefixtures("forked_pools")
def test_two_processes_of_a_pool_stage_in_one_run(store: Registry, tmp_path: Any) -> None:
    """Eight datasets by two processes at the same time, visible together."""
    (tmp_path / "killed").touch()

    @registry_run(store)
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def ingest() -> list[int]:
        return stage_keyed.map(range(8), str(tmp_path)).result()

    assert len(set(ingest())) == 2
    assert (seen(store).rows("a"), seen(store).states()) == (sum(range(1, 9)), ["COMMITTED"])


def test_an_undecorated_subflow_in_a_process_pool_finds_the_run_around_it(store: Registry, monkeypatch: Any) -> None:
    """By the flow run's cell, up the chain of flow runs that Prefect knows of."""
    monkeypatch.setenv("PREFECT_REGISTRY_URL", store.url)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def inner() -> None:
        stage.submit("a").result()

    @registry_run
    @flow
    def ingest() -> None:
        inner()

    ingest()
    assert (seen(store).rows("a"), seen(store).states()) == (3, ["COMMITTED"])


def test_outside_any_run_there_is_none(store: Registry) -> None:
    """In a plain program, in a flow, and in a task."""
    with pytest.raises(NoActiveRun, match="No run surrounds"):
        current_run()

    @flow
    def plain() -> None:
        with pytest.raises(NoActiveRun):
            current_run(store)
        with pytest.raises(NoActiveRun):
            stage("a")

    plain()
    assert seen(store).states() == []


async def test_the_asynchronous_twin_finds_the_same_run(store: Registry) -> None:
    """In gathered tasks of an asynchronous flow."""

    @task
    async def which() -> str:
        return (await acurrent_run()).id

    @registry_run(store)
    @flow
    async def ingest() -> list[str]:
        return [*await asyncio.gather(which(), which()), which.submit().result()]

    assert len(set(await ingest())) == 1


def test_two_flows_at_the_same_time_have_a_run_each(store: Registry) -> None:
    """Nothing of one leaks into the other, in one process."""

    @registry_run(store, purpose="run {n}")
    @flow
    def ingest(n: int) -> tuple[str, str]:
        staged = stage.submit(f"kind{n}").result()
        return current_run().id, f"run_{staged.split('_')[1]}"

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: ended(ingest(n, return_state=True)).result(), range(4)))
    assert all(mine == staged for mine, staged in found)
    assert len({mine for mine, _ in found}) == 4
    assert [seen(store).rows(f"kind{n}") for n in range(4)] == [3, 3, 3, 3]
