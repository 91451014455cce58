"""A manager in a process of its own, which the tests kill: ticks until it is told to stop."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pyarrow as pa

from prefect_registry import Registry
from prefect_registry.ingestion import Ingestion, TaskManager


def work(manager: TaskManager, log: str) -> None:
    """Stages the job's number, and writes down when it was begun and by whom."""
    line = f"{manager.task.id} {os.getpid()}\n".encode()
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line)
    os.close(handle)
    with manager.attempt.dataset(manager.task.name) as ds:
        ds.write_table(pa.table({"job": [manager.job.number]}))
        time.sleep(0.05)


def main(store: str, stop: str) -> None:
    """Tick again and again, until the file ``stop`` is there."""
    ingestion = Ingestion(Registry(store, use_cache=False))
    print("ready", flush=True)
    while not Path(stop).exists():
        ingestion.tick()


if __name__ == "__main__":
    main(*sys.argv[1:])
