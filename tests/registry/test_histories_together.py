"""Nothing visible is ever lost: random histories of publications of every mode, reverts, changed rules of retention,
releases, reaping and collection, in processes beside each other, while others read.

Every read is held against what had been decided when it was made: there must be one state that it can have been.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from registry_support import FAST, Children, rows, rows_of, write

from prefect_registry import Registry
from prefect_registry.catalog.retention import RETENTION
from prefect_registry.clock import iso
from prefect_registry.datasets.tables import Table
from prefect_registry.errors import Conflict, InvalidState

KINDS = ("a", "b")
WRITERS, READERS = 3, 2
PAUSE = 0.02
"""In seconds. Between two reads, and two rounds of the keeper: the machine is for those who write."""


def opened(place: Path) -> Registry:
    """The registry as a process of its own opens it."""
    return Registry(place, settings=FAST)


# -- what the processes do -------------------------------------------------------------------------------------------


def write_history(place: Path, seed: str, steps: int) -> list[dict[str, Any]]:
    """Publish, fail and revert at random; returns what was done, and between which times."""
    registry, choice, done = opened(place), random.Random(seed), list[dict[str, Any]]()
    for number in range(steps):
        time.sleep(choice.random() * 10 * PAUSE)
        begun = time.monotonic()
        what = choice.choices(["publish", "fail", "revert"], [7, 1, 1])[0]
        if what == "revert":
            told = revert_something(registry, choice)
        else:
            told = publish_something(registry, choice, f"{seed}/{number}", what == "fail")
        if told is not None:
            done.append({**told, "what": what, "from": begun, "to": time.monotonic()})
    return done


def publish_something(registry: Registry, choice: random.Random, purpose: str, fails: bool) -> dict[str, Any] | None:
    mode = choice.choice(["replace", "replace", "append", "append", "replace_partitions"])
    partition = {"p": choice.randint(1, 2)} if mode == "replace_partitions" else None
    made: list[tuple[str, str, int]] = []
    try:
        with registry.run(purpose) as run:
            for kind in ("a", "b", "a"):
                value = choice.getrandbits(40)
                made.append((write(run, kind, value, mode=mode, partition=partition), kind, value))
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        return None
    return {"run": run.id, "mode": mode, "partition": partition, "made": made}


def revert_something(registry: Registry, choice: random.Random) -> dict[str, Any] | None:
    """Take one of the newest publications back, whoever made it, if that can be done now."""
    found = [r.id for _, r in zip(range(4), registry.runs(state="COMMITTED", implicit=False), strict=False)]
    if not found:
        return None
    reverted = choice.choice(found)
    try:
        return {"run": registry.revert(reverted).run_id, "reverted": reverted}
    except (Conflict, InvalidState):  # others are at it, or it would need what was released
        return None


def keep_house(place: Path, seed: str, done: Path) -> list[list[str]]:
    """Change rules, release, collect and reap until ``done`` exists; returns what each release released."""
    registry, choice, released = opened(place), random.Random(seed), list[list[str]]()
    while not done.exists():
        try:
            if choice.random() < 0.3:
                days = choice.choice([None, 1e-9])  # of all that is hidden, reverted or not: it has been so for longer
                registry.set_retention(choice.choice([*KINDS, "*"]), keep_last=choice.randint(1, 3), keep_days=days)
            report = registry.release(dry_run=False)
            if report.run_id is not None:
                released.append([report.run_id, *(d.id for d in report.datasets)])
        except Conflict:
            pass
        registry.collect(dry_run=False)
        assert registry.reap().reaped == []
        time.sleep(PAUSE)
    return released


def read_history(place: Path, seed: str, done: Path) -> list[dict[str, Any]]:
    """Read until ``done`` exists; what was seen, and between which times its state was chosen."""
    registry, choice, seen = opened(place), random.Random(seed), list[dict[str, Any]]()
    while True:
        last, begun = done.exists(), time.monotonic()
        source: Any = registry.snapshot() if choice.random() < 0.5 else registry
        kinds = KINDS if source is not registry else (choice.choice(KINDS),)
        tables: list[Table] = [source.table(kind) for kind in kinds]
        found: dict[str, Any] = {"from": begun, "to": time.monotonic(), "shown": {}}
        if choice.random() < 0.2:
            time.sleep(20 * PAUSE)  # so that it may be released meanwhile
        try:
            for table in tables:
                found["shown"][table.kind] = rows_of(table)
        except InvalidState as error:
            found["gone"] = [d.id for table in tables for d in table.datasets()]
            found["why"] = str(error)
        seen.append(found)
        if last:
            return seen
        time.sleep(PAUSE)


# -- what they may have seen -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A dataset of the history."""

    id: str
    kind: str
    value: int


@dataclass(frozen=True)
class Event:
    """A decision that changes tables: a publication, or a revert of one. It was made between two times."""

    order: tuple[str, str]
    run: str
    begun: float
    ended: float
    mode: str = ""
    partition: str = ""
    made: tuple[Made, ...] = ()
    reverted: str = ""


class History:
    """What was decided, from what the writers say of it and the times in the decisions."""

    def __init__(self, registry: Registry, done: Iterable[dict[str, Any]]) -> None:
        self.registry = registry
        self.events = sorted((self._event(d) for d in done), key=lambda e: e.order)

    def order(self, run_id: str) -> tuple[str, str]:
        """The place of a decision among all."""
        decision = self.registry.ledger.store.decision(run_id)
        assert decision is not None
        assert decision.committed
        return iso(decision.closed_at), run_id

    def _event(self, done: dict[str, Any]) -> Event:
        made = tuple(Made(*m) for m in done.get("made", ()))
        return Event(self.order(done["run"]), done["run"], done["from"], done["to"], done.get("mode", ""),
                     str(done.get("partition")), made, done.get("reverted", ""))  # fmt: skip

    def could_show(self, begun: float, ended: float, shown: dict[str, list[int]]) -> bool:
        """Whether some state between two times has exactly these rows: all that was decided before is in it, nothing
        that was begun later, and of what was on its way any part.
        """
        sure = [e for e in self.events if e.ended < begun]
        perhaps = [e for e in self.events if e.begun <= ended and e.ended >= begun]
        for count in range(len(perhaps) + 1):
            for some in combinations(perhaps, count):
                state = sorted([*sure, *some], key=lambda e: e.order)
                if all([m.value for m in table(state, kind)] == shown[kind] for kind in shown):
                    return True
        return False

    def to_release(self, before: tuple[str, str], rules: dict[str, tuple[int, bool]], gone: set[str]) -> set[str]:
        """What the rules let go in the state before a decision, as the last states of each table were."""
        events = [e for e in self.events if e.order < before]
        reverted = {e.reverted for e in events}
        free: set[str] = set()
        for kind in KINDS:
            rule = rules.get(kind, rules.get("*"))
            if rule is None:
                continue
            published = [e for e in events if e.made and e.run not in reverted]
            states = [table(published[: i + 1], kind) for i in range(len(published))]
            kept = {m.id for state in states[-rule[0] :] for m in state}
            shown = {m.id for e in published for m in e.made if m.kind == kind}
            hidden = {m.id for e in events if e.run in reverted for m in e.made if m.kind == kind}
            free |= (shown - kept) | (hidden if rule[1] else set())
        return free - gone


def table(events: Iterable[Event], kind: str) -> list[Made]:
    """The table of a kind after these decisions, oldest first."""
    events = list(events)
    reverted = {e.reverted for e in events}
    shown: list[Made] = []
    hidden: set[str] = set()
    for event in reversed([e for e in events if e.made and e.run not in reverted]):
        if event.mode == "append" or event.partition not in hidden:
            shown = [m for m in event.made if m.kind == kind] + shown
        if event.mode == "replace":
            break
        if event.mode == "replace_partitions":
            hidden.add(event.partition)
    return shown


def rules_at(registry: Registry, release: str | None) -> dict[str, tuple[int, bool]]:
    """The rules that a release has acted on, and written down; None: those that there are now."""
    found: dict[str, tuple[int, bool]] = {}
    for kind in [*KINDS, "*"]:
        history: Iterator[Any] = iter(registry.ledger.cells.history(RETENTION, kind))
        rules = [g for g in history if release is None or g.tx == release]
        if rules and not rules[-1].deleted:
            found[kind] = (rules[-1].value["keep_last"], rules[-1].value.get("keep_days") is not None)
    return found


# -- the test --------------------------------------------------------------------------------------------------------


def check_history(folder: Path, seed: int, steps: int) -> None:
    """Let a history happen, and hold everything that was seen and is left against it."""
    place, done = folder / "registry", folder / "done"
    registry = opened(place)
    registry.set_retention("*", keep_last=2)
    readers, writers, keepers = Children(folder), Children(folder), Children(folder)
    keepers.start(partial(keep_house, place, f"{seed}/keeper", done))
    for number in range(READERS):
        readers.start(partial(read_history, place, f"{seed}/reader/{number}", done))
    for number in range(WRITERS):
        writers.start(partial(write_history, place, f"{seed}/writer/{number}", steps))
    try:
        told = [each for writer in writers.results() for each in writer]
    finally:
        done.touch()
    history = History(opened(place), told)
    releases = keepers.results()[0]
    gone: set[str] = set()
    for run_id, *ids in sorted(releases, key=lambda r: history.order(r[0])):
        assert set(ids) <= history.to_release(history.order(run_id), rules_at(registry, run_id), gone), seed
        gone |= set(ids)
    for reader in readers.results():
        for read in reader:
            if "gone" in read:
                assert "retention has released it" in read["why"]
                assert set(read["gone"]) & gone, (seed, read)
            else:
                assert history.could_show(read["from"], read["to"], read["shown"]), (seed, read)
    check_what_is_left(place, history, gone)


def check_what_is_left(place: Path, history: History, gone: set[str]) -> None:
    """When all is quiet: what nobody has released is there, byte for byte, and what was released is not."""
    registry = opened(place)
    final = registry.release(dry_run=False)
    assert {d.id for d in final.datasets} == history.to_release(("9", ""), rules_at(registry, None), gone)
    gone |= {d.id for d in final.datasets}
    registry.collect(dry_run=False)
    for kind in KINDS:
        assert rows(registry, kind) == [m.value for m in table(history.events, kind)]
    left = {info.key for info in registry.storage.list("data/")}
    for made in [m for e in history.events for m in e.made]:
        dataset = registry.get_dataset(made.id)
        keys = [f"{dataset.prefix}{file.path}" for file in dataset.files]
        assert not left.isdisjoint(keys) or made.id in gone
        if made.id not in gone:
            found = [hashlib.sha256(registry.storage.get(key)).hexdigest() for key in keys]
            assert found == [file.sha256 for file in dataset.files]
            left -= set(keys)
    assert not left
    assert registry.fsck(verify="all").of("error", "warning") == []


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_a_history_of_many_processes_loses_nothing_that_is_visible(tmp_path: Path, seed: int) -> None:
    """Each read is one whole published state; a release takes only what a rule lets go; all else stays readable."""
    check_history(tmp_path, seed, 20)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 120))
def test_long_histories_of_many_processes(tmp_path: Path, seed: int) -> None:
    check_history(tmp_path, seed, 100)
