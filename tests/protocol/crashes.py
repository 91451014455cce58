"""``kill -9`` at every storage call and at every system call that changes the disk, on a real folder.

Run as a program, it is a server that has not imported Prefect: it forks a child for every kill, so that one costs some
milliseconds, and prints what it found as JSON. ``python crashes.py SHARD SHARDS [disk]``.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect_registry.clock import SystemClock
from prefect_registry.errors import NotFound, RegistryError
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.records.datasets import Mode
from prefect_registry.registry import Registry
from prefect_registry.registry.snapshot import Snapshot
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.wrapper import WrapperStorage

Tell = Callable[[str], None]
Operation = Callable[[Registry, Tell], None]


class Patient(SystemClock):
    """Knows for how many seconds somebody has waited on purpose."""

    slept = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        super().sleep(seconds)


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


# -- what is done while it is killed, and what may be there afterwards -----------------------------------------------
# An operation says "doing <phase>" before each step, so that it is known in which one it was killed, and tells what its
# caller was told: the run or dataset that it is about comes second.


def _dataset(registry: Registry, run_id: str, text: str, tell: Tell, mode: Mode = "append") -> str:
    tell("doing begin")
    with registry.attach(run_id).dataset("table", mode=mode) as dataset:
        tell("doing write")
        with dataset.open("f.txt") as file:
            file.write(text.encode())
        tell("doing commit")
    return dataset.id


def _fill(registry: Registry, run_id: str, text: str, tell: Tell, datasets: int = 2) -> None:
    for i in range(datasets):
        _dataset(registry, run_id, f"{text} {i}", tell)
    tell("doing write")
    run = registry.attach(run_id)
    run.register_documents([{"id": "urn:doc:a", "title": text}, {"id": "urn:doc:b", "title": text}])
    run.emit_event("filled", "table", {"text": text})


def publish(registry: Registry, tell: Tell) -> None:
    """Begin, write, commit, close."""
    tell("doing begin")
    run = registry.insert_run("publish", config={"text": "new"})
    tell(f"begun {run}")
    _fill(registry, run, "new", tell)
    tell("doing close")
    registry.close_run(run, True, "done")
    tell(f"committed {run}")


def give_up(registry: Registry, tell: Tell) -> None:
    """The same, rolled back at the end."""
    run = registry.insert_run("give up")
    _fill(registry, run, "never", tell)
    tell("doing rollback")
    registry.close_run(run, False, "changed its mind")
    tell(f"aborted {run}")


def drop_one(registry: Registry, tell: Tell) -> None:
    """One dataset is rolled back, the other is published."""
    tell("doing begin")
    run = registry.insert_run("drop one")
    dropped = registry.begin_dataset("dropped", run)
    tell("doing write")
    registry.storage.put(registry.get_dataset(dropped).prefix + "f", b"x")
    tell("doing rollback")
    registry.rollback_dataset(dropped)
    tell(f"dropped {dropped}")
    _fill(registry, run, "new", tell, datasets=1)
    tell("doing close")
    registry.close_run(run, True)
    tell(f"committed {run}")


def nested(registry: Registry, tell: Tell) -> None:
    """A run inside a run: published by the outer one's decision."""
    tell("doing begin")
    outer = registry.insert_run("outer")
    inner = registry.insert_run("inner", parent=outer)
    _fill(registry, inner, "inner", tell, datasets=1)
    tell("doing close")
    registry.close_run(inner, True)
    tell(f"staged {inner}")
    _dataset(registry, outer, "outer", tell)
    tell("doing close")
    registry.close_run(outer, True)
    tell(f"committed {outer}")
    tell(f"committed {inner}")


def one_by_one(registry: Registry, tell: Tell) -> None:
    """publish="on_commit": each dataset is published by itself."""
    tell("doing begin")
    run = registry.insert_run("one by one", publish="on_commit")
    for i in range(2):
        tell(f"ready {_dataset(registry, run, f'single {i}', tell)}")
    tell("doing close")
    registry.close_run(run, True)
    tell(f"closed {run}")


def documents(registry: Registry, tell: Tell) -> None:
    """Documents outside a run: an implicit run."""
    tell("doing write")
    registry.register_documents([{"id": "urn:doc:a", "title": "alone"}, {"id": "urn:doc:b", "title": "alone"}])
    tell("registered")


def revert(registry: Registry, tell: Tell) -> None:
    """Un-publish what the prepared store has."""
    bad = next(iter(registry.runs(purpose="before")))
    tell("doing revert")
    report = registry.revert(bad.id, "bad")
    tell(f"reverted {bad.id}")
    tell(f"committed {report.run_id}")


def reap_and_collect(registry: Registry, tell: Tell) -> None:
    """The reaper and the collector, on the dead runs of the prepared store."""
    tell("doing reap")
    registry.reap()
    tell("reaped")
    tell("doing collect")
    registry.collect(dry_run=False)
    tell("collected")


def let_go(registry: Registry, tell: Tell) -> None:
    """Replace the table of the prepared store, release what it was, and collect it."""
    tell("doing begin")
    run = registry.insert_run("replace")
    _dataset(registry, run, "new", tell, "replace")
    tell("doing close")
    registry.close_run(run, True)
    tell(f"committed {run}")
    tell("doing release")
    registry.set_retention("table", keep_last=1)
    registry.release(dry_run=False)
    tell("released")
    tell("doing collect")
    registry.collect(dry_run=False)


def attempts(registry: Registry, tell: Tell) -> None:
    """Three attempts of one flow run: superseded, published, and told that it is published (P14)."""
    tell("doing begin")
    first = registry.begin_attempt("attempt", flow_run="flow-run-1").begin.run_id
    _fill(registry, first, "first", tell, datasets=1)
    tell("doing begin")
    second = registry.begin_attempt("attempt", flow_run="flow-run-1").begin.run_id
    tell(f"aborted {first}")
    _fill(registry, second, "second", tell, datasets=1)
    tell("doing close")
    registry.close_run(second, True, result={"rows": 1})
    tell(f"committed {second}")
    tell("doing begin")
    published = registry.begin_attempt("attempt", flow_run="flow-run-1").published
    assert published is not None
    assert published.result == {"rows": 1}
    tell(f"published {published.run_id}")


@dataclass(frozen=True)
class Content:
    """All that a reader sees: what is in the tables' files, how many datasets are READY and how many a revert has
    hidden, the titles of the two documents, what the events say.
    """

    files: tuple[str, ...] = ("old 0", "old 1")
    ready: int = 2
    deleted: int = 0
    documents: tuple[str, ...] = ("old", "old")
    events: tuple[str, ...] = ("old",)

    def and_(self, *files: str, text: str = "") -> Content:
        """This, with more files published, and with the documents and the event of :func:`_fill`."""
        return Content(
            tuple(sorted((*self.files, *files))),
            self.ready + len(files),
            self.deleted,
            (text, text) if text else self.documents,
            tuple(sorted((*self.events, text))) if text else self.events,
        )


BEFORE = Content()
OPERATIONS: dict[Operation, tuple[Content, ...]] = {
    publish: (BEFORE, BEFORE.and_("new 0", "new 1", text="new")),
    give_up: (BEFORE,),
    drop_one: (BEFORE, BEFORE.and_("new 0", text="new")),
    nested: (BEFORE, BEFORE.and_("inner 0", "outer", text="inner")),
    one_by_one: (BEFORE, BEFORE.and_("single 0"), BEFORE.and_("single 0", "single 1")),
    documents: (BEFORE, replace(BEFORE, documents=("alone", "alone"))),
    revert: (BEFORE, Content((), ready=0, deleted=2, documents=())),
    reap_and_collect: (BEFORE,),
    let_go: (BEFORE, replace(BEFORE, files=("new",), ready=3), replace(BEFORE, files=("new",), ready=1, deleted=2)),
    attempts: (BEFORE, BEFORE.and_("second 0", text="second")),
}
"""What a reader may see after each operation was killed, in the order in which it comes about: nothing in between."""


# -- one kill --------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """A store with something published, and a run whose process died."""
    registry = Registry(LocalStorage(folder), settings=SETTINGS)
    run = registry.insert_run("before")
    _fill(registry, run, "old", _untold)
    registry.close_run(run, True)
    pid = os.fork()
    if pid == 0:
        dead = registry.insert_run("dead")
        _fill(registry, dead, "dead", _untold)
        os._exit(0)
    os.waitpid(pid, 0)


def _untold(line: str) -> None:
    pass


@dataclass
class Killed:
    """What became of an operation: what it told, in which phase it ended, and whether it was killed there."""

    told: list[str]
    phase: str
    killed: bool


def run_killed(folder: Path, operation: Operation, at: int, system: bool) -> Killed:
    """Fork, run the operation, be killed at ``at`` (0: never)."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        code = 1
        try:
            killer = Killer(at)
            calls = Killer(0) if system else killer
            storage = ResolvingStorage(KillingStorage(LocalStorage(folder), calls), attempts=1)
            registry = Registry(
                storage, settings=SETTINGS, heartbeats=False, use_cache=False
            )  # each kill has a store anew
            os_write = os.write
            if system:
                watch_system_calls(killer)

            def tell(line: str) -> None:
                os_write(writes, f"{line}\n".encode())

            operation(registry, tell)
            code = 0
        except BaseException as error:
            os.write(writes, f"error {type(error).__name__} {error}\n".encode())
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        lines = pipe.read().splitlines()
    killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    phases = [line.split()[1] for line in lines if line.startswith("doing ")]
    told = [line for line in lines if not line.startswith("doing ")]
    return Killed(told, phases[-1] if phases else "begin", killed)


def verify(folder: Path, told: list[str], allowed: Sequence[Content]) -> list[str]:
    """What is wrong after the kill; an empty list when everything is as promised."""
    clock = Patient()
    reader = Registry(LocalStorage(folder), settings=SETTINGS, heartbeats=False, clock=clock, use_cache=False)
    wrong = list(_wrong_words(reader, told))
    snapshot = reader.snapshot()
    before = see(snapshot, reader)
    # What the caller was told is there is there: each such word is about one more of the states it comes through.
    least = min(sum(line.split()[0] in PUBLISHING for line in told), len(allowed) - 1)
    if before not in allowed[least:]:
        wrong.append(f"told {told}, and there is {before}")
    wrong += _half_runs(snapshot)
    clock.slept = 0.0
    try:
        with reader.run("later") as run:
            run.register_documents([{"id": "urn:doc:a", "title": "later"}, {"id": "urn:doc:b", "title": "later"}])
    except RegistryError as error:
        wrong.append(f"a later writer is blocked: {error}")
    if clock.slept > 1:  # what it waited for others, not for a busy machine
        wrong.append(f"a later writer had to wait for {clock.slept:.1f} s")
    reader.reap()
    reader.collect(dry_run=False)
    snapshot = reader.snapshot()
    after = see(snapshot, reader)
    if after != replace(before, documents=("later", "later")):
        wrong.append(f"a later writer, reaping and collecting have changed what is visible: {before} {after}")
    wrong += _half_runs(snapshot)
    wrong += [f"{run.id} is still undecided" for run in snapshot.runs(state="RUNNING")]
    wrong += [f"{key} was not collected" for key in _dead_bytes(snapshot, reader)]
    return wrong


def see(snapshot: Snapshot, registry: Registry) -> Content:
    """What one snapshot of the registry shows; every visible file is read and checked."""
    files, kept = [], list(snapshot.datasets())
    for dataset in [d for kind in ("table", "dropped") for d in snapshot.table(kind).datasets()]:
        dataset.verify()
        files += [registry.storage.get(f"{dataset.prefix}{f.path}").decode() for f in dataset.files]
    return Content(
        tuple(sorted(files)),
        sum(d.state == "READY" for d in kept),
        sum(d.state == "DELETED" for d in kept),
        tuple(d.title for d in snapshot.documents()),
        tuple(sorted(e.payload["text"] for e in snapshot.events(derived=False))),
    )


def _half_runs(snapshot: Snapshot) -> Iterator[str]:
    """Runs of which a part has another state than the rest, and flow runs that have published twice (P14)."""
    datasets, published = list(snapshot.datasets()), list[str]()
    for run in snapshot.runs():
        states = {d.state for d in datasets if d.run_id == run.id and d.kind != "dropped"}
        allowed = {"COMMITTED": ({"READY"}, {"DELETED"}), "ABORTED": ({"ROLLED_BACK"},)}
        if states and run.state in allowed and states not in allowed[run.state]:
            yield f"{run.id} ({run.purpose}) is {run.state}, and its datasets are {states}"
        dropped = {d.state for d in datasets if d.run_id == run.id and d.kind == "dropped"}
        if run.state != "RUNNING" and dropped - {"ROLLED_BACK"}:
            yield f"{run.id} is {run.state}, and what it dropped is {dropped}"
        if run.state == "COMMITTED" and run.flow_run is not None:
            published.append(run.flow_run)
        if run.state == "COMMITTED" and run.purpose in ("dead", "give up"):
            yield f"{run.purpose} is committed"
    if len(published) != len(set(published)):
        yield f"a flow run has published twice: {published}"


def _dead_bytes(snapshot: Snapshot, registry: Registry) -> list[str]:
    committed = {run.id for run in snapshot.runs(state="COMMITTED")}
    dropped = {d.prefix for d in snapshot.datasets(kind="dropped")}
    deleted = [(d.prefix, registry.ledger.cells.latest("dataset", d.id)) for d in snapshot.datasets(state="DELETED")]
    dropped |= {prefix for prefix, cell in deleted if cell is not None and cell.value.get("purged")}
    keys = [info.key for info in registry.storage.list("data/")]
    return [k for k in keys if k.split("/")[3] not in committed or any(k.startswith(p) for p in dropped)]


def _is_ended(registry: Registry, run_id: str, state: str) -> bool:
    return registry.get_run(run_id).state == state


def _is_decided_well(registry: Registry, run_id: str) -> bool:
    decision = registry.ledger.store.decision(run_id)
    return decision is not None and decision.committed


WORDS: dict[str, Callable[..., bool]] = {
    "begun": lambda registry, run: registry.get_run(run).purpose == "publish",
    "committed": partial(_is_ended, state="COMMITTED"),
    "published": partial(_is_ended, state="COMMITTED"),
    "closed": partial(_is_ended, state="COMMITTED"),
    "aborted": partial(_is_ended, state="ABORTED"),
    "staged": _is_decided_well,
    "dropped": lambda registry, dataset: registry.get_dataset(dataset).state == "ROLLED_BACK",
    "ready": lambda registry, dataset: registry.get_dataset(dataset).state == "READY",
    "registered": lambda registry: {d.title for d in registry.documents()} == {"alone"},
    "reverted": lambda registry, run: {d.state for d in registry.datasets(run_id=run)} == {"DELETED"},
    "reaped": lambda registry: (
        [(r.state, r.failure.kind) for r in registry.runs(purpose="dead")] == [("ABORTED", "reaped")]
    ),
    "released": lambda registry: sum(d.state == "DELETED" for d in registry.datasets()) == 2,
    "collected": lambda registry: _dead_bytes(registry.snapshot(), registry) == [],
}
PUBLISHING = ("committed", "ready", "registered", "reverted", "released")


def _wrong_words(registry: Registry, told: list[str]) -> Iterator[str]:
    """What was told and is not so; a word that nobody knows, an error among them, is wrong."""
    for line in told:
        word, *about = line.split()
        try:
            if word not in WORDS or not WORDS[word](registry, *about):
                yield f"told {line}, and it is not so"
        except NotFound:
            yield f"told {line}, but it is not there"


def main(shard: int, shards: int) -> dict[str, Any]:
    """Kill at every ``shards``-th place there is; how often in each operation and phase, and what was wrong."""
    assert "prefect" not in sys.modules, "the server must stay light"
    wrong: list[str] = []
    operations, phases = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        template, folder = Path(temporary) / "template", Path(temporary) / "store"
        prepare(template)
        gc.freeze()  # a child that collects garbage would copy all memory that it shares with this process

        def one(operation: Operation, at: int, system: bool) -> Killed:
            shutil.copytree(template, folder, copy_function=os.link)  # no file of a store is ever changed
            found = run_killed(folder, operation, at, system)
            where = f"{operation.__name__}, {'system' if system else 'storage'} call {at}"
            try:
                wrong.extend(f"{where}: {w}" for w in verify(folder, found.told, OPERATIONS[operation]))
            except RegistryError as error:
                wrong.append(f"{where}: the store cannot be read: {error!r}")
            shutil.rmtree(folder)
            return found

        for operation in OPERATIONS:
            for system in (False, True):
                level = "system" if system else "storage"
                for at in itertools.count(1 + shard, shards):
                    found = one(operation, at, system)
                    if not found.killed:  # it came to its end before
                        break
                    operations[f"{operation.__name__} {level}"] += 1
                    phases[f"{found.phase} {level}"] += 1
    assert not {"prefect", "pyarrow"} & set(sys.modules), "what it must not need was imported, which makes forks slow"
    return {"wrong": wrong, "operations": operations, "phases": phases}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
