"""Worker processes forked from one that has imported what tasks need, instead of importing it in each.

Dask has an option for it. Prefect's process pool always asks for new processes: a test that is given ``forked_pools``
takes its processes from where Dask's come from. What a task finds there is the same, it has come in a message; some
tests still use new ones, which find all that they need in their environment.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from types import SimpleNamespace
from typing import Any

import pytest

IMPORTED = [
    "distributed", "fastapi.encoders", "pandas", "prefect.task_engine", "prefect_dask", "prefect_registry.tasks",
    "pyarrow.compute", "pyarrow.parquet", "pytest",
]  # fmt: skip


@pytest.fixture(scope="session")
def forking(prefect_server: str) -> Iterator[ForkServerContext]:
    """Where the processes come from, while Prefect's server runs, of which its environment tells."""
    import dask
    from distributed.utils import get_mp_context

    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        context: Any = get_mp_context()
        context.set_forkserver_preload(IMPORTED)  # after Dask's own list
        yield context


@pytest.fixture(scope="session")
def dask(forking: ForkServerContext) -> Iterator[str]:
    """The address of a Dask cluster of one worker process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def forked_pools(forking: ForkServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's process pools fork."""
    given = SimpleNamespace(get_context=lambda method: forking, cpu_count=multiprocessing.cpu_count)
    monkeypatch.setattr("prefect.task_runners.multiprocessing", given)
