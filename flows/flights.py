"""The main job: a year of flights into the registry, and what is derived from them, published together or not at all.

Airlines, airports, planes, weather and twelve months of flights are staged by mapped tasks; the delays are derived
from what this very run has staged; one decision makes all of it visible. Give it a month to fail at, or kill it while
it pauses, and readers see what they saw before.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, cast

import pyarrow.compute as pc
from prefect import flow, get_run_logger, task, unmapped
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows import nycflights
from flows.delays import NEEDED, delays_per_carrier_and_day
from prefect_registry.errors import InvalidState
from prefect_registry.registry import Run
from prefect_registry.runs import current_run, registry_run

LEASE_SECONDS = 60
"""The job takes seconds: a run that is silent for a minute is dead."""


def complete(run: Run) -> None:
    """Refuse to publish a year that lacks a month, or delays that count other flights than there are."""
    flights, delays = run.table("flights"), run.table("delays")
    counted = pc.sum(delays.to_table(["flights"])["flights"]).as_py()
    if len(flights) != len(nycflights.MONTHS) or counted != flights.rows:
        raise InvalidState(
            "The flights and the delays do not go together",
            why=f"There are {len(flights)} months with {flights.rows} flights, and delays of {counted}",
            committed="no",
        )


@registry_run("{registry}", lease=LEASE_SECONDS, check=complete)
@flow(name="flights", task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=4)))
def flights(
    registry: str = "",
    fail_at_month: Annotated[int, Field(ge=0, le=12)] = 0,
    pause_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0,
) -> dict[str, int]:
    """Publish a year of flights from New York City, and the delays of each airline on each day.

    Args:
        registry: Name of a registry block, or URL of a registry. Empty for the default one.
        fail_at_month: Fail in the task of this month, to see that nothing is published. 0 for not at all.
        pause_seconds: Wait so long when all flights are staged and nothing is decided: time to look, or to kill it.
    """
    others = stage_kind.map([kind for kind in nycflights.FILES if kind != "flights"])
    months = stage_month.map(list(nycflights.MONTHS), fail_at_month=unmapped(fail_at_month))
    wait([*others, *months])  # and only then look at them: nobody should work on for a run that has failed
    rows = sum(others.result() + months.result())
    if pause_seconds:
        get_run_logger().info("Staged %s rows. Pausing for %s s", f"{rows:,}", f"{pause_seconds:g}")
        time.sleep(pause_seconds)
    return {"staged_rows": rows, "delays": stage_delays()}


@task(task_run_name="stage {kind}")
def stage_kind(kind: str) -> int:
    """Stage airlines, airports, planes or weather as one dataset."""
    table = nycflights.read_kind(kind)
    with current_run().dataset(kind, mode="replace", tags={"source": nycflights.source_of(kind)}) as ds:
        ds.write_table(table)
    return table.num_rows


@task(task_run_name="stage flights of month {month}")
def stage_month(month: int, fail_at_month: int = 0) -> int:
    """Stage one month of flights as one dataset of the table ``flights``."""
    table = nycflights.read_month(month)
    tags = {"source": f"{nycflights.source_of('flights')}, month {month}"}
    with current_run().dataset("flights", mode="replace", partition={"month": month}, tags=tags) as ds:
        ds.write_table(table)
        if month == fail_at_month:
            raise RuntimeError(f"Month {month} fails, as it was asked to, after its file was written")
    return table.num_rows


@task(task_run_name="derive delays")
def stage_delays() -> int:
    """Derive the delays from what this run has staged, which nobody else can see yet."""
    run = current_run()
    table = delays_per_carrier_and_day(run.table("flights").to_table(NEEDED), run.table("airlines").to_table())
    with run.dataset("delays", mode="replace", tags={"source": "flights and airlines of the same run"}) as ds:
        ds.write_table(table)
    return table.num_rows
