"""`fsck`: what it says of a registry that is whole and of one that is damaged, and how it ends."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.catalog.place import index_file
from prefect_registry.registry import Registry

Command = Callable[..., Any]


@pytest.fixture
def whole(tmp_path: Path) -> Registry:
    """A registry with one file."""
    registry = Registry(tmp_path / "registry")
    with registry.run("load") as run, run.dataset("orders") as ds, ds.open("orders.csv", "w") as file:
        file.write("id\n1\n")
    return registry


def the_file(registry: Registry) -> str:
    dataset = registry.latest("orders")
    return f"{dataset.prefix}{dataset.files[0].path}"


def test_a_registry_that_is_whole_ends_with_0(command: Command, whole: Registry) -> None:
    said = command("fsck", "-r", whole.url)
    assert (said.code, said.out) == (0, "")
    assert "Nothing found in 1 run" in said.err


def test_an_error_ends_with_1_and_says_where_and_what_to_do(command: Command, whole: Registry) -> None:
    key = the_file(whole)
    Path(whole.url, key).write_text("id\n2\n")
    assert command("fsck", "--verify", "none", "-r", whole.url).code == 0
    assert command("fsck", "--sample", "0", "-r", whole.url).code == 0
    for options in ([], ["--verify", "all"], ["--sample", "100%"]):
        said = command("fsck", *options, "-r", whole.url)
        assert said.code == 1
        assert said.out.startswith(f"error: file-changed: {key}, since 20")
        assert "To do: Restore the file from a backup" in said.out
        assert "1 error in 1 run" in said.err


def test_warnings_end_with_0_and_notes_are_shown_on_request(command: Command, whole: Registry) -> None:
    Path(whole.url, "notes.txt").write_text("mine")
    with contextlib.suppress(ZeroDivisionError), whole.run("fails") as run, run.dataset("orders") as ds:
        ds.open("orders.csv", "w").close()
        raise ZeroDivisionError
    said = command("fsck", "-r", whole.url)
    assert (said.code, said.out.count("\n")) == (0, 4)
    assert said.out.startswith("warning: foreign-file: notes.txt")
    assert "note: bytes-waiting: data/" in command("fsck", "--notes", "-r", whole.url).out


def test_json_is_one_document_with_the_same_exit_code(command: Command, whole: Registry) -> None:
    assert command("fsck", "--json", "-r", whole.url).data["ok"] is True
    Path(whole.url, the_file(whole)).unlink()
    said = command("fsck", "--json", "-r", whole.url)
    assert said.code == 1
    assert said.data["schema"] == "prefect-registry/fsck/1"
    assert said.data["registry"] == whole.url
    assert [f["kind"] for f in said.data["findings"]] == ["file-missing"]


def test_repair_builds_the_index_anew(command: Command, whole: Registry) -> None:
    whole.catalog.refresh()
    whole.catalog.close()
    with tampered(whole) as connection:
        connection.execute("UPDATE runs SET purpose = 'other'")
    said = command("fsck", "-r", whole.url)
    assert said.code == 1
    assert "prefect-registry fsck --repair" in said.err
    said = command("fsck", "--repair", "-r", whole.url)
    assert said.code == 0
    assert "error (repaired): index-differs: index:runs/" in said.out
    assert "was built anew" in said.err
    assert [r.purpose for r in Registry(whole.url).catalog.runs()] == ["load"]


@contextlib.contextmanager
def tampered(registry: Registry) -> Iterator[sqlite3.Connection]:
    """The index of this machine, as another program opens it."""
    file = index_file(registry.registry_id, registry.url)
    assert file is not None
    assert os.path.exists(file)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        yield connection


@pytest.mark.parametrize("sample", ["many", "-1", "101%", "1.5"])
def test_a_sample_is_a_number_or_a_share(command: Command, whole: Registry, sample: str) -> None:
    said = command("fsck", f"--sample={sample}", "-r", whole.url)
    assert said.code == 6
    assert "10%" in said.err
