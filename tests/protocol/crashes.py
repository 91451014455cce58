"""``kill -9`` at every storage call and at every system call that changes the disk, on a real folder.

Run as a program, it is a server that has not imported Prefect: it forks a child for every kill, so that one costs some
milliseconds, and prints what it found as JSON. ``python crashes.py SHARD SHARDS MOST``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prefect_registry.errors import NotFound, RegistryError
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.registry import Registry
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.wrapper import WrapperStorage

Tell = Callable[[str], None]
Operation = Callable[[Registry, Tell], None]
SETTINGS = LedgerSettings(lease_seconds=60, undecided_wait_seconds=1, younger_wait_seconds=1)
CALLS = ("create", "put", "get", "open", "upload", "list", "delete_many", "info")
SYSTEM_CALLS = ("link", "replace", "unlink", "fsync", "mkdir", "rmdir", "write", "rename")


class Killer:
    """Counts, and kills this process at the n-th count. ``at=0`` only counts."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class KillingStorage(WrapperStorage):
    """Asks the killer before and after every call: a kill between two calls is a kill after the first."""

    def __init__(self, inner: LocalStorage, killer: Killer) -> None:
        super().__init__(inner)
        self._killer = killer
        for name in CALLS:
            setattr(self, name, partial(self._call, getattr(inner, name)))

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._killer()
        result = method(*args, **kwargs)
        if not hasattr(result, "__next__"):
            self._killer()
            return result
        return self._listed(result)

    def _listed(self, listing: Iterator[Any]) -> Iterator[Any]:
        found = list(listing)
        self._killer()
        return iter(found)


def watch_system_calls(killer: Killer) -> None:
    """From now on, every change to the disk asks the killer first."""
    for name in SYSTEM_CALLS:
        real = getattr(os, name)

        def call(*args: Any, _real: Any = real, **kwargs: Any) -> Any:
            killer()
            return _real(*args, **kwargs)

        setattr(os, name, call)


# -- what is done while it is killed ---------------------------------------------------------------------------------


def _fill(registry: Registry, run_id: str, text: str, datasets: int = 2) -> None:
    run = registry.attach(run_id)
    for i in range(datasets):
        with run.dataset("table", mode="append") as dataset, dataset.open("f.txt") as file:
            file.write(f"{text} {i}".encode())
    run.register_documents([{"id": "urn:doc:a", "title": text}, {"id": "urn:doc:b", "title": text}])
    run.emit_event("filled", "table", {"text": text})


def publish(registry: Registry, tell: Tell) -> None:
    """Begin, write, commit, close."""
    run = registry.insert_run("publish", config={"text": "new"})
    tell(f"begun {run}")
    _fill(registry, run, "new")
    registry.close_run(run, True, "done")
    tell(f"committed {run}")


def give_up(registry: Registry, tell: Tell) -> None:
    """The same, rolled back at the end."""
    run = registry.insert_run("give up")
    _fill(registry, run, "never")
    registry.close_run(run, False, "changed its mind")
    tell(f"aborted {run}")


def drop_one(registry: Registry, tell: Tell) -> None:
    """One dataset is rolled back, the other is published."""
    run = registry.insert_run("drop one")
    dropped = registry.begin_dataset("dropped", run)
    registry.storage.put(registry.get_dataset(dropped).prefix + "f", b"x")
    registry.rollback_dataset(dropped)
    tell(f"dropped {dropped}")
    _fill(registry, run, "new", datasets=1)
    registry.close_run(run, True)
    tell(f"committed {run}")


def nested(registry: Registry, tell: Tell) -> None:
    """A run inside a run: published by the outer one's decision."""
    outer = registry.insert_run("outer")
    inner = registry.insert_run("inner", parent=outer)
    _fill(registry, inner, "inner", datasets=1)
    registry.close_run(inner, True)
    tell(f"staged {inner}")
    with registry.attach(outer).dataset("table", mode="append") as dataset, dataset.open("o.txt") as file:
        file.write(b"outer")
    registry.close_run(outer, True)
    tell(f"committed {outer}")
    tell(f"committed {inner}")


def one_by_one(registry: Registry, tell: Tell) -> None:
    """publish="on_commit": each dataset is published by itself."""
    run = registry.insert_run("one by one", publish="on_commit")
    for _ in range(2):
        with registry.attach(run).dataset("table") as dataset, dataset.open("f.txt") as file:
            file.write(b"single")
        tell(f"ready {dataset.id}")
    registry.close_run(run, True)


def documents(registry: Registry, tell: Tell) -> None:
    """Documents outside a run: an implicit run."""
    registry.register_documents([{"id": "urn:doc:a", "title": "alone"}, {"id": "urn:doc:b", "title": "alone"}])
    tell("documents alone")


def revert(registry: Registry, tell: Tell) -> None:
    """Un-publish what the prepared store has."""
    newest = next(iter(registry.runs(state="COMMITTED")))
    report = registry.revert(newest.id, "bad")
    tell(f"reverted {newest.id} {report.run_id}")


def reap_and_collect(registry: Registry, tell: Tell) -> None:
    """The reaper and the collector, on the dead runs of the prepared store."""
    registry.reap()
    tell("reaped")
    registry.collect(dry_run=False)
    tell("collected")


def attempts(registry: Registry, tell: Tell) -> None:
    """Three attempts of one flow run: superseded, published, and told that it is published (P14)."""
    first = registry.begin_attempt("attempt", flow_run="flow-run-1").begin.run_id
    _fill(registry, first, "first", datasets=1)
    second = registry.begin_attempt("attempt", flow_run="flow-run-1").begin.run_id
    tell(f"aborted {first}")
    _fill(registry, second, "second", datasets=1)
    registry.close_run(second, True, result={"rows": 1})
    tell(f"committed {second}")
    published = registry.begin_attempt("attempt", flow_run="flow-run-1").published
    assert published is not None
    assert published.result == {"rows": 1}


OPERATIONS: dict[str, Operation] = {
    f.__name__: f
    for f in (publish, give_up, drop_one, nested, one_by_one, documents, revert, reap_and_collect, attempts)
}


# -- one kill --------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """A store with something published, and a run whose process died."""
    registry = Registry(LocalStorage(folder), settings=SETTINGS)
    run = registry.insert_run("before")
    _fill(registry, run, "old")
    registry.close_run(run, True)
    pid = os.fork()
    if pid == 0:
        dead = registry.insert_run("dead")
        _fill(registry, dead, "dead")
        os._exit(0)
    os.waitpid(pid, 0)


def run_killed(folder: Path, operation: Operation, at: int, system: bool) -> tuple[list[str], int]:
    """Fork, run the operation, be killed at ``at``; what it told before, and how often it could have been killed."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        code = 1
        try:
            killer = Killer(at)
            calls = Killer(0) if system else killer
            storage = ResolvingStorage(KillingStorage(LocalStorage(folder), calls), attempts=1)
            registry = Registry(storage, settings=SETTINGS, heartbeats=False)
            os_write = os.write
            if system:
                watch_system_calls(killer)
            operation(registry, lambda line: os_write(writes, f"{line}\n".encode()) and None)
            os_write(writes, f"count {killer.count}\n".encode())
            code = 0
        except BaseException as error:
            os.write(writes, f"error {type(error).__name__} {error}\n".encode())
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(pid, 0)
    counts = [int(line.split()[1]) for line in lines if line.startswith("count ")]
    return [line for line in lines if not line.startswith("count ")], counts[0] if counts else 0


def verify(folder: Path, told: list[str]) -> list[str]:
    """What is wrong after the kill; an empty list when everything is as promised."""
    wrong = [line for line in told if line.startswith("error ")]
    reader = Registry(LocalStorage(folder), settings=SETTINGS, heartbeats=False)
    wrong += list(_whole_or_absent(reader))
    wrong += list(_told_the_truth(reader, told))
    before = _visible(reader)
    start = time.monotonic()
    try:
        with reader.run("later") as run:
            run.register_documents([{"id": "urn:doc:a", "title": "later"}, {"id": "urn:doc:b", "title": "later"}])
    except RegistryError as error:
        wrong.append(f"a later writer is blocked: {error}")
    if time.monotonic() - start > 5:
        wrong.append("a later writer had to wait")
    reader.reap()
    reader.collect(dry_run=False)
    after = _visible(reader)
    if {k: v for k, v in before.items() if k != "documents"} != {k: v for k, v in after.items() if k != "documents"}:
        wrong.append(f"reaping and collecting changed what is visible: {before} {after}")
    wrong += list(_whole_or_absent(reader))
    states = {run.id: run.state for run in reader.runs()}
    wrong += [f"{run} is still undecided" for run, state in states.items() if state == "RUNNING"]
    for info in reader.storage.list("data/"):
        if states.get(info.key.split("/")[3]) != "COMMITTED":
            wrong.append(f"{info.key} was not collected")
    return wrong


def _visible(registry: Registry) -> dict[str, Any]:
    snapshot = registry.snapshot()
    return {
        "table": [d.id for d in snapshot.table("table").datasets()],
        "dropped": [d.id for d in snapshot.table("dropped").datasets()],
        "documents": [d.title for d in snapshot.documents()],
    }


def _whole_or_absent(registry: Registry) -> Iterator[str]:
    """Every visible dataset has all its bytes, and the documents of a run are visible together."""
    snapshot = registry.snapshot()
    for dataset in snapshot.table("table").datasets():
        try:
            dataset.verify()
        except RegistryError as error:
            yield f"{dataset.id} is visible and broken: {error}"
    titles = {d.title for d in snapshot.documents()}
    if len(titles) > 1:
        yield f"half a run is visible: {titles}"
    datasets = list(snapshot.datasets(kind="table"))
    for run in snapshot.runs():
        states = {d.state for d in datasets if d.run_id == run.id}
        if run.state == "COMMITTED" and not states <= {"READY", "DELETED"}:
            yield f"{run.id} is committed, and its datasets are {states}"
        if run.state == "ABORTED" and not states <= {"ROLLED_BACK"}:
            yield f"{run.id} is aborted, and its datasets are {states}"


def _told_the_truth(registry: Registry, told: list[str]) -> Iterator[str]:
    for line in told:
        word, *ids = line.split()
        try:
            if word in ("committed", "aborted") and registry.get_run(ids[0]).state != word.upper():
                yield f"told {line}, but it is {registry.get_run(ids[0]).state}"
            elif word == "ready" and registry.get_dataset(ids[0]).state != "READY":
                yield f"told {line}, but it is not"
            elif word == "reverted" and any(d.state == "READY" for d in registry.datasets(run_id=ids[0])):
                yield f"told {line}, but it is still READY"
            elif line == "documents alone" and {d.title for d in registry.documents()} != {"alone"}:
                yield "told that the documents are registered, but they are not"
        except NotFound:
            yield f"told {line}, but it is not there"


def main(shard: int, shards: int, most: int) -> dict[str, Any]:
    """Kill at every ``shards``-th place, at most ``most`` times; what was wrong."""
    assert "prefect" not in sys.modules, "the server must stay light"
    start, kills, wrong = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory() as temporary:
        template = Path(temporary) / "template"
        prepare(template)
        for name, operation in OPERATIONS.items():
            for system in (False, True):
                folder = Path(temporary) / "store"
                shutil.copytree(template, folder)
                told, count = run_killed(folder, operation, 0, system)
                wrong += [f"{name} unkilled: {w}" for w in verify(folder, told)]
                shutil.rmtree(folder)
                for at in range(1 + shard, count + 1, shards):
                    if kills >= most:
                        break
                    shutil.copytree(template, folder)
                    told, _ = run_killed(folder, operation, at, system)
                    where = f"{name}, {'system' if system else 'storage'} call {at} of {count}"
                    wrong += [f"{where}: {w}" for w in verify(folder, told)]
                    shutil.rmtree(folder)
                    kills += 1
    assert "prefect" not in sys.modules, "something imported prefect"
    return {"kills": kills, "wrong": wrong, "seconds": round(time.monotonic() - start, 1)}


if __name__ == "__main__":
    print(json.dumps(main(*(int(a) for a in sys.argv[1:4]))))
