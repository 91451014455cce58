"""The catalog over 1 million datasets and 3 million edges, from checkpoints that a generator has written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.generated import Generated, Generator
from benchmarks.measure import Result
from prefect_registry import Registry
from prefect_registry.catalog.checkpoints.manifests import generations, read_checkpoint

RUNS = 250_000
"""Of four datasets each."""


def large(runs: int = RUNS) -> Iterator[Result]:
    """Cold start, pages, filters and lineage, each in a fresh process; the same counts through DuckDB."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = Generator(Path(folder) / "store", runs).write()
        made = time.perf_counter() - start
        environment = {**os.environ, "PREFECT_REGISTRY_CACHE": str(Path(folder) / "cache")}
        found = _asked(store, environment)
        size = f"{store.datasets:,} datasets, {store.edges:,} edges"
        yield Result(
            f"catalog: cold start from a checkpoint of {size}", found["cold start"], "s", "under 60 s",
            found["cold start"] < 60, f"{store.bytes / 1e6:.0f} MB of Parquet, generated in {made:.0f} s; "
            f"{found['cold start of the processor']:.1f} s of the processor",
        )  # fmt: skip
        yield Result("catalog: most memory of that process", found["peak"], "MiB", "under 600 MiB", found["peak"] < 600)
        yield from _answers(found)
        yield _listed(store, environment)
        yield from _through_duckdb(store, found)


def _asked(store: Generated, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.catalog_reader", store.url, store.end_of_project, *store.some],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _answers(found: dict[str, Any]) -> Iterator[Result]:
    page, closure = found["page"] * 1_000, found["closure"] * 1_000
    yield Result("catalog: datasets(limit=50)", page, "ms", "under 50 ms", page < 50)
    for name, seconds in found.items():
        if name.startswith("filter "):
            wanted = name.removeprefix("filter ")
            yield Result(f"catalog: 50 by {wanted}", seconds * 1_000, "ms", "under 100 ms", seconds < 0.1)
    slowest = found["lineage p99"] * 1_000
    yield Result(
        "catalog: lineage of depth 5, p99", slowest, "ms", "under 5 ms", slowest < 5,
        f"{found['lineage edges']:.0f} edges on average",
    )  # fmt: skip
    yield Result(
        f"catalog: closure of {found['closure nodes']:,} nodes", closure, "ms", "under 500 ms", closure < 500,
        f"{found['closure edges']:,} edges; {found['closure of the processor'] * 1_000:.0f} ms of the processor",
    )  # fmt: skip
    yield Result("catalog: totals by kind", found["totals"] * 1_000, "ms", "", None)
    yield Result("catalog: the 21st page of 10,000", found["deep page"] * 1_000, "ms", "", None)


def _listed(store: Generated, environment: dict[str, str]) -> Result:
    """The whole process, when the index is there."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "prefect_registry", "ls", "datasets", "--registry", store.url],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
        times.append(time.perf_counter() - start)
    return Result("catalog: prefect-registry ls, as a process", min(times), "s", "under 1 s", min(times) < 1)


def _through_duckdb(store: Generated, found: dict[str, Any]) -> Iterator[Result]:
    if not find_spec("duckdb"):
        return
    import duckdb

    inside = Registry(store.url).ledger.store
    checkpoint = read_checkpoint(inside, generations(inside)[-1])
    files = [f"{store.url}/{f.key}" for f in checkpoint.files() if f.key.endswith("/datasets.parquet")]
    start = time.perf_counter()
    sql = "SELECT count(*), count(*) FILTER (state = 'READY'), sum(rows) FILTER (state = 'READY')"
    (counted,) = duckdb.connect().execute(f"{sql} FROM read_parquet({files!r})").fetchall()
    seconds = time.perf_counter() - start
    same = tuple(map(int, counted)) == (found["datasets"], found["ready"], found["ready rows"])
    yield Result("catalog: the same counts through DuckDB", float(same), "", "equal", same, f"{seconds * 1_000:.0f} ms")
