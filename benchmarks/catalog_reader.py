"""A fresh process that starts from a checkpoint and asks: ``python -m benchmarks.catalog_reader URL END ID...``.

Prints one JSON object: seconds, and the most memory that the process has had, in MiB.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prefect_registry import Registry
from prefect_registry.catalog.catalog import Catalog

ROUNDS = 20


def peak_mib() -> float:
    """The most memory that this process has had. ``getrusage`` would tell that of the parent, if it had more."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def seconds_of(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The median, after one round that is not counted."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def deep_page(catalog: Catalog) -> float:
    """A page from the middle of a list of many pages."""
    page = catalog.datasets(limit=10_000, max_age=3600)
    for _ in range(20):
        page = catalog.datasets(limit=10_000, max_age=3600, cursor=page.next)
    return seconds_of(lambda: catalog.datasets(limit=10_000, max_age=3600, cursor=page.next), 3)


def main(url: str, end: str, some: list[str]) -> dict[str, float]:
    """Measure."""
    found: dict[str, float] = {}
    start = time.perf_counter()
    catalog = Registry(url).catalog
    found["datasets"] = len(catalog.datasets(limit=1)) and catalog._database.rows("SELECT count(*) FROM datasets")[0][0]
    found["cold start"] = time.perf_counter() - start
    found["cold start of the processor"] = time.process_time()
    found["peak"] = peak_mib()
    age: dict[str, Any] = {"max_age": 3600}
    found["page"] = seconds_of(lambda: catalog.datasets(limit=50, **age))
    filters: list[dict[str, Any]] = [
        {"kind": "kind-4"}, {"state": "ARCHIVED"}, {"kind": "kind-4", "state": "ARCHIVED"},
        {"run_id": f"run_{end[3:29]}"}, {"kind": "kind-4", "order": "created_at"}, {"kind": "none"},
    ]  # fmt: skip
    for wanted in filters:
        name = " ".join(f"{k}={v}" for k, v in wanted.items())
        found[f"filter {name}"] = seconds_of(partial(catalog.datasets, limit=50, **wanted, **age))
    found["filter purpose"] = seconds_of(lambda: catalog.runs(limit=50, purpose="nightly 7", **age))
    times, edges = [], 0
    for id_ in some:
        for ask in (catalog.upstream, catalog.downstream):
            start = time.perf_counter()
            edges += len(ask(id_, depth=5, max_age=3600))
            times.append(time.perf_counter() - start)
    found["lineage p99"] = statistics.quantiles(times, n=100)[98]
    found["lineage edges"] = edges / len(times)
    found["closure"] = seconds_of(lambda: catalog.upstream(end, depth=1000, max_age=3600), 3)
    start = time.process_time()
    whole = catalog.upstream(end, depth=1000, max_age=3600)
    found["closure of the processor"] = time.process_time() - start
    found["closure nodes"] = len({e.source for e in whole} | {e.target for e in whole})
    found["closure edges"] = len(whole)
    start = time.perf_counter()
    totals = catalog.totals(by="kind", state="READY", max_age=3600)
    found["totals"] = time.perf_counter() - start
    found["ready"] = sum(t.datasets for t in totals)
    found["ready rows"] = sum(t.rows for t in totals)
    found["deep page"] = deep_page(catalog)
    found["whole peak"] = peak_mib()
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], sys.argv[3:])))
