"""Flows that tests run in processes of their own: directly, by Prefect's engine, served, and by a worker.

Each names the registry by its parameter, so that Prefect's hooks find it in a runner's process too. ``folder`` is
where a flow tells how far it has come, and looks for leave to go on.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import flow, serve, task
from prefect.events import DeploymentEventTrigger
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from process_forks import fork_on_request

from prefect_registry import tasks
from prefect_registry.registry import Registry
from prefect_registry.runs import acurrent_run, current_run, registry_run
from prefect_registry.storage.opening import open_storage
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.faults import FaultyStorage, kill


def reached(folder: str, name: str) -> None:
    """Tell the test, with our process id."""
    part = Path(folder) / f".{name}"
    part.write_text(str(os.getpid()))
    part.rename(Path(folder) / name)


def wait_for(folder: str, name: str) -> None:
    while not (Path(folder) / name).exists():
        time.sleep(0.02)


@task
def stage(kind: str, mode: str = "replace") -> str:
    with current_run().dataset(kind, mode=mode) as dataset:  # type: ignore[arg-type]
        dataset.write_table(pa.table({"x": [1, 2, 3]}))
    return dataset.id


@registry_run("{store}")
@flow
def waits(store: str, folder: str) -> str:
    """Stage, then wait for what the test does to this process."""
    stage("a")
    reached(folder, "staged")
    wait_for(folder, "go")
    return "went on"


@registry_run("{store}")
@flow
async def awaits(store: str, folder: str) -> None:
    """The same, asynchronously."""
    run = await acurrent_run()
    async with run.adataset("a") as dataset:
        dataset.write_table(pa.table({"x": [1, 2, 3]}))
    reached(folder, "staged")
    while not (Path(folder) / "go").exists():
        await asyncio.sleep(0.02)


@registry_run("{store}")
@flow(timeout_seconds=1)
def times_out(store: str, folder: str) -> None:
    """In a main thread Prefect's timeout is an alarm, which interrupts a sleep."""
    stage("a")
    time.sleep(60)


@registry_run("{store}")
@flow
def appends(store: str, folder: str) -> str:
    """Append; the first process to come waits in the middle, for the second one to overtake it."""
    try:
        (Path(folder) / "first").touch(exist_ok=False)
    except FileExistsError:
        stage("a", "append")
        return "second"
    stage("a", "append")
    reached(folder, "staged")
    wait_for(folder, "go")
    stage("b", "append")
    return "first"


def _die_after_the_decision(registry: Registry) -> None:
    store = registry.parts.ledger.store
    store.storage = FaultyStorage(store.storage, kill("after", method="create", key="*/end.json"))


@registry_run("{store}")
@flow
def dies_committed(store: str, folder: str, deadly: bool = True) -> dict[str, str]:
    """Killed between the decision and Prefect's record of it."""
    stage("a", "append")
    reached(folder, "staged")
    if deadly:
        _die_after_the_decision(current_run().registry)
    return {"said": "done"}


@task
def endless(folder: str) -> None:
    """Ends when the test has seen enough."""
    wait_for(folder, "go")


@registry_run("{store}")
@flow
def never_ends(store: str, folder: str) -> None:
    """Its body returns while a task goes on that it does not wait for: registry_run waits."""
    stage("a")
    endless.submit(folder)
    reached(folder, "staged")


class StopsAtDecision(WrapperStorage):
    """Tells the test when the decision is about to be stored, or has been, and waits for leave to go on."""

    def __init__(self, store: str, folder: str, where: str) -> None:
        super().__init__(open_storage(store))
        self._folder, self._where = folder, where

    def create(self, key: str, data: bytes) -> None:
        stops = key.endswith("end.json") and not (Path(self._folder) / "deciding").exists()
        if stops and self._where == "before":
            self._stop()
        super().create(key, data)
        if stops and self._where == "after":
            self._stop()

    def _stop(self) -> None:
        reached(self._folder, "deciding")
        wait_for(self._folder, "go")


def _stop_at_decision(store: str, folder: str, where: str) -> None:
    current_run().registry.parts.ledger.store.storage = StopsAtDecision(store, folder, where)


@registry_run("{store}")
@flow
def decides(store: str, folder: str, where: str) -> None:
    """Stopped at its decision."""
    stage("a")
    _stop_at_decision(store, folder, where)


@registry_run("{store}")
@flow
async def adecides(store: str, folder: str, where: str) -> None:
    """The same, asynchronously."""
    stage("a")
    _stop_at_decision(store, folder, where)


@flow
def says(folder: str, what: str) -> None:
    """What a trigger starts."""
    (Path(folder) / "said").write_text(what)


@flow
def rolls_out(registry: str, model: str, version: str) -> None:
    """What starts when an alias has moved: loads the version that it points at now."""
    loaded = tasks.load_model(model, version, registry=registry)
    (Path(registry).parent / "rolled-out").write_text(f"{model} {version} {loaded}")


WHEN_CHAMPION_MOVES = DeploymentEventTrigger(
    expect={"prefect-registry.model.alias-moved"},
    match={"prefect.resource.id": "prefect-registry.model.rolling", "prefect-registry.alias": "champion"},
    parameters={
        "registry": "{{ event.payload.registry }}",
        "model": "{{ event.payload.model }}",
        "version": "{{ event.payload.version }}",
    },
)


# -- the tasks alone ---------------------------------------------------------------------------------------------------


@flow
def tasks_alone(store: str, folder: str) -> None:
    """Reference system 1's operations as tasks, without the decorator."""
    run = tasks.insert_run("alone", registry=store)
    dataset = tasks.begin_dataset("a", run, registry=store)
    root = Path(Registry(store).get_dataset(dataset).root)
    import pyarrow.parquet as pq

    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": [1, 2, 3]}), root / "part.parquet")
    tasks.commit_dataset(dataset, str(root), 3, registry=store)
    reached(folder, "staged")
    wait_for(folder, "go")
    tasks.close_run(run, True, registry=store)


@flow
def alone_appends(store: str, folder: str, deadly: bool = False) -> None:
    """The tasks alone; waits in the middle, and may be killed when close_run has decided."""
    registry = Registry(store)
    run = tasks.insert_run("alone", registry=store)
    dataset = tasks.begin_dataset("a", run, mode="append", registry=store)
    tasks.commit_dataset(dataset, "s3://elsewhere/a", 3, registry=store)
    reached(folder, f"staged-{os.getpid()}")
    reached(folder, "staged")
    wait_for(folder, "go")
    if deadly and not (Path(folder) / "killed").exists():
        reached(folder, "killed")
        _die_after_the_decision(registry)
        registry.close_run(run, True)
    tasks.close_run(run, True, registry=store)


def main(arguments: list[str]) -> Any:
    if arguments[0] == "fork":
        return main(forked) if (forked := fork_on_request()) else None
    if arguments[0] == "-m":
        sys.argv[1:] = arguments[2:]
        return runpy.run_module(arguments[1], run_name="__main__")
    if arguments[0] == "serve":
        return serve(
            *(f.to_deployment("served") for f in (waits, awaits, tasks_alone, dies_committed, never_ends, says)),
            rolls_out.to_deployment("served", triggers=[WHEN_CHAMPION_MOVES]),
        )
    chosen, name, parameters = globals()[arguments[0]], arguments[1], json.loads(arguments[2])
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        called = chosen.with_options(flow_run_name=name)(**parameters)
        result = asyncio.run(called) if asyncio.iscoroutine(called) else called
    reached(parameters["folder"], "returned")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
