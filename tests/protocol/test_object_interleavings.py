"""Objects under every kind of schedule: nothing is locked, and nobody is told anything untrue (issue 5)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from explorer import Limits, at_random, systematic
from judge import check, check_told, observe
from object_programs import (
    always_there,
    check_objects,
    deleter,
    loader,
    mover,
    numbers_differ,
    one_pin,
    one_setting,
    one_wins,
    opener,
    pinner,
    prepared,
    runner,
    same_is_no_conflict,
    saver,
)
from programs import collector, fencer
from scenarios import PATIENT, UNKIND
from world import LedgerFactory, Program, World

from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.objects.saving import Saver
from prefect_registry.objects.service import Objects

WANTED = 5_000


@dataclass(frozen=True)
class Scenario:
    """Actors, how unkind the schedule may be, what is there before, and what must hold at its end."""

    name: str
    actors: tuple[tuple[str, Program], ...]
    check_end: Callable[[World], None] = lambda world: None
    before: Callable[[World], None] = lambda world: None
    mode: str = "update"
    settings: LedgerSettings = PATIENT
    limits: Limits = UNKIND

    def world(self, make: LedgerFactory = Ledger) -> World:
        """A fresh world with these actors in it."""
        world = World(self.settings, make=make)
        self.before(world)
        world.judge_told = check_told
        for name, program in self.actors:
            world.add(name, program)
        return world

    def judge(self, world: World) -> None:
        check(world, self.mode)
        check_objects(world)
        observe(world)
        for name, outcome, run in world.told:
            check_told(world, name, outcome, run)
        self.check_end(world)


def _actors(*programs: Program) -> tuple[tuple[str, Program], ...]:
    return tuple((f"A{n}", program) for n, program in enumerate(programs, 1))


def scenarios() -> Iterator[Scenario]:
    """All of them."""
    over = partial(saver, "1", on_conflict="overwrite")
    by_number = partial(Scenario, check_end=numbers_differ, mode="create")
    yield by_number("automatic numbers outside runs", _actors(saver(), saver(again=True), saver()))
    yield by_number("automatic numbers with files", _actors(saver(large=True), saver(large=True)))
    yield by_number("automatic numbers of runs", _actors(runner(twice=True), runner(rollback=True), saver(again=True)))
    yield by_number("automatic numbers of runs, with files", _actors(runner(large=True), saver(large=True)))
    yield by_number("automatic numbers against the reaper", _actors(runner(large=True), fencer("A1"), saver()))
    yield by_number("automatic numbers against the collector", _actors(saver(large=True), collector(), saver()))
    yield Scenario(
        "automatic against given numbers", _actors(saver(), saver("1"), saver()), before=prepared("1.5"), mode="create"
    )
    one = partial(Scenario, check_end=one_wins, mode="create")
    yield one("one version, other contents", _actors(saver("2"), saver("2"), saver("v2.0")))
    yield one("one version, other contents, with files", _actors(saver("2", large=True), saver("2")))
    yield one("one version, of runs and not", _actors(runner("2"), saver("2"), runner("2", rollback=True)))
    yield one("one version against the reaper", _actors(runner("2", large=True), fencer("A1"), saver("2")))
    same = partial(Scenario, check_end=same_is_no_conflict, mode="create")
    yield same("one version, the same content", _actors(*[saver("2", mark="same")] * 3))
    yield same("one version, the same content, with files", _actors(*[saver("2", mark="same", large=True)] * 2))
    old, large = partial(Scenario, before=prepared("1")), prepared("1", large=True)
    yield old("overwriters and a reader", _actors(over(), over(), loader("m@1")), always_there)
    yield old(
        "overwriters with files and a reader",
        _actors(over(large=True), over(), loader("m")),
        always_there,
        before=large,
    )
    yield old("an overwriter who comes back", _actors(over(again=True), over()), always_there)
    yield old(
        "overwriting in a run, a reader, the reaper",
        _actors(runner("1", large=True, on_conflict="overwrite"), fencer("A1"), loader("m@1"), over()),
        always_there,
    )
    yield old("overwriting against deleting", _actors(over(), deleter("m@1"), loader("m")))
    yield old("deleting against deleting", _actors(deleter("m@1"), deleter("m")), before=prepared("1", "2"))
    yield old(
        "deleting, restoring, overwriting",
        _actors(deleter("m@1"), deleter("m@1", restores=True), over()),
        before=prepared("1", deleted=True),
    )
    three = prepared("1", "2", "3", alias="best")
    yield Scenario(
        "moves of an alias", _actors(mover("best", "2"), mover("best", "3"), mover("best", "2")), before=three
    )
    yield Scenario(
        "moves of an alias and deletions",
        _actors(mover("best", "2"), mover("best", None), deleter("m@2"), loader("m@best", 1)),
        before=three,
    )
    yield Scenario(
        "moves of an alias in runs", _actors(mover("best", "2", False), mover("best", "3", True)), before=three
    )
    yield Scenario("first saves of a registry", _actors(opener(True, False), opener(True, False), opener(False, False)),
                   one_setting)  # fmt: skip
    yield Scenario("pins of one flow run", _actors(pinner("fr"), pinner("fr"), saver()), one_pin, prepared("1"))


SCENARIOS = {s.name: s for s in scenarios()}


def explore(name: str, half: int, most: int) -> set[tuple[int, ...]]:
    """The distinct schedules of one scenario that were run and held: half 0 systematically, half 1 at random."""
    scenario = SCENARIOS[name]
    seen: set[tuple[int, ...]] = set()
    if half == 0:
        seen = {t.key for t in systematic(scenario.world, scenario.judge, scenario.limits, 2, most)}
    else:
        for seed in range(most):
            try:
                seen.add(at_random(scenario.world, scenario.judge, scenario.limits, seed).key)
            except BaseException as error:
                error.add_note(f"{name}, seed {seed}")
                raise
    return seen


def test_thousands_of_schedules_of_objects_keep_every_invariant() -> None:
    """No save is lost or has another's number, nothing is loaded that is a mix or was never published, and what callers
    were told stays true.
    """
    jobs = [(name, half, 120) for name in SCENARIOS for half in (0, 1)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(explore, *zip(*jobs, strict=True)))
    both = {(jobs[i][0], schedule) for i, schedules in enumerate(found) for schedule in schedules}
    assert len(both) >= WANTED


# -- the harness can fail: objects broken on purpose are caught ------------------------------------------------------


def _exists_is_taken_for_success(objects: Objects) -> None:
    real = objects.ledger.cells.first

    def first(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs) or objects.ledger.cells._draft(*args[:3], kwargs.get("run_id"))

    objects.ledger.cells.first = first  # type: ignore[method-assign]


def _any_content_is_the_same(objects: Objects) -> None:
    objects._saver._settled = lambda saving, found, digest: found.version  # type: ignore[method-assign]


def _published_without_a_look(objects: Objects) -> None:
    saver: Saver = objects._saver
    real = saver._create
    saver._create = lambda saving, value, run_id, guarded: real(saving, value, None, guarded=False)  # type: ignore


MUTATIONS: list[tuple[Callable[[Objects], None], str]] = [
    (_exists_is_taken_for_success, "automatic numbers outside runs"),
    (_any_content_is_the_same, "one version, other contents"),
    (_published_without_a_look, "overwriting in a run, a reader, the reaper"),
]


def _caught(scenario: Scenario, make: LedgerFactory, schedules: int) -> bool:
    world = lambda: scenario.world(make)  # noqa: E731
    try:
        for _ in systematic(world, scenario.judge, scenario.limits, 2, schedules // 2):
            pass
        for seed in range(schedules):
            at_random(world, scenario.judge, scenario.limits, seed)
    except Exception:  # whatever way it fails, it was seen
        return True
    return False


@pytest.mark.parametrize(("mutate", "where"), MUTATIONS, ids=[m.__name__.strip("_") for m, _ in MUTATIONS])
def test_broken_objects_are_caught(mutate: Callable[[Objects], None], where: str) -> None:
    """Each rule is needed: without it some schedule of that scenario breaks an invariant."""

    def make(*args: Any, **kwargs: Any) -> Ledger:
        ledger = Ledger(*args, **kwargs)
        ledger.break_objects = mutate  # type: ignore[attr-defined]
        return ledger

    assert _caught(SCENARIOS[where], make, 400)
