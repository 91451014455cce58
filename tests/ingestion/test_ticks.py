"""Several ticks at the same time, stopped and killed at every storage call: no task is started twice unless the one who
started it is proven dead, no job is lost or doubled, and readers see one complete job.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocol"))

from explorer import Limits, at_random, systematic
from world import Actor, World

from prefect_registry import Registry
from prefect_registry.clock import StoreClock
from prefect_registry.errors import Conflict, NotFound
from prefect_registry.ingestion import (
    Collection,
    ExportTask,
    Ingestion,
    Job,
    PlannedTask,
    RecoverableError,
    Status,
    Task,
    TaskManager,
)
from prefect_registry.ledger.opening import open_registry
from prefect_registry.ledger.store import LedgerSettings, Store
from prefect_registry.objects.keeping import Keeping
from prefect_registry.records.runs import Holder

HASTY = LedgerSettings(undecided_wait_seconds=0, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)
PLAN = ("first", "second")
LATER = timedelta(days=40)


class Ticks(World):
    """A world of managers. ``starts`` are what managers did, by the key of the start, and who was alive then."""

    def _is_gone(self, holder: Holder) -> bool:
        return bool(holder.process_start) and super()._is_gone(holder)

    def _random(self, count: int) -> bytes:
        """Runs begin in the same millisecond here: numbers that ascend would soon be the same of two actors."""
        self.minted += 1
        return hashlib.sha256(str(self.minted).encode()).digest()[:count]

    @property
    def wrong(self) -> list[str]:
        """What must not have been: managers' exceptions only fail their tasks."""
        return self.facts.setdefault("wrong", [])

    @property
    def starts(self) -> list[tuple[str, str, str]]:
        return self.facts.setdefault("starts", [])


class Local(TaskManager):
    """Stages one cell for the task, in the process that ticks; the store is called in between."""

    remote = False
    world: Ticks
    actor: Actor | None

    @property
    def final_output(self) -> bool:
        return True

    def run(self) -> None:
        self.begun()
        ledger = self.registry.ledger
        if self.actor is not None:
            self.actor.pause(("work", self.task.id))
        assert self.task.attempt is not None
        ledger.cells.write("out", self.task.name, {"job": self.job.id}, run_id=self.task.attempt)

    def begun(self) -> None:
        """Whoever started this task before must be provably gone."""
        me = self.actor.name if self.actor is not None else "fresh"
        for task, _, who in self.world.starts:
            others = [a for a in self.world.actors if a.name == who]
            if task == self.task.id and any(a.state not in ("crashed", "done") for a in others):
                self.world.wrong.append(f"{task} is started by {me}, and was by {who}, who is alive")
        self.world.starts.append((self.task.id, self.task.key, me))

    def get_status(self) -> tuple[Status, str | None]:
        return Status.COMPLETED, None

    def wipe(self) -> None:
        pass


class Remote(Local):
    """Starts work elsewhere under a key; the same key again changes nothing, and it can be asked."""

    remote = True

    def run(self) -> None:
        if self.actor is not None:
            self.actor.pause(("work", self.task.id))
        done = self.world.facts.setdefault("remote", Counter())
        done[self.task.key] += 1
        self.begun()
        if self.actor is not None:
            self.actor.pause(("work", self.task.id))

    def was_started(self, key: str) -> bool | None:
        return key in self.world.facts.get("remote", {})


class Mute(Remote):
    """A remote task of which nobody can tell whether it was started."""

    def was_started(self, key: str) -> bool | None:
        return None


class Shaky(Local):
    """Cannot start at first."""

    def run(self) -> None:
        if not self.world.facts.get("shaken"):
            self.world.facts["shaken"] = True
            raise RecoverableError("not yet")
        super().run()


class Stuck(Remote):
    """Runs beyond its time limit at first; when it is wiped, so that it can be started again."""

    def get_status(self) -> tuple[Status, str | None]:
        return (Status.RUNNING if self.task.restarts == 0 else Status.COMPLETED), None

    def wipe(self) -> None:
        self.world.facts.setdefault("wiped", []).append(self.task.id)


class Staging(Local):
    """Stages rows, which a gate looks at, and which the task after it exports."""

    def run(self) -> None:
        self.begun()
        with self.attempt.dataset(ROWS, tags={"job": self.job.id}) as ds:
            ds.write_table(pa.table({"job": [self.job.id]}))


class Exporting(ExportTask):
    """The export of the package, which says when it begins."""

    world: Ticks
    actor: Actor | None
    begun = Local.begun

    def run(self) -> None:
        self.begun()
        super().run()


KINDS: dict[str, type[Local]] = {
    "local": Local, "remote": Remote, "mute": Mute, "shaky": Shaky, "stuck": Stuck, "passing": Staging,
    "refused": Staging,
}  # fmt: skip
GATED: dict[str, int] = {"passing": 1, "refused": 2}
"""Kinds whose rows a gate looks at: how many it wants, of the one that there is."""
ROWS = "rows"
REMOVED = "removed"
EXPORT = {"type": "export", "name": PLAN[1], "options": {"kind": ROWS, "into": "export", "formats": ["jsonl"]}}


def registry_on(store: Store) -> Registry:
    """A registry without beats of its own, and without an index that outlives it."""
    registry = Registry.__new__(Registry)
    registry.__setstate__(
        {"_store": store, "_heartbeats": False, "_keeping": Keeping(use_cache=False), "registry_id": "test"}
    )
    return registry


def ingestion_of(world: Ticks, ledger: Any, actor: Actor | None, kind: str) -> Ingestion:
    registry = registry_on(ledger.store)

    def manager(task: Task) -> TaskManager:
        made: Any = KINDS[kind](task) if task.type == "test" else Exporting(task)
        made.world, made.actor = world, actor
        return made

    return Ingestion(registry, managers={"test": manager, "export": manager}, now=lambda: world.clock.now() + LATER)


def ticking(kind: str, times: int) -> Callable[[Actor], None]:
    def program(actor: Actor) -> None:
        world = actor.world
        assert isinstance(world, Ticks)
        ingestion = ingestion_of(world, actor.ledger, actor, kind)
        for _ in range(times):
            ingestion.tick()

    return program


def world_of(kind: str, actors: int, times: int, before: int = 0) -> Ticks:
    """A publication that is due; ``before`` ticks were made already."""
    begun, world = begun_world(kind, before), Ticks(HASTY)
    for found in begun.storage.list(""):
        world.storage.put(found.key, begun.storage.get(found.key))
    world.facts, world.minted = deepcopy(begun.facts), begun.minted
    world.clock.seconds += 10
    world.judge_state = consistent
    for n in range(actors):
        world.add(f"tick {n}", ticking(kind, times))
    return world


@cache
def begun_world(kind: str, before: int) -> Ticks:
    """The world in which all the schedules of a test begin, before any time has passed."""
    world = Ticks(HASTY)
    world.facts["kind"] = kind
    store = Store(world.storage, StoreClock(world.clock), settings=HASTY)
    store.clock.measured = True
    open_registry(store, create=True)
    fresh = ingestion_of(world, type("L", (), {"store": store}), None, kind)
    limit = 5.0 if kind == "stuck" else 0.0
    plan = [PlannedTask(type="test", name=name, backoff_seconds=0, time_limit_seconds=limit) for name in PLAN]
    gates: dict[str, Any] = {}
    if kind in GATED:
        plan[1] = PlannedTask.model_validate(EXPORT)
        gates = {ROWS: [{"gate": "rows", "min": GATED[kind]}]}
    fresh.put(Collection(id="p", retrieval_frequency="MONTHLY", plan=plan, gates=gates))
    for _ in range(before):
        fresh.tick()
    assert world.clock.seconds == 0
    return world


def seen(world: World) -> tuple[str | None, list[str]]:
    """What readers see: the active job, and whose each output is."""
    cells = world.observer().cells
    publication = cells.latest("publication", "p")
    active = publication.value.get("active_job") if publication is not None else None
    if publication is not None and publication.deleted:
        active = REMOVED
    if world.facts["kind"] in GATED:
        return active, list(shown(world))
    outputs = [cells.latest("out", name) for name in PLAN]
    return active, [str(o.value["job"]) for o in outputs if o is not None]


def shown(world: World) -> Iterator[str]:
    """Whose the rows are that readers see, and whose the export, by what is in it."""
    store = Store(world.storage, StoreClock(world.clock), settings=HASTY)
    registry = registry_on(store).snapshot()
    yield from (dataset.tags["job"] for dataset in registry.table(ROWS).datasets())
    for dataset in registry.table("export").datasets():
        (file,) = dataset.files
        lines = gzip.decompress(world.storage.get(f"{dataset.prefix}{file.path}")).splitlines()
        yield from (json.loads(line)["job"] for line in lines)


def consistent(world: World) -> None:
    """Readers see every output of the active job, and none of another."""
    active, outputs = seen(world)
    remote = world.facts["kind"] in ("remote", "mute", "stuck")
    if active == REMOVED:  # what was published before that stays, as a whole
        active = outputs[0] if outputs else None
    if outputs != ([active] * len(PLAN) if active is not None and not remote else []):
        world.facts.setdefault("wrong", []).append(f"the active job is {active}, the outputs are those of {outputs}")


def newcomer(world: Ticks, kind: str) -> Ingestion:
    """A manager that comes when everything has landed, and all others have ended."""
    while world.pending:
        world.land(0)
    consistent(world)
    for actor in world.actors:  # a process that ended is gone
        actor.state = "done" if actor.state != "crashed" else "crashed"
    store = Store(
        world.storage, StoreClock(world.clock), settings=HASTY, is_gone=world._is_gone,
        holder=lambda: Holder(host="test", boot="test", pid=0, process_start="fresh"),
    )  # fmt: skip
    store.clock.measured = True
    world.clock.seconds += 61
    return ingestion_of(world, type("L", (), {"store": store}), None, kind)


def finished(world: Ticks, kind: str) -> list[Job]:
    """The jobs after a fresh manager has finished the work."""
    fresh = newcomer(world, kind)
    for _ in range(9):
        world.clock.seconds += 61
        report = fresh.tick()
        consistent(world)
        if not (report.created or report.changes) and all(j.end is not None for j in fresh.jobs("p")):
            break
    assert not world.wrong
    return fresh.jobs("p")


def judged(kind: str) -> Callable[[World], None]:
    """After everything, a fresh manager finishes the work, and there is one job, complete, unless a gate refused it."""

    def judge(world: World) -> None:
        assert isinstance(world, Ticks)
        jobs = finished(world, kind)
        refused = kind == "refused"
        assert [(j.id, j.successful) for j in jobs] == [("p/1", not refused)], jobs
        assert seen(world)[0] == (None if refused else "p/1")
        if refused:
            assert "quality gate" in jobs[0].tasks[1].note
            assert [n.data for n in jobs[0].tasks[1].notes] == [{"kind": ROWS}]
        if kind == "remote":
            assert set(world.facts["remote"].values()) == {1}
        if kind == "stuck":
            assert set(world.facts["wiped"]) == {"p/1/1", "p/1/2"}
            assert set(world.facts["remote"].values()) == {1}
        if kind == "mute":
            assert set(world.facts.get("remote", {}).values()) <= {1}

    return judge


QUICK = [("local", 2), ("remote", 1), ("shaky", 0)]
MORE = [("local", 0), ("local", 1), ("remote", 2), ("mute", 1), ("stuck", 1)]
CASES = [*QUICK, *(pytest.param(*case, marks=pytest.mark.deep) for case in MORE)]


@pytest.mark.parametrize(("kind", "before"), CASES)
def test_one_tick_killed_at_every_call(kind: str, before: int) -> None:
    """Whatever call a tick dies at, the next one goes on with the job, and nothing is done twice."""
    schedules = systematic(lambda: world_of(kind, 1, 1, before), judged(kind), Limits(1, 1), 1, 1_000)
    assert 20 < sum(1 for _ in schedules) < 1_000


KILLED = [("passing", 2, 15), ("refused", 2, 8), pytest.param("passing", 1, 20, marks=pytest.mark.deep)]


@pytest.mark.parametrize(("kind", "before", "least"), KILLED)
def test_gates_and_exports_killed_at_every_call(kind: str, before: int, least: int) -> None:
    """A tick that dies while it exports, judges or publishes leaves the rows and their export visible together or
    neither; and a gate refuses what it refuses, whoever asks it again.
    """
    schedules = systematic(lambda: world_of(kind, 1, 1, before), judged(kind), Limits(1, 0), 1, 1_000)
    assert least < sum(1 for _ in schedules) < 1_000


@pytest.mark.parametrize("kind", GATED)
def test_gates_and_exports_of_two_ticks(kind: str) -> None:
    """Two managers that export and judge the same job, with crashes and writes that land late."""
    for seed in range(10):
        at_random(lambda: world_of(kind, 2, 3), judged(kind), Limits(1, 1), seed)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in GATED])
def test_two_ticks_at_once(kind: str) -> None:
    """Two managers whose calls interleave in many ways, with crashes and writes that land late."""
    for seed in range(20):
        at_random(lambda: world_of(kind, 2, 3), judged(kind), Limits(1, 1), seed)


@pytest.mark.deep
@pytest.mark.parametrize("kind", KINDS)
def test_three_ticks_at_once(kind: str) -> None:
    """Three of them, and two crashes."""
    for seed in range(1_000):
        at_random(lambda: world_of(kind, 3, 3), judged(kind), Limits(2, 2), seed)


def abort(actor: Actor) -> None:
    """Somebody rolls the job's run back, whenever that is."""
    for _ in range(2):
        actor.pause(("look", ""))
    for gen in range(6):
        found = actor.ledger.cells.generation("job", "p/1", gen)
        if found is not None and found.value.get("run"):
            actor.ledger.abort(found.value["run"])
            return


def removing(actor: Actor) -> None:
    """Removes the publication; when somebody is just writing it, that is told."""
    assert isinstance(actor.world, Ticks)
    try:
        ingestion_of(actor.world, actor.ledger, actor, actor.world.facts["kind"]).remove("p", dry_run=False)
    except Conflict:
        actor.facts["refused"] = True


@pytest.mark.parametrize("kind", ["local", "remote", "refused"])
def test_a_publication_that_somebody_removes_meanwhile(kind: str) -> None:
    """A job is published as a whole before that, or never; and who removes it again finishes what is left to do."""
    ends = set()

    def world() -> Ticks:
        made = world_of(kind, 1, 3, before=1)
        made.add("remove", removing)
        return made

    def judge(world: World) -> None:
        assert isinstance(world, Ticks)
        fresh = newcomer(world, kind)
        fresh.tick()
        with suppress(NotFound):
            fresh.remove("p", dry_run=False)
        report = fresh.tick()
        consistent(world)
        assert not world.wrong
        assert [*report.created, *report.changes, *report.errors] == []
        assert (list(fresh.publications()), fresh.shelf.left_jobs("p")) == ([], [])
        assert all(job.run is None or fresh.shelf.ledger.store.decision(job.run) for job in fresh.past_jobs("p"))
        ends.add(tuple(str(job.status) for job in fresh.past_jobs("p")))

    for seed in range(15):
        at_random(world, judge, Limits(1, 1), seed)
    assert len(ends) > 1, "it came at the same moment each time"


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_run_that_somebody_aborts_meanwhile(kind: str) -> None:
    """The job is published as a whole before that, or fails as a whole; and it ends."""
    outcomes = set()

    def world() -> Ticks:
        made = world_of(kind, 2, 2, before=1)
        made.add("abort", abort)
        return made

    def judge(world: World) -> None:
        assert isinstance(world, Ticks)
        outcomes.add(finished(world, kind)[0].successful)

    for seed in range(15):
        at_random(world, judge, Limits(1, 1), seed)
    assert False in outcomes, "it came too late each time"
