"""Two simulated days of a registry that many write to, followed by one reader: what a look costs as history grows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import mean

from benchmarks.measure import Result
from prefect_registry import Registry
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage

HOURS = 48
RUNS_AN_HOUR = 60
LOOK_EVERY_MINUTES = 10


class SimulatedClock:
    """Time passes when the simulation says so."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def following() -> Iterator[Result]:
    """LIST pages and GETs of a look every ten minutes, in the last hours against the first."""
    clock = SimulatedClock()
    storage = MemoryStorage(clock=clock)
    writer = Registry(ResolvingStorage(storage, clock), clock=clock, heartbeats=False)
    counting = CountingStorage(storage)
    reader = Registry(ResolvingStorage(counting, clock), clock=clock, heartbeats=False, use_cache=False)
    pages: list[int] = []
    gets: list[int] = []
    runs_a_look = RUNS_AN_HOUR * LOOK_EVERY_MINUTES // 60
    for _ in range(HOURS * 60 // LOOK_EVERY_MINUTES):
        for _ in range(runs_a_look):
            with writer.run("simulated") as run, run.dataset("k", mode="append") as dataset:
                dataset.set_rows(0)
            clock.sleep(60 * LOOK_EVERY_MINUTES / runs_a_look)
        with counting.measure() as measure:
            reader.catalog.refresh()
        pages.append(measure.by_method["list"])
        gets.append(measure.by_method["get"])
    early, late = slice(6, 24), slice(-18, None)
    grown = mean(pages[late]) / mean(pages[early])
    found = reader.catalog.count("datasets", max_age=1e9)
    yield Result(
        f"LIST pages of a look after {HOURS} hours, {found:,} datasets", mean(pages[late]), "pages",
        "as many as on the first day", grown <= 1.1, f"{mean(pages[early]):.1f} on the first day",
    )  # fmt: skip
    yield Result(
        "GETs of a look per run that is new", mean(gets[late]) / runs_a_look, "GETs", "begin, decision, dataset: 3",
        mean(gets[late]) / runs_a_look <= 3.01,
    )  # fmt: skip
