"""Release, revert, publish and collect in every kind of order, with crashes and writes that land late: no table ever
lacks what it shows (DESIGN.md P8; decision 0021).
"""

from __future__ import annotations

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
from prefect_registry.datasets import releasing, revert, turns
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import RegistryError
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.opening import open_registry
from prefect_registry.ledger.store import LedgerSettings, Store
from prefect_registry.records.datasets import FileEntry, Mode
from prefect_registry.storage.base import Upload

HASTY = LedgerSettings(undecided_wait_seconds=0, younger_wait_seconds=0, poll_seconds=0.5, lease_seconds=60)
PATIENT = LedgerSettings(undecided_wait_seconds=30, younger_wait_seconds=30, poll_seconds=0.5, lease_seconds=60)
KIND = "k"


# -- what the actors do ----------------------------------------------------------------------------------------------


def publish(ledger: Ledger, mode: Mode, parent: str | None = None) -> str:
    """A run with one dataset; returns its id."""
    run = ledger.begin(RunSpec("publish", parent=parent)).begin.run_id
    datasets = Datasets(ledger)
    begun = datasets.begin(KIND, run, mode=mode)
    where = paths.dataset_prefix(begun.run_id, begun.dataset_id[-16:]) + "f"
    (stored,) = ledger.store.storage.upload([Upload(where, run.encode())])
    entry = FileEntry(path="f", size=stored.size, sha256=stored.sha256)
    datasets.commit(begun.dataset_id, None, None, ours={"f": entry})
    ledger.commit(run)
    return run


def catalog_of(ledger: Ledger) -> Catalog:
    return Catalog(ledger.store, use_cache=False)


def release(ledger: Ledger) -> None:
    releasing.release(Datasets(ledger), catalog_of(ledger), dry_run=False)


def take_back(ledger: Ledger, run_id: str) -> str:
    return revert.revert(Datasets(ledger), catalog_of(ledger), run_id).run_id


def trying(*steps: Callable[[Ledger], object]) -> Program:
    """Steps of which one may be refused, or find the store silent: the others are tried all the same."""

    def program(actor: Actor) -> None:
        for step in steps:
            try:
                step(actor.ledger)
            except RegistryError as error:
                actor.facts.setdefault("refused", []).append((actor.name, type(error).__name__))

    return program


def publishing(mode: Mode) -> Program:
    return trying(lambda ledger: publish(ledger, mode))


def publishing_nested(mode: Mode) -> Program:
    def nested(ledger: Ledger) -> None:
        outer = ledger.begin(RunSpec("outer")).begin.run_id
        publish(ledger, mode, parent=outer)
        ledger.commit(outer)

    return trying(nested)


def collect(ledger: Ledger) -> None:
    ledger.housekeeping.collect(dry_run=False)


# -- what must hold --------------------------------------------------------------------------------------------------


def check(world: World) -> None:
    """By the raw documents: a table shows nothing that was released, and every file that it shows is there."""
    judge = Judge.of(world)
    published: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for document in judge.published().values():
        root = document["run_id"]
        while judge.parent(root):
            root = str(judge.parent(root))
        published.setdefault((judge.ends[root]["closed_at"], root), []).append(document)
    for order in sorted(published, reverse=True):
        group = []
        for document in published[order]:
            later = judge.visible(f"cells/dataset/{document['dataset_id']}")
            value = later[-1][1]["value"] if later else {"state": "READY"}
            if value["state"] == "READY" or value.get("was") == "READY":
                assert not value.get("purged"), f"{document['dataset_id']} is part of the table, and was released"
                key = paths.dataset_prefix(document["run_id"], document["dataset_id"][-16:]) + "f"
                assert key in judge.objects, f"{key} is part of the table, and gone"
                group.append(document)
        if any(d["mode"] == "replace" for d in group):
            return


@dataclass(frozen=True)
class Scenario:
    """What there is before, and who does what."""

    actors: Callable[[list[str]], tuple[tuple[str, Program], ...]]
    reverted: bool = False
    settings: LedgerSettings = HASTY

    def world(self, watch: bool = True) -> World:
        world = World(self.settings)
        store = Store(world.storage, StoreClock(world.clock), settings=self.settings)
        store.clock.measured = True
        open_registry(store, create=True)
        ledger = Ledger(store, heartbeats=False)
        modes: tuple[Mode, ...] = ("replace", "append", "replace")
        runs = [publish(ledger, mode) for mode in modes]
        if self.reverted:
            runs.append(take_back(ledger, runs[-1]))
        set_rule(ledger, RetentionRule(KIND, keep_last=1, keep_days=1e-6, keep_used=False), None)
        world.clock.seconds += 10
        if watch:
            world.judge_state = check
        for name, program in self.actors(runs):
            world.add(name, program)
        return world


KEEPER = ("keeper", trying(release, collect))
SCENARIOS = {
    "release against revert": Scenario(
        lambda runs: (KEEPER, ("revert", trying(partial(take_back, run_id=runs[2]))), ("gc", trying(collect)))
    ),
    "release against revert, patient": Scenario(
        lambda runs: (KEEPER, ("revert", trying(partial(take_back, run_id=runs[2]))), ("gc", trying(collect))),
        settings=PATIENT,
    ),
    "release against revert and its revert": Scenario(
        lambda runs: (KEEPER, ("revert", trying(partial(take_back, run_id=runs[3]))), ("gc", trying(collect))),
        reverted=True,
    ),
    "release against publish and revert": Scenario(
        lambda runs: (
            KEEPER,
            ("publish", publishing("replace")),
            ("revert", trying(partial(take_back, run_id=runs[2]), partial(take_back, run_id=runs[1]))),
        )
    ),
    "release against appends": Scenario(
        lambda runs: (KEEPER, ("publish", publishing("append")), ("nested", publishing_nested("replace")))
    ),
    "two releases": Scenario(
        lambda runs: (
            KEEPER,
            ("keeper 2", trying(release, collect)),
            ("revert", trying(partial(take_back, run_id=runs[2]))),
        )
    ),
}


def explore(name: str, count: int, first: int = 0) -> tuple[int, int]:
    """Random schedules; in how many something was released, and in how many somebody was refused."""
    released = refused = 0

    def judge(world: World) -> None:
        nonlocal released, refused
        check(world)
        cells = Judge.of(world)
        visible = [c for c in cells.cells if c.startswith("cells/dataset/") and cells.visible(c)]
        released += any(cells.visible(c)[-1][1]["value"].get("purged") for c in visible)
        refused += "refused" in world.facts

    for seed in range(first, first + count):
        at_random(SCENARIOS[name].world, judge, Limits(crashes=1, delays=1), seed)
    return released, refused


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_table_lacks_what_it_shows(name: str) -> None:
    released, refused = explore(name, 120)
    assert released > 10
    assert refused > 10 or name == "release against appends"


def test_without_turns_a_table_would_lack_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedules find it when release and revert do not exclude each other."""
    monkeypatch.setattr(releasing, "take_turn", lambda *args: {})
    monkeypatch.setattr(revert, "take_turns", lambda ledger, kinds, run_id: dict.fromkeys(kinds, 1))
    assert turns.TURN == "table"
    with pytest.raises(AssertionError, match="is part of the table, and"):
        explore("release against revert, patient", 400)
