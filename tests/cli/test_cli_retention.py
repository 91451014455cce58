"""`retention`: rules are made, shown and removed; nothing goes without --yes, and what went says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefect_registry.registry import Registry

Command = Callable[..., Any]


@pytest.fixture
def orders(tmp_path: Path) -> Registry:
    """Three states of one table."""
    registry = Registry(tmp_path / "store")
    for value in range(3):
        with registry.run("load") as run, run.dataset("orders") as ds:
            ds.write_table(pa.table({"n": [value]}))
    return registry


def test_rules_are_set_shown_and_removed(command: Command, orders: Registry) -> None:
    assert "no rules" in command("retention", "-r", orders.url).err
    said = command("retention", "set", "orders", "--last", "2", "--days", "7", "--unused-too", "-r", orders.url)
    assert said.out.split("\n")[1].split() == ["orders", "2", "7.0", "no"]
    command("retention", "set", "*", "--last", "1", "-r", orders.url)
    rules = command("retention", "ls", "--json", "-r", orders.url).data["rules"]
    assert [(r["kind"], r["keep_last"], r["keep_days"], r["keep_used"]) for r in rules] == [
        ("*", 1, None, True),
        ("orders", 2, 7.0, False),
    ]
    assert command("retention", "rm", "*", "-r", orders.url).code == 0
    assert command("retention", "rm", "*", "-r", orders.url).code == 3
    assert [r.kind for r in orders.retention()] == ["orders"]


@pytest.mark.parametrize("wrong", [["set"], ["rm"], ["set", "orders"], ["set", "orders", "--last", "0"]])
def test_what_cannot_be_is_refused(command: Command, orders: Registry, wrong: list[str]) -> None:
    assert command("retention", *wrong, "-r", orders.url).code == 6
    assert orders.retention() == []


@pytest.mark.parametrize(
    "ignored",
    [["release", "other", "--yes"], ["preview", "orders"], ["preview", "--last", "1"], ["release", "--objects", "x"],
     ["ls", "--days", "3"], ["rm", "orders", "--last", "1"], ["preview", "--unused-too"], ["set", "orders", "--yes"]],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(command: Command, orders: Registry, ignored: list[str]) -> None:
    """Most of all a kind: ``release`` goes by the rules of all of them, and cannot be taken back."""
    orders.set_retention("orders", keep_last=1)
    said = command("retention", *ignored, "-r", orders.url)
    assert (said.code, said.out) == (6, "")
    assert f"does not go with {ignored[0]}" in said.err
    assert [d.state for d in orders.datasets()] == ["READY"] * 3
    assert [r.keep_last for r in orders.retention()] == [1]


def test_nothing_goes_without_yes(command: Command, orders: Registry) -> None:
    command("retention", "set", "orders", "--last", "1", "-r", orders.url)
    for action in ("preview", "release"):
        said = command("retention", action, "-r", orders.url)
        assert "Would release 2 dataset(s)" in said.err
        assert "Kept: 1 part of a table" in said.err
        assert len(said.out.splitlines()) == 3
    assert [d.state for d in orders.datasets()] == ["READY"] * 3
    released = command("retention", "release", "--yes", "--json", "-r", orders.url).data
    assert (len(released["datasets"]), released["dry_run"]) == (2, False)
    assert sorted(d.state for d in orders.datasets()) == ["DELETED", "DELETED", "READY"]
    assert command("gc", "--yes", "--json", "-r", orders.url).data["bytes"] == released["bytes"]


def test_what_was_released_is_no_damage(command: Command, orders: Registry, tmp_path: Path) -> None:
    """fsck finds nothing, and a copy is what the registry is."""
    orders.set_retention("orders", keep_last=1)
    orders.release(dry_run=False)
    for _ in range(2):  # before its bytes are collected, and after
        said = command("fsck", "-r", orders.url)
        assert said.code == 0, said.out + said.err
        orders.collect(dry_run=False)
    target = str(tmp_path / "copy")
    said = command("copy", target, "-r", orders.url)
    assert said.code == 0, said.err
    copied = Registry(target)
    assert copied.table("orders").to_table() == orders.table("orders").to_table()
    assert [d.state for d in copied.datasets()] == [d.state for d in orders.datasets()]


def test_objects_have_rules_of_their_own_and_go_by_the_same_command(command: Command, tmp_path: Path) -> None:
    """Shown apart from kinds, released with them."""
    registry = Registry(tmp_path / "store", version_objects=True)
    for value in range(3):
        registry.save("model", bytes([value]) * 20_000)
    registry.set_alias("model", "champion", "1")
    command("retention", "set", "model", "--last", "5", "-r", registry.url)
    said = command("retention", "set", "--objects", "model", "--last", "1", "-r", registry.url)
    assert [line.split() for line in said.out.splitlines()] == [
        ["KIND", "LAST", "DAYS", "USED"], ["model", "5", "yes"],
        ["OBJECT", "LAST", "DAYS", "USED"], ["model", "1", "yes"],
    ]  # fmt: skip
    assert command("retention", "set", "model", "--objects", "model", "--last", "1", "-r", registry.url).code == 6
    said = command("retention", "preview", "-r", registry.url)
    assert said.out.splitlines()[1].split()[:2] == ["model@2", "all"]
    assert "Would release 0 dataset(s), 1 version(s) or older state(s) of objects" in said.err
    assert "Kept of objects: 1 wanted by an alias, 1 of the last versions." in said.err
    released = command("retention", "release", "--yes", "--json", "-r", registry.url).data
    assert [(o["id"], o["bytes"]) for o in released["objects"]] == [("model@2", 20_000)]
    assert registry.list_versions("model") == ["1", "3"]
    swept = command("gc", "--yes", "--json", "-r", registry.url).data
    assert (swept["bytes"], swept["released"]) == (20_000, 1)
    assert command("retention", "rm", "--objects", "model", "-r", registry.url).code == 0
    assert [r.kind for r in registry.retention()] == ["model"]
