"""Run every benchmark and print the report; exit status 1 when a budget is missed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator

from benchmarks import startup, storage_share, transfer
from benchmarks.measure import Result
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.servers import seaweedfs


def results() -> Iterator[Result]:
    """Every measurement, as it is made."""
    yield from startup.imports()
    yield from storage_share.close_calls(MemoryStorage("bench"))
    with tempfile.TemporaryDirectory() as folder:
        local = LocalStorage(folder)
        yield from storage_share.own_share(local, "local")
        yield from transfer.large_file(local, "local")
    with seaweedfs() as server:
        yield from storage_share.own_share(server.storage("share"), "s3")
        yield from transfer.staged_datasets(server.storage("staged"), "s3")
        yield from transfer.large_file(server.storage("large"), "s3")
    yield from startup.empty_run()


def main() -> int:
    """Print each result as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line on standard output")
    as_json = parser.parse_args().json
    missed = 0
    for result in results():
        missed += result.ok is False
        if as_json:
            print(json.dumps(result.__dict__), flush=True)
            continue
        mark = {True: "ok    ", False: "MISSED", None: "      "}[result.ok]
        note = f"  ({result.note})" if result.note else ""
        print(f"{mark}  {result.name}: {result.value:.2f} {result.unit}  [{result.budget}]{note}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
