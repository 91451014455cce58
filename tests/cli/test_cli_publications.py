"""`publications`: periods of the past one after the other, and what is removed only with --yes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefect_registry.ingestion import TaskManager
from prefect_registry.registry import Registry

Command = Callable[..., Any]


def retrieve(manager: TaskManager, period: str = "", bad: str = "") -> None:
    """Stages the period, except a bad one."""
    if period and period == bad:
        raise ValueError(f"nothing was published in {period}")
    with manager.attempt.dataset("rows", mode="append") as ds:
        ds.write_table(pa.table({"period": [period]}))


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "store")


def apply(command: Command, store: Registry, *options: str, **arguments: dict[str, str]) -> Any:
    """Apply a file with these publications, whose tasks have these arguments."""
    file = Path(store.url).with_name("publications.yaml")
    plans = {
        id: [{"type": "callable", "options": {"function": f"{__name__}:retrieve", "arguments": given}}]
        for id, given in arguments.items()
    }
    file.write_text(json.dumps({"publications": [{"id": id, "plan": plan} for id, plan in plans.items()]}))
    return command("publications", "apply", str(file), "-r", store.url, *options)


def rows(store: Registry) -> list[str]:
    return [str(period) for period in store.table("rows").to_table()["period"].to_pylist()]


def test_periods_one_after_the_other(command: Command, store: Registry) -> None:
    """Each has a job of its own, up to one that fails: then the command says how to go on."""
    assert apply(command, store, "--yes", past={"period": "{period}", "bad": "2013-03"}).code == 0
    run = ("publications", "run", "past", "-r", store.url)
    said = command(*run, "--for", "2013-01..2013-06")
    assert said.code == 0
    assert "Job past/3, for 2013-03, has failed." in said.err
    assert "prefect-registry publications run past --for 2013-04..2013-06" in said.err
    assert "nothing was published in 2013-03" in said.out
    assert rows(store) == ["2013-01", "2013-02"]
    assert command(*run, "--for", "2013-04..2013-05").code == 0
    assert rows(store) == ["2013-01", "2013-02", "2013-04", "2013-05"]
    refused = command(*run)
    assert refused.code != 0
    assert "--for 2013-01" in refused.err
    assert command(*run, "--for", "2013-02..2013-01").code == 6
    assert command("publications", "tick", "--for", "2013", "-r", store.url).code == 6
    assert len(rows(store)) == 4


@pytest.mark.parametrize(
    "ignored",
    [["run", "one", "--dry-run"], ["remove", "one", "--yes", "--dry-run"], ["tick", "--yes"], ["tick", "two"],
     ["ls", "one"], ["show", "one", "--remove-absent"]],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(command: Command, store: Registry, ignored: list[str]) -> None:
    """Most of all a --dry-run that would not be one, and an id with which all would be gone on with."""
    apply(command, store, "--yes", one={}, two={})
    said = command("publications", *ignored, "-r", store.url)
    assert (said.code, said.out) == (6, "")
    assert f"publications {ignored[0]} is not valid" in said.err
    listed = command("publications", "ls", "--json", "-r", store.url).data["publications"]
    assert [(p["id"], p["active_job"]) for p in listed] == [("one", None), ("two", None)]


def test_nothing_is_removed_without_yes(command: Command, store: Registry) -> None:
    """Neither by name nor because it is not in the file any more; and what was removed is in the history."""
    apply(command, store, "--yes", one={}, two={})
    for id in ("one", "two"):
        assert command("publications", "run", id, "-r", store.url).code == 0

    def left() -> list[str]:
        said = command("publications", "ls", "-r", store.url, "--json")
        return [p["id"] for p in said.data["publications"]]

    said = command("publications", "remove", "one", "-r", store.url)
    assert "one/1" in said.out
    assert "prefect-registry publications remove one --yes" in said.err
    said = apply(command, store, "--remove-absent", two={})
    assert ["one", "remove"] in [line.split() for line in said.out.splitlines()]
    assert "--remove-absent --yes" in said.err
    assert "absent" in apply(command, store, "--yes", two={}).out
    assert left() == ["one", "two"]
    assert apply(command, store, "--remove-absent", "--yes", two={}).code == 0
    assert left() == ["two"]
    assert command("publications", "remove", "two", "--yes", "-r", store.url).code == 0
    assert left() == []
    said = command("publications", "history", "two", "-r", store.url)
    assert "two was removed" in said.err
    assert "two/1: COMPLETED" in said.out
    assert command("publications", "show", "two", "-r", store.url).code == 3
    assert command("publications", "remove", "two", "--yes", "-r", store.url).code == 3
    assert rows(store) == ["", ""]
