"""Run every benchmark and print the report; exit status 1 when a target is missed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict

from benchmarks import (
    catalog,
    collection,
    following,
    models,
    object_cache,
    objects,
    page,
    provenance,
    startup,
    storage_share,
    transfer,
)
from benchmarks.measure import OtherWork, Result
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.servers import fake_gcs, seaweedfs


def _startup() -> Iterator[Result]:
    yield from startup.imports()
    yield from startup.command_line()
    yield from startup.empty_run()
    yield from startup.capture()


def _memory() -> Iterator[Result]:
    yield from storage_share.close_calls(MemoryStorage("bench"))


def _local() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(folder)
        yield from storage_share.own_share(storage, "local")
        yield from transfer.large_file(storage, "local")


def _s3() -> Iterator[Result]:
    with seaweedfs() as server:
        yield from storage_share.own_share(server.storage("share"), "s3")
        yield from transfer.staged_datasets(server.storage("staged"), "s3")
        yield from transfer.large_file(server.storage("large"), "s3")


def _gcs() -> Iterator[Result]:
    with fake_gcs() as server:
        yield from transfer.large_file(server.storage("large"), "gcs")


def _catalog() -> Iterator[Result]:
    yield from catalog.large()


def _collection() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder, seaweedfs() as server:
        yield from collection.rate(LocalStorage(f"{folder}/rate"), "local")
        yield from collection.rate(server.storage("rate"), "s3")
        yield from collection.memory(LocalStorage(f"{folder}/memory"), "local")


def _following() -> Iterator[Result]:
    yield from following.following()


def _models() -> Iterator[Result]:
    yield from models.lists()


def _cache() -> Iterator[Result]:
    yield from object_cache.hits()
    with seaweedfs() as server:
        yield from object_cache.loads(server.storage("cached"))


def _objects() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder, seaweedfs() as server:
        yield from objects.local(folder)
        yield from objects.s3(server.storage("objects"))


PLACES: dict[str, Callable[[], Iterator[Result]]] = {
    "memory": _memory,
    "local": _local,
    "s3": _s3,
    "gcs": _gcs,
    "startup": _startup,
    "catalog": _catalog,
    "collection": _collection,
    "following": _following,
    "objects": _objects,
    "cache": _cache,
    "models": _models,
    "provenance": provenance.drawing,
}


def main() -> int:
    """Print each result as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=PLACES, help="may be given several times; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON object per line on standard output")
    parser.add_argument("--page", action="store_true", help="write the tables of what was measured into speed.md, too")
    options = parser.parse_args()
    others, missed = OtherWork(), 0
    for place in options.only or PLACES:
        beside, results = OtherWork(), []
        for result in PLACES[place]():
            missed += result.ok is False
            results.append(result)
            print(json.dumps(asdict(result)) if options.json else _line(result), flush=True)
        if options.page:  # at once: what was measured stays when a later place fails
            table = page.table(results, page.machine(beside.share()))
            page.PAGE.write_text(page.replaced(page.PAGE.read_text("utf-8"), place, table), "utf-8")
    share = others.share()
    if share is not None and not options.json:
        print(f"        Other processes and the kernel's own threads used {share:.0%} of this machine meanwhile.")
    return 1 if missed else 0


def _line(result: Result) -> str:
    mark = {True: "ok    ", False: "MISSED", None: "      "}[result.ok]
    note = f"  ({result.note})" if result.note else ""
    target = "" if result.ok is None else f"  [{result.target}]"
    return f"{mark}  {result.name}: {result.value:.2f} {result.unit}{target}{note}"


if __name__ == "__main__":
    sys.exit(main())
