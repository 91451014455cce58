"""Processes that save and load objects at the same time. Run as a program, it forks them without having imported
Prefect, and prints what they found as JSON: ``python object_processes.py WORK URL OPTIONS …``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect_registry.registry import Registry

sys.path.insert(0, str(Path(__file__).parent.parent))  # as a program, it finds what all tests share
from forked import side_by_side

LARGE = 200_000
"""Bytes of what is overwritten while it is read, and does not fit a record."""


def saves(url: str, options: dict[str, Any], processes: int, each: int) -> dict[str, Any]:
    """So many processes save so many automatic versions each of one object; each has its own registry."""

    def work(process: int) -> list[str]:
        registry = Registry(url, storage_options=options, version_objects=True)
        return [registry.save("m", {"process": process, "n": n}) for n in range(each)]

    begun = time.monotonic()
    told = side_by_side([lambda process=process: work(process) for process in range(processes)])
    took = time.monotonic() - begun
    reader = Registry(url, storage_options=options)
    wrong = []
    for process, versions in enumerate(told):
        for n, version in enumerate(versions):
            found = reader.load("m", version)
            if found != {"process": process, "n": n}:
                wrong.append(f"m@{version} is {found}, and process {process} saved {n} there")
    numbers = sorted(int(v) for versions in told for v in versions)
    return {"wrong": wrong, "numbers": numbers, "listed": reader.list_versions("m"), "seconds": took}


def content(n: int, large: bool) -> bytes:
    """A content that is whole or not."""
    return n.to_bytes(4, "big") * (LARGE // 4 if large else 1)


def readers(url: str, options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One process overwrites an object without pause, another one reads it: one pair for a large, one for a small."""
    first = Registry(url, storage_options=options, mutable=True)
    for name in ("large", "small"):
        first.save(name, content(0, name == "large"))
    deadline = time.monotonic() + seconds

    def write(name: str) -> int:
        registry, n = Registry(url, storage_options=options), 0
        while time.monotonic() < deadline:
            n += 1
            registry.save(name, content(n, name == "large"), on_conflict="overwrite")
        return n

    def read(name: str) -> dict[str, Any]:
        registry = Registry(url, storage_options=options)
        seen, last, failed = 0, 0, []
        while time.monotonic() < deadline:
            try:
                found = registry.load(name)
            except Exception as error:
                failed.append(repr(error))
                continue
            n = int.from_bytes(found[:4], "big")
            if found != content(n, name == "large") or n < last:
                failed.append(f"a mix, or older than before: {n} after {last}")
            seen, last = seen + 1, n
        return {"reads": seen, "last": last, "failed": failed}

    names = ("large", "small")
    works: list[Callable[[], Any]] = [lambda name=name: write(name) for name in names]
    works += [lambda name=name: read(name) for name in names]
    found = side_by_side(works)
    return {"writes": found[:2], "reads": found[2:]}


if __name__ == "__main__":
    work, url, options, *numbers = sys.argv[1:]
    result = globals()[work](url, json.loads(options), *(int(n) for n in numbers))
    assert "prefect" not in sys.modules, "the server must stay light"
    print(json.dumps(result))
