"""Processes that save and load objects at the same time. Run as a program, it forks them without having imported
Prefect, and prints what they found as JSON: ``python object_processes.py WORK ARGUMENT …``, each argument as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prefect_registry.registry import Registry

sys.path.insert(0, str(Path(__file__).parent.parent))  # as a program, it finds what all tests share
from forked import side_by_side

LARGE = 200_000
"""Bytes of what is overwritten while it is read, and does not fit a record."""
OVERWRITERS = 2
ENOUGH = 5
"""Saves of each overwriter, however slow the machine is."""
PAUSE_SECONDS = 0.005
"""Between two reads: so that the processors are not busy with reading alone."""


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


def content(number: int, name: str) -> bytes:
    """A content that is whole or not. ``number`` counts the saves of all overwriters in turn: it tells whose it is."""
    return number.to_bytes(4, "big") * (LARGE // 4 if name == "large" else 1)


def readers(stores: list[tuple[str, dict[str, Any]]], seconds: float) -> list[dict[str, Any]]:
    """In each store two processes overwrite the same two objects without pause, one with files and one in a record, and
    one process reads each, past the cache that those fill; all stores at the same time.
    """
    names = ("large", "small")
    for url, options in stores:
        first = Registry(url, storage_options=options, mutable=True)
        for name in names:
            first.save(name, content(0, name))
    all_open = multiprocessing.get_context("fork").Barrier(len(stores) * (OVERWRITERS + len(names)))

    def opened(url: str, options: dict[str, Any], **how: Any) -> tuple[Registry, float]:
        """The registry, and until when to work with it: the time begins when all processes have theirs."""
        registry = Registry(url, storage_options=options, **how)
        registry.load(names[0])
        all_open.wait(120)
        return registry, time.monotonic() + seconds

    def overwrite(url: str, options: dict[str, Any], overwriter: int) -> int:
        (registry, deadline), saves = opened(url, options), 0
        while time.monotonic() < deadline or saves < ENOUGH:
            saves += 1
            for name in names:
                registry.save(name, content(saves * OVERWRITERS + overwriter, name), on_conflict="overwrite")
        return saves

    def read(url: str, options: dict[str, Any], name: str) -> dict[str, Any]:
        registry, deadline = opened(url, options, use_cache=False)
        reads, last, failed = 0, [0] * OVERWRITERS, []
        while time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            try:
                found = registry.load(name)
            except Exception as error:
                failed.append(repr(error))
                continue
            number = int.from_bytes(found[:4], "big")
            saves, overwriter = divmod(number, OVERWRITERS)
            if found != content(number, name) or saves < last[overwriter]:
                failed.append(f"a mix, or older than before: {overwriter}'s {saves} after {last}")
            reads, last[overwriter] = reads + 1, saves
        return {"reads": reads, "last": last, "failed": failed}

    works: list[Callable[[], Any]] = []
    for url, options in stores:
        works += [partial(overwrite, url, options, overwriter) for overwriter in range(OVERWRITERS)]
        works += [partial(read, url, options, name) for name in names]
    told, each = side_by_side(works), OVERWRITERS + len(names)
    groups = [told[start : start + each] for start in range(0, len(told), each)]
    return [{"saves": group[:OVERWRITERS], "reads": group[OVERWRITERS:]} for group in groups]


if __name__ == "__main__":
    work, *arguments = sys.argv[1:]
    result = globals()[work](*map(json.loads, arguments))
    assert "prefect" not in sys.modules, "the server must stay light"
    print(json.dumps(result))
