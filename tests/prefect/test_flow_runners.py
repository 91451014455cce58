"""The current run is found wherever Prefect runs a task: in threads, in a pool of processes, on a Dask cluster."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from distributed import LocalCluster
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner
from prefect_support import boom, ended, rows_of, seen, stage

from prefect_registry.errors import NoActiveRun
from prefect_registry.registry import Registry
from prefect_registry.runs import acurrent_run, current_run, registry_run


@pytest.fixture(scope="module")
def dask() -> Any:
    """A Dask cluster of one worker process."""
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def runner_of(name: str, dask: str) -> Any:
    if name == "thread":
        return ThreadPoolTaskRunner(max_workers=4)
    return ProcessPoolTaskRunner(max_workers=1) if name == "process" else DaskTaskRunner(address=dask)


@task(retries=1)
def stage_flaky(kind: str, folder: str) -> None:
    """Stage, and fail once after that."""
    from pathlib import Path

    with current_run().dataset(kind, mode="append") as dataset:
        dataset.write_table(rows_of(3))
    mark = Path(folder) / "failed-once"
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
    """Datasets of all workers become visible together; a retried task doubles nothing; events belong to the run."""
    seen_early: list[int] = []

    @registry_run(store)
    @flow(task_runner=runner_of(name, dask))
    def ingest() -> str:
        futures = stage.map(["a", "b"])
        stage_flaky.submit("c", str(tmp_path)).result()
        futures.wait()
        spoken = say.submit("x").result()
        seen_early.append(len(list(seen(store).registry.events(event_name="said"))))
        return str(spoken)

    run_id = ingest()
    reader = seen(store)
    assert [reader.rows(kind) for kind in ("a", "b", "c")] == [3, 3, 3]
    assert reader.states() == ["COMMITTED"]
    assert seen_early == [0]
    assert [e.run_id for e in reader.registry.events(event_name="said")] == [run_id]


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
