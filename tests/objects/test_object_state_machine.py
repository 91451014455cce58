"""Objects against a plain dictionary: any order of saves, deletions, restores, aliases, in a run and outside."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_registry import Registry
from prefect_registry.errors import NotFound
from prefect_registry.ids import random_token
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.objects.errors import RegistryVersionConflict
from prefect_registry.objects.versions import Version

NAMES = st.sampled_from(["a", "b"])
NUMBERS = st.sampled_from(["1", "2", "2.1", "4"])
VALUES = st.sampled_from([0, 1, "x" * 20_000, "y" * 20_000])
CONFLICTS = st.sampled_from(["error", "skip", "overwrite"])
ALIASES = st.sampled_from(["p", "q"])
GONE = object()
"""A version that is deleted."""
IMPATIENT = LedgerSettings(undecided_wait_seconds=0.0, younger_wait_seconds=0.0, poll_seconds=0.001)
Cell = tuple[str, str]


class Objects(RuleBasedStateMachine):
    """The registry and its model: what is published, and what the open run has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.published: dict[Cell, Any] = {}
        self.staged: dict[Cell, Any] = {}
        self.before: dict[tuple[Cell, bool], Any] = {}
        self.pointers: dict[Cell, str | None] = {}
        self.moved: dict[Cell, str | None] = {}
        self.taken: dict[str, set[Version]] = {"a": set(), "b": set()}
        self.run: str | None = None

    @initialize()
    def open(self) -> None:
        place = f"memory://objects-{random_token()}"
        self.registry = Registry(
            place, settings=IMPATIENT, version_objects=True, mutable=True, heartbeats=False, use_cache=False
        )
        self.reader = Registry(place, settings=IMPATIENT, heartbeats=False, use_cache=False)

    # -- the model -----------------------------------------------------------------------------------------------

    def seen(self, run: str | None) -> dict[Cell, Any]:
        return {**self.published, **(self.staged if run else {})}

    def there(self, name: str, run: str | None) -> list[str]:
        """The versions that are visible, ascending."""
        found = [v for (n, v), value in self.seen(run).items() if n == name and value is not GONE]
        return sorted(found, key=Version.parse)

    def put(self, cell: Cell, value: Any, run: str | None) -> None:
        old = self.seen(run).get(cell)
        if value is GONE:
            self.before[cell, run is not None] = old
        (self.staged if run else self.published)[cell] = value

    def next_number(self, name: str) -> str:
        return str(max(self.taken[name]).next_major()) if self.taken[name] else "1"

    # -- runs ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.run is None)
    @rule()
    def begin(self) -> None:
        self.run = self.registry.insert_run("work")

    @precondition(lambda self: self.run is not None)
    @rule(success=st.booleans())
    def close(self, success: bool) -> None:
        assert self.run is not None
        self.registry.close_run(self.run, success)
        if success:
            self.published |= self.staged
            self.pointers |= self.moved
            self.before |= {(cell, False): value for (cell, inside), value in self.before.items() if inside}
        self.before = {key: value for key, value in self.before.items() if not key[1]}
        self.staged, self.moved, self.run = {}, {}, None

    # -- writing: in the run while one is open, and numbers outside as well -----------------------------------------

    @rule(name=NAMES, value=VALUES, outside=st.booleans())
    def save(self, name: str, value: Any, outside: bool) -> None:
        run = None if outside else self.run
        expected = self.next_number(name)
        assert self.registry.save(name, value, run_id=run) == expected
        self.taken[name].add(Version.parse(expected))
        self.put((name, expected), value, run)

    @rule(name=NAMES, number=NUMBERS, value=VALUES, conflict=CONFLICTS)
    def save_version(self, name: str, number: str, value: Any, conflict: Any) -> None:
        cell = (name, number)
        old = self.seen(self.run).get(cell)
        dead = old is None and Version.parse(number) in self.taken[name]  # of a run that was rolled back
        try:
            saved = self.registry.save(name, value, version=number, on_conflict=conflict, run_id=self.run)
        except RegistryVersionConflict:
            assert old is GONE or (old not in (None, value) and conflict == "error")
            return
        assert saved == number
        assert old is not GONE
        assert old in (None, value) or conflict != "error"
        self.taken[name].add(Version.parse(number))
        if old is None or dead or conflict == "overwrite":
            self.put(cell, value, self.run)

    @rule(name=NAMES, number=NUMBERS)
    def delete(self, name: str, number: str) -> None:
        old = self.seen(self.run).get((name, number), GONE)
        try:
            self.registry.delete(f"{name}@{number}", run_id=self.run)
        except NotFound:
            assert old is GONE
            return
        assert old is not GONE
        self.put((name, number), GONE, self.run)

    @rule(name=NAMES)
    def delete_all(self, name: str) -> None:
        there = self.there(name, self.run)
        try:
            self.registry.delete(name, run_id=self.run)
        except NotFound:
            assert there == []
            return
        assert there != []
        for number in there:
            self.put((name, number), GONE, self.run)

    @rule(name=NAMES, number=NUMBERS)
    def restore(self, name: str, number: str) -> None:
        cell = (name, number)
        old = self.seen(self.run).get(cell)
        try:
            restored = self.registry.restore(f"{name}@{number}", run_id=self.run)
        except NotFound:
            assert old is None
            return
        assert restored == ([f"{name}@{number}"] if old is GONE else [])
        if old is GONE:
            inside = (cell, True) if self.run and (cell, True) in self.before else (cell, False)
            self.put(cell, self.before[inside], self.run)

    @rule(name=NAMES, alias=ALIASES, number=NUMBERS)
    def point(self, name: str, alias: str, number: str) -> None:
        try:
            self.registry.set_alias(name, alias, number, run_id=self.run)
        except NotFound:
            assert number not in self.there(name, self.run)
            return
        assert number in self.there(name, self.run)
        (self.moved if self.run else self.pointers)[name, alias] = number

    @rule(name=NAMES, alias=ALIASES)
    def unpoint(self, name: str, alias: str) -> None:
        old = {**self.pointers, **self.moved}.get((name, alias))
        try:
            self.registry.remove_alias(name, alias, run_id=self.run)
        except NotFound:
            assert old is None
            return
        assert old is not None
        (self.moved if self.run else self.pointers)[name, alias] = None

    # -- reading -------------------------------------------------------------------------------------------------

    @invariant()
    def a_reader_sees_what_is_published(self) -> None:
        self.check(self.reader, None)

    @invariant()
    def the_run_sees_what_it_has_changed_too(self) -> None:
        if self.run is not None:
            self.check(self.registry, self.run)

    def check(self, registry: Registry, run: str | None) -> None:
        expected = {name: there for name in "ab" if (there := self.there(name, run))}
        assert registry.list_objects_and_versions(run_id=run) == expected
        assert {name: list(found) for name, found in registry.info(run_id=run).items()} == expected
        for name in "ab":
            there = expected.get(name, [])
            assert registry.list_versions(name, run_id=run) == there
            assert registry.has_object(name, run_id=run) == bool(there)
            if there:
                assert registry.resolve(name, run_id=run) == f"{name}@{there[-1]}"
            for number in there:
                assert registry.load(name, number, run_id=run) == self.seen(run)[name, number]
            pointers = {**self.pointers, **(self.moved if run else {})}
            assert registry.aliases(name, run_id=run) == {a: v for (n, a), v in pointers.items() if n == name and v}


TestObjects = Objects.TestCase
TestObjects.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
