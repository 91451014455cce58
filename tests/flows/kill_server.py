"""``kill -9`` of an ingestion at every call of the store, in children that are forked with everything imported.

Run as a program: ``python kill_server.py FOLDER WHERE SHARD SHARDS`` prints one JSON line for each kill. The process
itself does nothing but fork, so that no thread of pyarrow is ever copied.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow.dataset
import pyarrow.parquet  # noqa: F401
from flow_support import ids, steps, tick

from prefect_registry import Registry
from prefect_registry.storage import open_storage
from prefect_registry.testing.faults import FaultyStorage, kill

Where = Literal["before", "after"]


def fill(inbox: Path) -> None:
    """Three files that can be taken in, and one that is half-written."""
    inbox.mkdir(parents=True)
    (inbox / "a.csv").write_text("id,n\n1,2\n2,4\n")
    (inbox / "b.jsonl").write_text('{"id":3,"n":6}\n')
    (inbox / "c.csv.gz").write_bytes(gzip.compress(b"id,n\n4,8\n5,10\n"))
    (inbox / "d.csv.gz").write_bytes(gzip.compress(b"id,n\n6,12\n")[:-5])


def ingest(folder: Path, where: Where, at: int) -> int:
    """One tick, and death at a call of the store (at none for 0). Returns how many calls there were."""
    faults = [kill(where, at=at)] if at else []
    storage = FaultyStorage(open_storage(str(folder / "store")), *faults)
    tick(Registry(storage), folder / "inbox")
    return len(storage.calls)


def look(folder: Path) -> dict[str, Any]:
    """What readers see after the kill, what the next tick does, and what they see then."""
    registry = Registry(folder / "store")
    seen = ids(registry) if registry.kinds() else []
    done = steps(tick(registry, folder / "inbox"))
    return {"seen": seen, "next": done, "then": ids(registry), "idle": steps(tick(registry, folder / "inbox"))}


def forked(work: Callable[[], Any]) -> tuple[int, Any]:
    """Do ``work`` in a child: its exit status, and what it returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), json.loads(answer) if answer else None


def main(root: Path, where: Where, shard: int, shards: int) -> None:
    """Kill at every ``shards``-th call."""
    fill(root / f"{shard}-whole" / "inbox")
    _, calls = forked(lambda: ingest(root / f"{shard}-whole", where, 0))
    for at in range(1 + shard, calls + 1, shards):
        folder = root / f"{at}"
        fill(folder / "inbox")
        status, _ = forked(lambda f=folder, n=at: ingest(f, where, n))  # type: ignore[misc]
        failed, found = forked(lambda f=folder: look(f))  # type: ignore[misc]
        print(json.dumps({"at": at, "status": status, "failed": failed, **(found or {})}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast("Where", sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
