"""Programs of the actors, and the scenarios they meet in: the model's, and the ones that only real code has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from explorer import Limits
from judge import check, check_told
from world import Actor, LedgerFactory, Program, World

from prefect_registry.errors import RegistryError, RevisionConflict
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger, RunSpec, failure_of
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.names import key_of

CELL = "model"
PATIENT = LedgerSettings(undecided_wait_seconds=math.inf, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)
UNKIND = Limits(crashes=1, delays=1)
HASTY = LedgerSettings(undecided_wait_seconds=0, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)


def put_bytes(actor: Actor, run: str, key: str) -> str:
    """Store the bytes a generation will name; returns where."""
    where = f"{paths.data_prefix(run)}{key.lower()}-{actor.name.lower()}/f"
    actor.ledger.store.storage.put(where, b"bytes")
    return where


def write_cells(actor: Actor, run: str, keys: Sequence[str], mode: str) -> None:
    """Read each cell, then write what follows from it: what every read-modify-write does (P5)."""
    ledger: Ledger = actor.ledger
    for key in keys:
        data = put_bytes(actor, run, key)
        base = ledger.cells.latest(CELL, key, run)
        saw = base.gen if base is not None else None
        if mode == "create" and base is not None:
            raise RevisionConflict(f"{key} exists")
        written = ledger.cells.write(CELL, key, {"saw": saw, "data": data}, run_id=run, expected=saw)
        actor.facts.setdefault(f"wrote {run}", []).append((f"cells/{CELL}/{key_of(key)}", written.gen))


def conclude(actor: Actor, run: str, work: Callable[[], None], rollback: bool = False) -> None:
    """Do the work and commit; on any error abort; tell what is true."""
    ledger: Ledger = actor.ledger
    try:
        work()
        if rollback:
            raise RevisionConflict("changed its mind")
        closed = ledger.commit(run)
    except RegistryError as error:
        if error.committed == "unknown":
            actor.tell("unknown", run)
            return
        try:
            decision = ledger.abort(run, failure_of(error))
        except RegistryError:
            actor.tell("unknown", run)
            return
        if decision.committed:  # only a nested run can be here: committed by itself, and dropped by the run around it
            actor.tell("unknown", run)
            return
        actor.tell("lost", run)
        return
    actor.tell("won" if closed.visible == "yes" else "staged", run)


def writer(keys: str, mode: str, parent: str | None = None, rollback: bool = False) -> Program:
    """A run that writes one cell per key and then decides itself."""

    def program(actor: Actor) -> None:
        above = actor.wait_for(parent) if parent else None
        try:
            run = actor.ledger.begin(RunSpec("write", parent=above)).begin.run_id
        except RegistryError:
            actor.facts[actor.name] = ""
            return
        actor.facts[actor.name] = run
        conclude(actor, run, lambda: write_cells(actor, run, keys, mode), rollback)

    return program


def straggler(of: str, key: str) -> Program:
    """A task of a run that outlives it: still writes, whenever it gets to. In a process of its own."""

    def program(actor: Actor) -> None:
        run = actor.wait_for(of)
        ledger: Ledger = actor.ledger
        try:
            data = put_bytes(actor, run, key)
            base = ledger.cells.latest(CELL, key, run)
            late = paths.end_key(run) in actor.world.storage._objects
            saw = base.gen if base is not None else None
            ledger.cells.write(CELL, key, {"saw": saw, "late": late, "data": data}, run_id=run, expected=saw)
        except RegistryError:
            return

    return program


def setter(key: str) -> Program:
    """A single-cell write without data, outside any run: its generation decides by itself."""

    def program(actor: Actor) -> None:
        ledger: Ledger = actor.ledger
        try:
            base = ledger.cells.latest(CELL, key)
            saw = base.gen if base is not None else None
            ledger.cells.write(CELL, key, {"saw": saw}, expected=saw)
        except RegistryError:
            return

    return program


def fencer(of: str) -> Program:
    """Aborts a run whose lease it has proved to be over, then collects: the reaper at its worst moment."""

    def program(actor: Actor) -> None:
        run = actor.wait_for(of)
        try:
            actor.ledger.abort(run, failure_of(RuntimeError("reaped"), "reaped"))
            actor.ledger.housekeeping.collect(dry_run=False)
        except RegistryError:
            return

    return program


def collector() -> Program:
    """Reaps and collects as the maintenance flow does."""

    def program(actor: Actor) -> None:
        try:
            actor.ledger.housekeeping.reap()
            actor.ledger.housekeeping.collect(dry_run=False)
        except RegistryError:
            return

    return program


def attempt(flow_run: str, key: str) -> Program:
    """An attempt of a Prefect flow run: publishes unless an earlier attempt has (P14)."""

    def program(actor: Actor) -> None:
        ledger: Ledger = actor.ledger
        try:
            begun = ledger.begin(RunSpec("attempt", flow_run=flow_run))
        except RegistryError:
            return
        if begun.published is not None:
            actor.tell("won", begun.published.run_id)
            return
        run = begun.begin.run_id
        conclude(actor, run, lambda: write_cells(actor, run, key, "update"))

    return program


@dataclass(frozen=True)
class Scenario:
    """Actors, how unkind the schedule may be, and what must hold at its end."""

    name: str
    actors: tuple[tuple[str, Program], ...]
    mode: str = "update"
    settings: LedgerSettings = PATIENT
    limits: Limits = UNKIND
    check_end: Callable[[World], None] | None = None
    bytes_needed: bool = True

    def world(self, make: LedgerFactory = Ledger) -> World:
        """A fresh world with these actors in it."""
        world = World(self.settings, make=make)
        world.judge_told = check_told
        for name, program in self.actors:
            world.add(name, program)
        return world

    def judge(self, world: World) -> None:
        check(world, self.mode, self.bytes_needed)
        for name, outcome, run in world.told:
            check_told(world, name, outcome, run)
        if self.check_end is not None:
            self.check_end(world)


def somebody_won(world: World) -> None:
    """Without a crash, two runs that want the same cells in opposite order never both fail (P4)."""
    assert any(outcome == "won" for _, outcome, _ in world.told), f"both runs failed: {world.told}"


def published_once(world: World) -> None:
    """A flow run publishes at most once, however many attempts there are (P14)."""
    from judge import Judge

    judge = Judge.of(world)
    published = [r for r in judge.begins if judge.begins[r]["flow_run"] and judge.effective(r) == "committed"]
    assert len(published) <= 1, f"a flow run has published {len(published)} times"


def scenarios() -> Iterator[Scenario]:
    """All of them."""
    for mode in ("create", "update"):
        w = partial(writer, mode=mode)
        yield Scenario(f"{mode}: commit against commit, opposite order", (("R1", w("AB")), ("R2", w("BA"))), mode)
        yield Scenario(f"{mode}: commit against rollback", (("R1", w("A")), ("R2", w("A", rollback=True))), mode)
        yield Scenario(
            f"{mode}: two runs and the reaper", (("R1", w("AB")), ("R2", w("BA")), ("reaper", fencer("R1"))), mode
        )
        yield Scenario(f"{mode}: three runs", (("R1", w("A")), ("R2", w("AB")), ("R3", w("B"))), mode)
        yield Scenario(
            f"{mode}: nested run against the one around it", (("R1", w("A")), ("R2", w("AB", parent="R1"))), mode
        )
        yield Scenario(
            f"{mode}: nested run, reaper on the outer one",
            (("R1", w("A")), ("R2", w("B", parent="R1")), ("reaper", fencer("R1"))),
            mode,
        )
        yield Scenario(
            f"{mode}: nested run and a stranger on its cell",
            (("R1", w("A")), ("R2", w("B", parent="R1")), ("R3", w("B"))),
            mode,
        )
        yield Scenario(
            f"{mode}: impatient runs with lost answers", (("R1", w("AB")), ("R2", w("BA"))), mode, HASTY,
            Limits(crashes=1, delays=2),
        )  # fmt: skip
    u = partial(writer, mode="update")
    yield Scenario("straggler against close", (("R1", u("A")), ("late", straggler("R1", "A")), ("R3", u("A"))))
    yield Scenario(
        "straggler, reaper", (("R1", u("A")), ("late", straggler("R1", "B")), ("reaper", fencer("R1")), ("R3", u("B")))
    )
    yield Scenario("run against plain setters", (("R1", u("A")), ("S1", setter("A")), ("S2", setter("A"))))
    yield Scenario(
        "attempts of one flow run",
        (("A1", attempt("fr", "A")), ("A2", attempt("fr", "A")), ("A3", attempt("fr", "A"))),
        check_end=published_once,
    )
    yield Scenario("collector against writers", (("R1", u("A")), ("R2", u("A")), ("gc", collector())))
    yield Scenario(
        "collector against a late writer",
        (("R1", u("A")), ("late", straggler("R1", "A")), ("gc", collector()), ("R3", u("A"))),
    )
    yield Scenario(
        "nested twice", (("R1", u("A")), ("R2", u("A", parent="R1")), ("R3", u("A", parent="R2"))), settings=HASTY
    )
    yield Scenario(
        "somebody wins",
        (("R1", u("AB")), ("R2", u("BA"))),
        limits=Limits(crashes=0, delays=0),
        check_end=somebody_won,
    )
