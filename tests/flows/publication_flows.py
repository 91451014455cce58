"""What a publication retrieves in the tests: a flow that is deployed, and a function."""

from __future__ import annotations

import pyarrow as pa
from prefect import flow

from prefect_registry.ingestion import TaskManager
from prefect_registry.resolve import resolve_registry


@flow(name="collect", log_prints=True)
def collect(registry: str, run: str, job: str) -> None:
    """Stages two rows in a run of its own, inside that of the attempt."""
    with resolve_registry(registry).run("collect", parent=run) as inner, inner.dataset("observations") as ds:
        ds.write_table(pa.table({"job": [job] * 2}))
    print(f"staged for {job} in {run}")


def summarize(manager: TaskManager) -> None:
    """Counts what was collected, which no reader sees yet."""
    rows = manager.attempt.table("observations").to_table().num_rows
    with manager.attempt.dataset("summary") as ds:
        ds.write_table(pa.table({"job": [manager.job.id], "rows": [rows]}))
