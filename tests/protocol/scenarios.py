"""The scenarios that the programs meet in: the model's, and the ones that only real code has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from dataset_programs import dropper, owner, task, watcher
from explorer import Limits
from judge import Judge, check, check_refused, check_told, observe
from programs import attempt, collector, fencer, outer_attempt, setter, straggler, writer
from world import LedgerFactory, Program, World

from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import LedgerSettings

PATIENT = LedgerSettings(undecided_wait_seconds=math.inf, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)
UNKIND = Limits(crashes=1, delays=1)
SHORT = replace(PATIENT, lease_seconds=1)
HASTY = LedgerSettings(undecided_wait_seconds=0, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)


@dataclass(frozen=True)
class Scenario:
    """Actors, how unkind the schedule may be, and what must hold at its end."""

    name: str
    actors: tuple[tuple[str, Program], ...]
    mode: str = "update"
    settings: LedgerSettings = PATIENT
    limits: Limits = UNKIND
    check_end: Callable[[World], None] | None = None
    provable: bool = True

    def world(self, make: LedgerFactory = Ledger) -> World:
        """A fresh world with these actors in it."""
        world = World(self.settings, make=make, provable=self.provable)
        world.judge_told = check_told
        world.judge_state = partial(check, mode=self.mode)
        for name, program in self.actors:
            world.add(name, program)
        return world

    def judge(self, world: World) -> None:
        check(world, self.mode)
        check_refused(world)
        observe(world)
        for name, outcome, run in world.told:
            check_told(world, name, outcome, run)
        if self.check_end is not None:
            self.check_end(world)


def somebody_won(world: World) -> None:
    """Without a crash, two runs that want the same cells in opposite order never both fail (P4)."""
    assert any(outcome == "won" for _, outcome, _ in world.told), f"both runs failed: {world.told}"


def published_once(world: World) -> None:
    """A flow run publishes at most once, however many attempts there are (P14)."""
    judge = Judge.of(world)
    published = [r for r, b in judge.begins.items() if b["flow_run"] and judge.effective(r) == "committed"]
    flow_runs = [judge.begins[r]["flow_run"] for r in published]
    assert len(flow_runs) == len(set(flow_runs)), f"a flow run has published more than once: {flow_runs}"
    if "outer" in flow_runs and any(b["flow_run"] == "inner" for b in judge.begins.values()):
        assert "inner" in flow_runs, "the outer flow run has published without what the flow inside it made"


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
    yield Scenario("nested runs that build on each other", (("R1", u("A")), ("C1", u("B", "R1")), ("C2", u("B", "R1"))))
    yield Scenario(
        "nested run that builds on a straggler",
        (("R1", u("A")), ("late", straggler("R1", "B")), ("C1", u("B", "R1")), ("R3", u("B"))),
    )
    yield Scenario(
        "attempts of a flow run with one inside it",
        (("A1", outer_attempt("outer", "inner", "A")), ("A2", outer_attempt("outer", "inner", "A"))),
        check_end=published_once,
    )
    yield Scenario(
        "somebody wins",
        (("R1", u("AB")), ("R2", u("BA"))),
        limits=Limits(crashes=0, delays=0),
        check_end=somebody_won,
    )
    yield from _with_datasets()
    yield from _by_lease_alone()


def _with_datasets() -> Iterator[Scenario]:
    """The service behind begin_dataset, commit_dataset and rollback_dataset."""
    late, gc = ("late", task("R1")), ("gc", collector())
    twice = (("T1", task("R1", "key")), ("T2", task("R1", "key")))
    yield Scenario("datasets: straggler against close and collector", (("R1", owner()), late, gc))
    yield Scenario("datasets: straggler against the reaper", (("R1", owner()), late, ("reaper", fencer("R1"))))
    yield Scenario(
        "datasets: rollback against close and collector", (("R1", owner(datasets=2)), ("drop", dropper("R1")), gc)
    )
    yield Scenario("datasets: one key, twice", (("R1", owner(datasets=0)), *twice))
    yield Scenario("datasets: one key, twice, and the collector", (("R1", owner()), *twice, gc))
    yield Scenario("datasets: one key, twice, and the reaper", (("R1", owner()), *twice, ("reaper", fencer("R1"))))
    yield Scenario("datasets of their own: one key, twice", (("R1", owner("on_commit", datasets=0)), *twice))
    yield Scenario("datasets of their own: one key, twice, and the collector", (("R1", owner("on_commit")), *twice, gc))


def _by_lease_alone() -> Iterator[Scenario]:
    """Nobody can prove that anybody is dead, and any process may stand still for longer than its lease."""
    u, limits, reaper = partial(writer, mode="update"), replace(UNKIND, leaps=3), ("reaper", watcher())
    for name, actors in {
        "a writer waits for a dead one": (("R1", u("A")), ("R2", u("A"))),
        "the reaper and writers": (("R1", u("A")), ("R2", u("A")), reaper),
        "the reaper and nested runs": (("R1", u("A")), ("R2", u("B", parent="R1")), reaper),
        "the reaper and datasets": (("R1", owner()), ("late", task("R1")), reaper),
    }.items():
        yield Scenario(f"by lease alone: {name}", actors, settings=SHORT, limits=limits, provable=False)
