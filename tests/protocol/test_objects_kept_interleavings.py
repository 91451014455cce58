"""Save, overwrite, delete, restore, revert, release and collect objects in every kind of order, with crashes and writes
that land late: nothing that can be loaded, or restored, ever lacks a byte (DESIGN.md P8; decision 0026).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from explorer import Limits, at_random
from judge import Judge
from world import Actor, Program, World

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.retention import RetentionRule, set_rule
from prefect_registry.clock import StoreClock
from prefect_registry.datasets import restoring
from prefect_registry.datasets.releasing import release as release_all
from prefect_registry.datasets.revert import revert
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import RegistryError
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.opening import open_registry
from prefect_registry.ledger.store import LedgerSettings, Store
from prefect_registry.objects import releasing
from prefect_registry.objects.keeping import Keeping
from prefect_registry.objects.service import Objects
from prefect_registry.objects.versions import Wanted

HASTY = LedgerSettings(undecided_wait_seconds=0, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)
PATIENT = LedgerSettings(undecided_wait_seconds=30, younger_wait_seconds=30, poll_seconds=0.5, lease_seconds=60)


# -- what the actors do ----------------------------------------------------------------------------------------------


def objects_of(ledger: Ledger) -> Objects:
    return Keeping(version_objects=True, mutable=True, use_cache=False).objects(ledger)


def large(value: int) -> bytes:
    return bytes([value]) * 17_000


def save(ledger: Ledger, name: str, value: int, in_run: bool = False) -> str | None:
    """Save or overwrite; returns the run, if there is one around it."""
    run = ledger.begin(RunSpec("save")).begin.run_id if in_run else None
    objects_of(ledger).save(Wanted.of(name), large(value), run, on_conflict="overwrite")
    if run is not None:
        ledger.commit(run)
    return run


def delete(ledger: Ledger, name: str) -> None:
    objects_of(ledger).delete(Wanted.of(name), None)


def restore(ledger: Ledger, name: str) -> None:
    objects_of(ledger).restore(Wanted.of(name), None)


def release(ledger: Ledger) -> None:
    catalog = Catalog(ledger.store, use_cache=False)
    release_all(Datasets(ledger), catalog, False, lambda: [releasing.plan(objects_of(ledger), catalog)])


def collect(ledger: Ledger) -> None:
    ledger.housekeeping.collect(dry_run=False)


def take_back(ledger: Ledger, run_id: str) -> str:
    return revert(Datasets(ledger), Catalog(ledger.store, use_cache=False), run_id).run_id


def trying(*steps: Callable[[Ledger], object]) -> Program:
    """Steps of which one may be refused, or find the store silent: the others are tried all the same."""

    def program(actor: Actor) -> None:
        for step in steps:
            try:
                step(actor.ledger)
            except RegistryError as error:
                actor.facts.setdefault("refused", []).append((actor.name, type(error).__name__))

    return program


# -- what must hold --------------------------------------------------------------------------------------------------


def check(world: World) -> None:
    """By the raw documents: every file of what a version is, or would be when it is restored, is there and whole."""
    judge = Judge.of(world)
    for cell in judge.cells:
        if not cell.startswith("cells/object/"):
            continue
        visible = judge.visible(cell)
        if not visible or visible[-1][1]["value"].get("purged"):
            continue
        held = [document for _, document in visible if not document["deleted"]]
        made = held[-1]["value"] if held else {}
        if "restores" in made:
            made = dict(judge.cells[cell])[made["restores"]]["value"]
        for file in made.get("files", []):
            data = judge.objects.get(made["root"] + file["path"])
            assert data is not None, f"{cell} can be loaded or restored, and its bytes are gone"
            assert hashlib.sha256(data).hexdigest() == file["sha256"], f"the bytes of {cell} are others"


@dataclass(frozen=True)
class Scenario:
    """What there is before, and who does what: ``runs`` are those that saved, overwrote and, if asked, reverted."""

    actors: Callable[[list[str]], tuple[tuple[str, Program], ...]]
    reverted: bool = False
    settings: LedgerSettings = HASTY
    keep_last: int | None = None

    def world(self) -> World:
        world = World(self.settings)
        store = Store(world.storage, StoreClock(world.clock), settings=self.settings)
        store.clock.measured = True
        open_registry(store, create=True)
        ledger = Ledger(store, heartbeats=False)
        runs = [str(save(ledger, "m@1", value, in_run=True)) for value in (1, 2)]
        if self.reverted:
            runs.append(take_back(ledger, runs[-1]))
        save(ledger, "m@2", 3)
        save(ledger, "d@1", 4)
        delete(ledger, "d@1")
        rule = RetentionRule(None, self.keep_last, keep_days=1e-6, keep_used=False, objects="*")
        set_rule(ledger, rule, None)
        world.clock.seconds += 10
        world.judge_state = check
        for name, program in self.actors(runs):
            world.add(name, program)
        return world


KEEPER = ("keeper", trying(release, collect))
GC = ("gc", trying(collect))
SCENARIOS = {
    "release against the revert of an overwriting": Scenario(
        lambda runs: (KEEPER, ("revert", trying(partial(take_back, run_id=runs[1]))), GC)
    ),
    "the same, patient": Scenario(
        lambda runs: (KEEPER, ("revert", trying(partial(take_back, run_id=runs[1]))), GC), settings=PATIENT
    ),
    "release against the revert of a revert": Scenario(
        lambda runs: (KEEPER, ("revert", trying(partial(take_back, run_id=runs[2]))), GC), reverted=True
    ),
    "release against restoring": Scenario(
        lambda runs: (KEEPER, ("restore", trying(partial(restore, name="d@1"), partial(delete, name="d@1"))), GC)
    ),
    "release against overwriting and deleting": Scenario(
        lambda runs: (
            KEEPER,
            ("save", trying(partial(save, name="m@1", value=5), partial(delete, name="m@1"))),
            ("save in a run", trying(partial(save, name="m@1", value=6, in_run=True))),
        )
    ),
    "saving the same number, with a collector": Scenario(
        lambda runs: (
            ("a", trying(partial(save, name="n@1", value=7))),
            ("b", trying(partial(save, name="n@1", value=8, in_run=True))),
            ("gc", trying(collect, collect)),
        )
    ),
    "keeping the last against deleting and restoring": Scenario(
        lambda runs: (KEEPER, ("delete", trying(partial(delete, name="m@2"), partial(restore, name="m@2"))), GC),
        keep_last=1,
    ),
    "two releases": Scenario(lambda runs: (KEEPER, ("keeper 2", trying(release, collect)), GC)),
}


def explore(name: str, count: int, first: int = 0) -> tuple[int, int]:
    """Random schedules; in how many something was released, and in how many bytes of it were deleted."""
    released = deleted = 0

    def judge(world: World) -> None:
        nonlocal released, deleted
        check(world)
        found = Judge.of(world)
        freed = [c for c in found.cells if c.startswith("cells/payload/") and found.visible(c)]
        gone = [c for c in freed if found.visible(c)[-1][1]["value"].get("purged")]
        released += bool(gone)
        suffixes = {key.split("/")[4] for key in found.objects if key.startswith("data/")}
        deleted += any(cell[-16:] not in suffixes for cell in gone)

    for seed in range(first, first + count):
        at_random(SCENARIOS[name].world, judge, Limits(crashes=1, delays=1), seed)
    return released, deleted


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_that_can_be_loaded_or_restored_lacks_a_byte(name: str) -> None:
    """In many schedules, of which enough end with a release and a deletion to mean something."""
    released, deleted = explore(name, 25)
    if name != "saving the same number, with a collector":
        assert released > 3
        assert deleted > 1


def test_without_holding_the_files_something_would_lack_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedules find it when release and revert do not exclude each other."""

    def hold(self: Any, payload: str, value: dict[str, Any]) -> None:
        """Look, and write nothing."""

    monkeypatch.setattr(restoring.Restoring, "_hold", hold)
    with pytest.raises(AssertionError, match="its bytes are gone"):
        explore("the same, patient", 400)
