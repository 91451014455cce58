"""`diff`, `cat` and `get`: what is in datasets, and their bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prefect_registry.cli.commands import files
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.payload import Part, Payload, StoredPayload
from prefect_registry.registry import Registry

Command = Callable[..., Any]


def test_diff_names_files_rows_and_columns(command: Command, history: Any) -> None:
    """What was added, removed and changed, from the first to the second."""
    arguments = ["diff", history.flights_before, history.flights, "-r", history.url]
    data = command(*arguments, "--json").data
    assert data["differs"] is True
    assert (data["before"]["rows"], data["after"]["rows"]) == (8, 11)
    assert [[f["path"] for f in data["files"][way]] for way in ("added", "removed", "changed")] == [
        ["c.parquet"], ["b.parquet"], ["a.parquet"],
    ]  # fmt: skip
    assert data["columns"]["added"] == [{"name": "carrier", "before": None, "after": "string"}]
    assert data["columns"]["changed"] == [{"name": "delay", "before": "int64", "after": "double"}]
    out = command(*arguments).out
    assert "rows     8 -> 11" in out
    assert "column + carrier: string" in out
    assert "column ~ delay: int64 -> double" in out


def test_diff_of_the_same_is_nothing(command: Command, history: Any) -> None:
    """And of a dataset whose bytes are none, its files are compared as they were recorded."""
    said = command("diff", history.report, history.report, "-r", history.url)
    assert (said.code, said.out) == (0, "")
    assert "No difference" in said.err
    lost = next(iter(Registry(history.url).datasets(run_id=history.failed))).id
    assert command("diff", lost, history.flights, "-r", history.url, "--json").data["differs"] is True


class Files(dict[str, bytes]):
    """Several files that are one object."""


class FilesForm(Materializer):
    """Saves :class:`Files` as they are."""

    name = "test.cli"

    def save(self, value: Any) -> Payload:
        return Payload([Part(path, data) for path, data in value.items()], {"count": len(value)})

    def load(self, payload: StoredPayload) -> Files:
        return Files({path: payload.read(path) for path in payload.paths()})


def test_diff_of_versions_names_files_facts_and_metadata(command: Command, tmp_path: Path) -> None:
    """Inline or not, by number or alias; and of the same there is nothing to tell."""
    registry = Registry(tmp_path / "store", version_objects=True)
    registry.register_materializer(Files, FilesForm)
    large = Files({"a": b"1" * 20_000, "b": b"2" * 20_000, "same": b"3"})
    registry.save("m", large, metadata={"by": "me", "n": 1})
    registry.save("m", Files({"a": b"x", "c": b"y", "same": b"3", "d": b""}), metadata={"n": 2, "why": "smaller"})
    registry.save("m", "text")
    registry.set_alias("m", "champion", "2")
    data = command("diff", "m@1", "m@champion", "-r", registry.url, "--json").data
    assert (data["before"]["id"], data["after"]["id"], data["differs"]) == ("m@1", "m@2", True)
    assert [[f["path"] for f in data["files"][way]] for way in ("added", "removed", "changed")] == [
        ["c", "d"], ["b"], ["a"],
    ]  # fmt: skip
    assert data["files"]["same"] == 1
    assert data["metadata"]["changed"] == [{"name": "n", "before": 1, "after": 2}]
    assert [[c["name"] for c in data["metadata"][way]] for way in ("added", "removed")] == [["why"], ["by"]]
    out = command("diff", "m@1", "m@2", "-r", registry.url).out.splitlines()
    assert "metadata ~ n: 1 -> 2" in out
    assert "metadata - by: me" in out
    assert "init     ~ count: 3 -> 4" in out
    assert [line for line in out if line.startswith("file   ~ a (")]
    out = command("diff", "m@2", "m@latest", "-r", registry.url).out
    assert "materializer test.cli -> " in out
    assert "class        " in out
    same = command("diff", "m@2", "m@champion", "-r", registry.url)
    assert (same.code, same.out) == (0, "")
    assert "No difference in 4 file(s)" in same.err
    assert command("diff", "m@1", "ds_1", "-r", registry.url).code == 6
    assert command("diff", "m@1", "m@9", "-r", registry.url).code == 3


def test_cat_writes_the_bytes(command: Command, history: Any) -> None:
    """And nothing else to stdout; with --json what is known of the file."""
    said = command("cat", history.report, "pages/one.txt", "-r", history.url)
    assert (said.code, said.out, said.err) == (0, "hello", "")
    data = command("cat", history.report, "pages/one.txt", "-r", history.url, "--json").data
    assert data["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert Path(data["url"]).read_text() == "hello"
    said = command("cat", history.report, "pages/two.txt", "-r", history.url)
    assert (said.code, said.out) == (3, "")


def test_damage_is_told(command: Command, own_history: Any, tmp_path: Path) -> None:
    """`cat` ends with exit code 7, and `get` leaves no folder."""
    url = command("cat", own_history.report, "pages/one.txt", "-r", own_history.url, "--json").data["url"]
    Path(url).chmod(0o644)
    Path(url).write_text("jello")
    assert command("cat", own_history.report, "pages/one.txt", "-r", own_history.url).code == 7
    said = command("get", own_history.report, "--to", str(tmp_path / "got"), "-r", own_history.url)
    assert said.code == 7
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]


def test_get_fetches_a_dataset(command: Command, history: Any, tmp_path: Path) -> None:
    """With the folders it has; what was fetched is on stdout, a file a line."""
    said = command("get", history.report, "--to", str(tmp_path / "a" / "got"), "-r", history.url)
    assert said.out == f"{tmp_path}/a/got/pages/one.txt\n"
    assert (tmp_path / "a" / "got" / "pages" / "one.txt").read_text() == "hello"


def test_get_fetches_a_table(command: Command, history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a folder here that is named after the kind, each dataset in its own; all of it or nothing."""
    monkeypatch.chdir(tmp_path)
    data = command("get", "flights", "-r", history.url, "--json").data
    assert [file["path"] for file in data["files"]] == ["a.parquet", "c.parquet"]
    assert pq.read_table(f"flights/{history.flights}/a.parquet").num_rows == 10
    assert os.stat("flights").st_mode & 0o777 == 0o777 & ~files._umask()


def test_get_overwrites_nothing(command: Command, history: Any, tmp_path: Path) -> None:
    """A folder that has something in it is a conflict; an empty one is taken."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "empty").mkdir()
    assert command("get", "flights", "--to", str(tmp_path / "full"), "-r", history.url).code == 4
    assert command("get", "flights", "--to", str(tmp_path / "empty"), "-r", history.url).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_a_folder_that_cannot_be_made_is_told(
    command: Command, history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every error is, also as JSON; and the folder that one is in cannot be a new one."""
    (tmp_path / "file").touch()
    said = command("get", "flights", "--to", str(tmp_path / "file" / "got"), "--json", "-r", history.url)
    assert (said.code, said.data["schema"]) == (1, "prefect-registry/error/1")
    assert str(tmp_path / "file") in said.data["error"]["what"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert command("get", "flights", "--to", ".", "-r", history.url).code == 6
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "here"]


def test_what_cannot_be_fetched_is_told(command: Command, history: Any, tmp_path: Path) -> None:
    """A dataset that was rolled back is in no state to be read; a kind that never was is not found."""
    lost = next(iter(Registry(history.url).datasets(run_id=history.failed))).id
    to = ["--to", str(tmp_path / "got"), "-r", history.url]
    assert command("get", lost, *to).code == 5
    assert command("get", "flihgts", *to).code == 3
    assert not list(tmp_path.iterdir())


SLOWLY = """
import sys, time
from prefect_registry.cli import main
from prefect_registry.storage.local import LocalStorage
whole = LocalStorage.download
def slowly(self, files, progress=None):
    whole(self, files, progress)
    print("ready", flush=True)
    time.sleep(60)
LocalStorage.download = slowly
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_get_leaves_nothing(number: signal.Signals, status: int, history: Any, tmp_path: Path) -> None:
    """Although files had been fetched already."""
    program = [sys.executable, "-c", SLOWLY, "get", "flights", "--to", str(tmp_path / "got"), "-r", history.url]
    with subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.rglob("*.parquet"))) == 2
        process.send_signal(number)
        assert process.wait(30) == status
    assert not list(tmp_path.iterdir())


def shown_in_a_terminal(*arguments: str, cwd: Path, **environment: str) -> str:
    """What a person sees of the real program."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_registry", *arguments],
        cwd=cwd, env={**os.environ, "TERM": "xterm", **environment}, stdin=inside, stdout=inside, stderr=inside,
    )  # fmt: skip
    os.close(inside)
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    assert process.wait(30) == 0
    return shown.decode()


def test_progress_and_colour_are_for_terminals(command: Command, history: Any, tmp_path: Path) -> None:
    """A bar while bytes are fetched, none in a pipe; NO_COLOR is obeyed."""
    shown = shown_in_a_terminal("get", "flights", "-r", history.url, "--to", "one", cwd=tmp_path)
    assert "Fetching flights" in shown
    assert "\x1b[" in shown
    piped = command("get", "flights", "-r", history.url, "--to", str(tmp_path / "two"))
    assert "Fetching" not in piped.err
    assert "\x1b" not in piped.out + piped.err
    plain = shown_in_a_terminal("log", "-r", history.url, cwd=tmp_path, NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert history.nightly in plain
