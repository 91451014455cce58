"""`save`, `load`, `versions`, `alias`, `rm`, `restore`, and what `get`, `show` and `ls` do with objects."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.cli.app import run
from prefect_registry.cli.objects import bytes_of
from prefect_registry.registry import Registry

Command = Callable[..., Any]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A registry with versions: three of ``model``, of which one is the champion, and a value of another name."""
    registry = Registry(tmp_path / "registry", version_objects=True)
    for depth in (1, 2, 3):
        registry.save("model", {"depth": depth}, metadata={"by": "hand"})
    registry.save("team/raw", b"\0\1")
    registry.set_alias("model", "champion", "2", reason="better")
    return registry.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a script in it, and an empty one."""
    found = tmp_path / "weights"
    (found / "deep" / "er").mkdir(parents=True)
    (found / "empty").mkdir()
    (found / "a.txt").write_text("hello")
    (found / "deep" / "er" / "run.sh").write_text("echo")
    (found / "deep" / "er" / "run.sh").chmod(0o755)
    return found


def test_a_folder_comes_back_under_its_name(command: Command, tmp_path: Path, folder: Path) -> None:
    """With who may run what, and with its empty folders; saving made the registry."""
    where = ("-r", str(tmp_path / "new"))
    said = command("save", "model", str(folder), "--alias", "champion", "--metadata", "by=me", *where)
    assert (said.code, said.out) == (0, "model@1\n")
    data = command("get", "model@champion", "--to", str(tmp_path / "got"), "--json", *where).data
    back = tmp_path / "got" / "weights"
    assert [(f["path"], f["target"], f["object"]) for f in data["files"]] == [
        ("a.txt", str(back / "a.txt"), "model@1"), ("deep/er/run.sh", str(back / "deep/er/run.sh"), "model@1"),
    ]  # fmt: skip
    assert (back / "a.txt").read_text() == "hello"
    assert (back / "empty").is_dir()
    assert [os.access(back / f["path"], os.X_OK) for f in data["files"]] == [False, True]
    registry = Registry(tmp_path / "new")
    assert registry.info("model", "1")["metadata"] == {"by": "me"}
    assert len([run for run in registry.runs() if run.state == "COMMITTED"]) == 1


def test_a_file_comes_back_under_its_name(
    command: Command, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a folder here that is named after what was asked for."""
    monkeypatch.chdir(tmp_path)
    where = ("-r", str(tmp_path / "new"))
    assert command("save", "team/text", "weights/a.txt", *where).code == 0
    assert command("get", "team/text@latest", *where).out == "team_text@latest/a.txt\n"
    assert Path("team_text@latest/a.txt").read_text() == "hello"
    assert command("get", "team/text@latest", *where).code == 4


def test_values_and_standard_input(command: Command, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON in and out; bytes are kept as they are, and are no JSON."""
    value = {"a": [1, 2.5, None], "ä": "text"}
    assert command("save", "x", "--value", json.dumps(value), "--version", "2.1", "-r", url).out == "x@2.1\n"
    assert json.loads(command("load", "x@2.1", "-r", url).out) == value
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"raw\0")))
    assert command("save", "x", "-", "-r", url).out == "x@3\n"
    assert Registry(url).load("x@3") == b"raw\0"
    said = command("load", "x", "-r", url)
    assert (said.code, said.out) == (6, "")
    assert "prefect-registry get x@3" in said.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["save", "x"], 6),
        (["save", "x", ".", "--value", "1"], 6),
        (["save", "x", "--value", "{"], 6),
        (["save", "x", "no/such/file"], 6),
        (["save", "x@champion", "--value", "1"], 6),
        (["save", "x", "--value", "1", "--metadata", "by"], 6),
        (["save", "model", "--version", "1", "--value", "5"], 4),
        (["save", "model", "--version", "1", "--value", "5", "--on-conflict", "overwrite"], 6),
        (["save", "model", "--version", "1", "--value", "5", "--on-conflict", "skip"], 0),
        (["load", "nothing"], 3),
        (["load", "model@7"], 3),
        (["get", "model@7"], 3),
        (["show", "model@nobody"], 3),
        (["versions", "nothing"], 3),
        (["versions", "model@1"], 6),
        (["alias", "model", "nobody"], 3),
        (["alias", "model", "best", "9"], 3),
        (["alias", "model", "--remove"], 6),
        (["alias", "model", "a", "1", "--remove"], 6),
        (["alias", "model", "nobody", "--remove"], 3),
        (["rm", "nothing"], 3),
        (["rm", "model@7", "--yes"], 3),
        (["restore", "nothing"], 3),
        (["restore", "model"], 1),
        (["ls", "objects", "--kind", "model"], 6),
        (["ls", "objects", "--as-of", "1d"], 6),
        (["ls", "objects", "--order", "name"], 6),
    ],
)
def test_exit_codes(command: Command, url: str, arguments: list[str], code: int) -> None:
    """By the family of the error; nothing is changed."""
    said = command(*arguments, "-r", url)
    assert said.code == code, said.err
    assert Registry(url).list_objects_and_versions() == {"model": ["1", "2", "3"], "team/raw": ["1"]}


def test_versions_and_aliases(command: Command, url: str) -> None:
    """Ascending, each with the aliases that point at it; an alias moves, goes, and has a history."""
    rows = command("versions", "model", "-r", url).out.splitlines()
    assert [row.split()[:3] for row in rows[2:4]] == [["2", "champion", "builtins:dict"], ["3", "builtins:dict", "11"]]
    data = command("versions", "model", "--json", "-r", url).data
    assert [(v["version"], v["aliases"]) for v in data["versions"]] == [("1", []), ("2", ["champion"]), ("3", [])]
    moved = command("alias", "model", "champion", "latest", "--reason", "newer", "--json", "-r", url).data
    assert (moved["before"], moved["aliases"]) == ("2", [{"alias": "champion", "version": "3"}])
    assert command("alias", "model", "champion", "-r", url).out.splitlines()[1].split() == ["champion", "3"]
    assert command("alias", "model", "champion", "--remove", "-r", url).code == 0
    told = command("alias", "model", "champion", "--history", "--json", "-r", url).data
    assert [(m["version"], m["reason"]) for m in told["history"]] == [("2", "better"), ("3", "newer"), (None, None)]
    assert command("alias", "model", "--json", "-r", url).data["aliases"] == []


def test_deleting_only_tells_until_it_is_told_to(command: Command, url: str) -> None:
    """And can be taken back; aliases that point at what is deleted are named."""
    said = command("rm", "model@champion", "-r", url)
    assert (said.out, Registry(url).list_versions("model")) == ("model@2\n", ["1", "2", "3"])
    assert "would point at nothing: model@champion" in said.err
    assert command("rm", "model@2", "--yes", "--reason", "bad", "-r", url).out == "model@2\n"
    assert Registry(url).list_versions("model") == ["1", "3"]
    assert command("rm", "model", "--yes", "--json", "-r", url).data["versions"] == ["model@1", "model@3"]
    assert not Registry(url).has_object("model")
    assert command("restore", "model@2", "-r", url).out == "model@2\n"
    assert command("restore", "model", "--json", "-r", url).data["versions"] == ["model@1", "model@3"]


def test_how_to_take_a_deletion_back_names_the_version(command: Command, url: str) -> None:
    """Not the alias, nor latest, which mean another one, or none, once it is deleted."""
    Registry(url).set_alias("model", "newest", "3")
    said = command("rm", "model@latest", "--yes", "-r", url)
    assert "now point at nothing: model@newest\n" in said.err
    assert "To take it back: prefect-registry restore model@3\n" in said.err
    assert "To do it: prefect-registry rm model@2 --yes" in command("rm", "model@champion", "-r", url).err


def test_objects_are_listed_a_page_at_a_time_whatever_their_names(command: Command, url: str) -> None:
    """Also names with a tilde; a limit that is none is refused, as for everything else that is listed."""
    Registry(url).save("a~b", 1)
    first = command("ls", "objects", "--limit", "1", "--json", "-r", url).data
    assert [o["name"] for o in first["items"]] == ["a~b"]
    rest = command("ls", "objects", "--cursor", first["next"], "--json", "-r", url).data
    assert [o["name"] for o in rest["items"]] == ["model", "team/raw"]
    for limit in ("0", "-1", "10001"):
        said = command("ls", "objects", "--limit", limit, "-r", url)
        assert (said.code, said.out) == (6, "")
        assert "limit must be from 1 to 10,000" in said.err


def test_names_that_begin_as_ids_do_are_names(command: Command, url: str, tmp_path: Path) -> None:
    """``run_metrics`` is the kind of that name; what nobody has named is still told what an id looks like."""
    registry = Registry(url)
    with registry.run("named") as run:
        for kind in ("run_metrics", "ds_train", "ev_charging"):
            with run.dataset(kind) as dataset, dataset.open("x", "w") as file:
                file.write("x")
    registry.save("ds_scaler", 1)
    for kind in ("run_metrics", "ds_train", "ev_charging"):
        assert command("show", kind, "--json", "-r", url).data["item"]["kind"] == kind
    assert command("show", "ds_scaler", "--json", "-r", url).data["of"] == "object"
    assert command("get", "ds_train", "--to", str(tmp_path / "train"), "-r", url).code == 0
    assert command("get", "ds_scaler", "--to", str(tmp_path / "scaler"), "-r", url).code == 0
    said = command("show", "run_metrisc", "-r", url)
    assert (said.code, "A run id is" in said.err) == (3, True)


def test_names_that_the_output_cannot_say_are_spelt_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stdout is no UTF-8, as in pipes on Windows; what is JSON stays JSON."""
    Registry(url).save("größe", "zwölf")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert [run(["ls", "objects", "-r", url]), run(["load", "größe", "-r", url])] == [0, 0]
    listed, _, loaded = written.getvalue().decode("ascii").rpartition('\n"')
    assert "gr\\xf6\\xdfe" in listed
    assert json.loads(f'"{loaded}') == "zwölf"


def test_looking(command: Command, url: str) -> None:
    """`ls objects` pages by name; `show` tells of a version and its files; a kind of the same name comes first."""
    first = command("ls", "objects", "--limit", "1", "--json", "-r", url).data
    assert [(o["name"], o["versions"], o["latest"]) for o in first["items"]] == [("model", 3, "3")]
    rest = command("ls", "objects", "--cursor", first["next"], "--json", "-r", url).data
    assert ([o["name"] for o in rest["items"]], rest["next"]) == (["team/raw"], None)
    assert command("ls", "objects", "--text", "RAW", "-r", url).out.splitlines()[1].split()[0] == "team/raw"
    shown = command("show", "model@champion", "--json", "-r", url).data
    assert (shown["of"], shown["item"]["version"], shown["item"]["metadata"]) == ("object", "2", {"by": "hand"})
    assert [f["path"] for f in shown["files"]] == ["value.json"]
    assert command("show", "model", "--json", "-r", url).data["item"]["version"] == "3"
    with Registry(url).run("same name") as run, run.dataset("model") as dataset, dataset.open("x", "w") as file:
        file.write("x")
    assert command("show", "model", "--json", "-r", url).data["of"] == "table"
    assert command("show", "model@latest", "--json", "-r", url).data["of"] == "object"


def test_other_objects_are_fetched_as_they_are_stored(command: Command, url: str, tmp_path: Path) -> None:
    """No object is made; damage ends it with exit code 7, and leaves no folder."""
    assert command("get", "team/raw", "--to", str(tmp_path / "got"), "-r", url).code == 0
    assert (tmp_path / "got" / "data").read_bytes() == b"\0\1"
    Registry(url).save("large", b"\0" * 20_000)
    stored = next(p for p in Path(url).rglob("data") if p.is_file() and p.stat().st_size == 20_000)
    stored.chmod(0o644)
    stored.write_bytes(b"\1" * 20_000)
    assert command("get", "large", "--to", str(tmp_path / "damaged"), "-r", url).code == 7
    assert not (tmp_path / "damaged").exists()


def test_the_bar_knows_how_much_there_is(folder: Path) -> None:
    """Bytes of all files, of one, of standard input; a value is small."""
    assert [bytes_of(o) for o in (folder, folder / "a.txt", b"123", {"a": 1})] == [9, 5, 3, 0]


def test_save_reads_a_pipe(url: str) -> None:
    """Of another program, in a process of its own."""
    call = [sys.executable, "-m", "prefect_registry", "save", "piped", "-", "-r", url]
    done = subprocess.run(call, input=b"\xff\0piped", capture_output=True, check=True, timeout=120)
    assert done.stdout == b"piped@1\n"
    assert Registry(url).load("piped") == b"\xff\0piped"
