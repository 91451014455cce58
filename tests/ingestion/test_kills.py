"""Managers in processes of their own, killed with ``kill -9`` while they work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.ingestion import Collection, Ingestion, PlannedTask, Status

HERE = Path(__file__).parent
PLAN = ("a", "b", "c")


@contextmanager
def managers(store: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that tick, until the block is left."""
    stop = store.parent / "stop"
    stop.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "killed_manager.py"), str(store), str(stop)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(count)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield processes
    finally:
        stop.touch()
        for process in processes:
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


def published(registry: Registry) -> set[tuple[int, ...]]:
    """Which jobs the tables of the tasks show."""
    now = registry.snapshot()
    return {tuple(now.table(name).to_table().to_pydict().get("job", [])) for name in PLAN}


def rounds(folder: Path, count: int, kills: int, seed: int) -> None:
    """Jobs by hand, one after the other, while managers are killed."""
    source = random.Random(seed)
    store, log = folder / "store", folder / "log"
    registry = Registry(store, use_cache=False)
    ingestion = Ingestion(registry)
    options = {"function": "killed_manager:work", "arguments": {"log": str(log)}}
    plan = [PlannedTask(type="callable", name=name, options=options) for name in PLAN]
    ingestion.put(Collection(id="p", plan=plan))
    killed: set[int] = set()
    for number in range(1, count + 1):
        assert ingestion.create_job("p") is not None
        with managers(store, kills + 1) as processes:
            for process in processes[:kills]:
                time.sleep(source.random() * 0.5)
                process.send_signal(signal.SIGKILL)
                killed.add(process.pid)
                assert len(published(registry)) == 1, "readers see one job"
            deadline = time.monotonic() + 120
            while ingestion.jobs("p")[0].status != Status.COMPLETED:
                assert time.monotonic() < deadline
                assert published(registry) in [{()}, {(number - 1,)}, {(number,)}]
                time.sleep(0.05)
        job = ingestion.jobs("p")[0]
        assert (job.number, job.successful) == (number, True), [(t.name, t.note) for t in job.tasks]
        assert published(registry) == {(number,)}
        assert ingestion.publication("p").active_job == f"p/{number}"
    by_task = defaultdict(list)
    for line in log.read_text().splitlines():
        task, pid = line.split()
        by_task[task].append(int(pid))
    assert len(by_task) == count * len(PLAN)
    again = [(task, pids) for task, pids in by_task.items() if not set(pids[:-1]) <= killed]
    assert not again, "a task was begun again although the process that had begun it was alive"


def test_managers_that_are_killed(tmp_path: Path) -> None:
    """The others go on: each task is done, and begun again only after a process that was killed."""
    rounds(tmp_path, 2, 2, seed=1)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(10))
def test_many_managers_that_are_killed(tmp_path: Path, seed: int) -> None:
    """Three at a time, again and again."""
    rounds(tmp_path, 6, 3, seed)
