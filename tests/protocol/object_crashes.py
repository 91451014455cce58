"""``kill -9`` of those who save, overwrite, delete and point at objects, at storage calls and at system calls that
change the disk. Run as a program, it is a server that has not imported Prefect, as ``crashes.py`` is.

``python object_crashes.py SHARD SHARDS``: every ``SHARDS``-th place of overwriting, every third of those of the rest.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crashes import SETTINGS, Operation, Patient, Tell, run_killed

from prefect_registry.errors import RegistryError
from prefect_registry.registry import Registry
from prefect_registry.storage.local import LocalStorage

LARGE = 20_000
"""Bytes of what does not fit a record."""
State = dict[str, Any]


def text(mark: str, large: bool) -> str:
    """A content that is whole or not."""
    return mark * (LARGE if large else 1)


def prepare(folder: Path) -> None:
    """A store with two objects that can be overwritten, one with files."""
    registry = Registry(LocalStorage(folder), settings=SETTINGS, version_objects=True, mutable=True)
    registry.save("small", text("o", False), version="1")
    registry.save("large", text("o", True), version="1")
    registry.save("gone", text("o", True), version="1")
    registry.delete("gone")
    registry.set_alias("small", "best", "1")


def see(registry: Registry) -> State:
    """All objects that a reader sees: by name and version, the mark that each consists of; and where aliases point."""
    found: State = {}
    for name, versions in registry.list_objects_and_versions().items():
        assert versions == registry.list_versions(name)
        for version in versions:
            value = registry.load(name, version)
            assert value == text(value[0], len(value) > 1), "a mix was loaded"
            found[f"{name}@{version}"] = value[0]
    return {**found, **{f"small@{alias}": f"-> {v}" for alias, v in registry.aliases("small").items()}}


BEFORE: State = {"small@1": "o", "large@1": "o", "small@best": "-> 1"}

# -- what is done while it is killed, and what may be there afterwards -----------------------------------------------


def overwrite_inline(registry: Registry, tell: Tell) -> None:
    """Twice, by a record."""
    tell("doing overwrite")
    for mark in "ab":
        registry.save("small", text(mark, False), version="1", on_conflict="overwrite")
        tell("done")


def overwrite_files(registry: Registry, tell: Tell) -> None:
    """Twice, by files and a run of its own."""
    tell("doing overwrite")
    for mark in "ab":
        registry.save("large", text(mark, True), version="1", on_conflict="overwrite")
        tell("done")


def overwrite_in_a_run(registry: Registry, tell: Tell) -> None:
    """Both at once, and a new version."""
    tell("doing overwrite")
    with registry.run("all") as run:
        registry.save("small", text("a", False), version="1", on_conflict="overwrite", run_id=run.id)
        registry.save("large", text("a", True), version="1", on_conflict="overwrite", run_id=run.id)
        registry.save("large", text("b", True), run_id=run.id)
        tell("doing close")
    tell("done")


def save_numbers(registry: Registry, tell: Tell) -> None:
    """Three automatic numbers."""
    tell("doing save")
    for mark, large in (("a", False), ("b", True), ("c", False)):
        registry.save("small", text(mark, large))
        tell("done")


def delete_and_restore(registry: Registry, tell: Tell) -> None:
    """What is there goes, what was gone comes back."""
    tell("doing delete")
    registry.delete("large@1")
    tell("done")
    registry.restore("gone@1")
    tell("done")


def move(registry: Registry, tell: Tell) -> None:
    """An alias goes to a new version."""
    tell("doing save")
    registry.save("small", text("a", False), version="2")
    tell("done")
    tell("doing alias")
    registry.set_alias("small", "best", "2")
    tell("done")


def states(*changes: State) -> list[State]:
    """What there is before, and after each change; a value of None is what is gone."""
    found = [BEFORE]
    for change in changes:
        found.append({k: v for k, v in {**found[-1], **change}.items() if v is not None})
    return found


OPERATIONS: dict[Operation, list[State]] = {
    overwrite_inline: states({"small@1": "a"}, {"small@1": "b"}),
    overwrite_files: states({"large@1": "a"}, {"large@1": "b"}),
    overwrite_in_a_run: states({"small@1": "a", "large@1": "a", "large@2": "b"}),
    save_numbers: states({"small@2": "a"}, {"small@3": "b"}, {"small@4": "c"}),
    delete_and_restore: states({"large@1": None}, {"gone@1": "o"}),
    move: states({"small@2": "a"}, {"small@best": "-> 2"}),
}


def renumbered(state: State) -> State:
    """The same with numbers by their order: a killed writer may leave a number that nobody gets any more."""
    return {k: v for k, v in state.items() if not k.startswith("small@") or k == "small@best"} | {
        f"small #{n}": state[k]
        for n, k in enumerate(sorted(k for k in state if k.startswith("small@") and k[6].isdigit()))
    }


def verify(folder: Path, told: list[str], allowed: Sequence[State]) -> list[str]:
    """What is wrong after the kill; an empty list when everything is as promised."""
    clock = Patient()
    reader = Registry(LocalStorage(folder), settings=SETTINGS, heartbeats=False, clock=clock, use_cache=False)
    wrong = [line for line in told if line != "done"]
    before = renumbered(see(reader))
    least = min(told.count("done"), len(allowed) - 1)
    if before not in [renumbered(state) for state in allowed[least:]]:
        wrong.append(f"told {told}, and there is {before}")
    clock.slept = 0.0
    try:
        for name, large in (("small", False), ("large", True), ("gone", False)):
            reader.save(name, text("n", large))
        for name, large in (("small", False), ("large", True)):
            if reader.has_object(name, "1"):
                reader.save(name, text("n", large), version="1", on_conflict="overwrite")
                assert reader.load(name, "1") == text("n", large)
    except RegistryError as error:
        wrong.append(f"a later writer is blocked: {error}")
    if clock.slept > 1:  # what it waited for others, not for a busy machine
        wrong.append(f"a later writer had to wait for {clock.slept:.1f} s")
    after = see(reader)
    reader.reap()
    reader.collect(dry_run=False)
    if see(reader) != after:
        wrong.append("reaping and collecting have changed what is visible")
    return wrong


def main(shard: int, shards: int) -> dict[str, Any]:
    """Kill at places of this shard; how often in each operation, and what was wrong."""
    assert "prefect" not in sys.modules, "the server must stay light"
    wrong: list[str] = []
    kills = Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        template, folder = Path(temporary) / "template", Path(temporary) / "store"
        prepare(template)
        for operation, system in itertools.product(OPERATIONS, (False, True)):
            level = "system" if system else "storage"
            step = shards if operation.__name__.startswith("overwrite") else 3 * shards
            for at in itertools.count(1 + shard, step):
                shutil.copytree(template, folder)
                found = run_killed(folder, operation, at, system)
                where = f"{operation.__name__}, {level} call {at}"
                try:
                    wrong += [f"{where}: {w}" for w in verify(folder, found.told, OPERATIONS[operation])]
                except (RegistryError, AssertionError) as error:
                    wrong.append(f"{where}: the store cannot be read: {error!r}")
                shutil.rmtree(folder)
                if not found.killed:  # it came to its end before
                    break
                kills[f"{operation.__name__} {level}"] += 1
    assert "prefect" not in sys.modules, "something imported prefect"
    return {"wrong": wrong, "kills": kills}


if __name__ == "__main__":
    print(json.dumps(main(*(int(a) for a in sys.argv[1:3]))))
