"""`close`, `revert`, `reap`, `gc`, `stats`, `config`: deciding, taking back, cleaning up; and the same on S3."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefect_registry.registry import Registry

Command = Callable[..., Any]


def test_close_decides(command: Command, own_history: Any) -> None:
    """Once: the same again changes nothing, the opposite is refused with exit code 5."""
    url = own_history.url
    assert command("close", own_history.open_run, "--success", "--notes", "fine", "-r", url).code == 0
    run = Registry(url).get_run(own_history.open_run)
    assert (run.state, run.notes) == ("COMMITTED", "fine")
    assert command("close", own_history.open_run, "--success", "-r", url).code == 0
    assert command("close", own_history.open_run, "--failed", "-r", url).code == 5
    assert command("close", own_history.failed, "--success", "-r", url).code == 5


def test_close_wants_to_know_how(command: Command, own_history: Any) -> None:
    """Neither or both of --success and --failed is a mistake, and nothing is decided."""
    for options in ([], ["--success", "--failed"]):
        assert command("close", own_history.open_run, *options, "-r", own_history.url).code == 6
    assert Registry(own_history.url).get_run(own_history.open_run).state == "RUNNING"


def test_close_tells_what_was_left_out(command: Command, tmp_path: Path) -> None:
    """A dataset that was begun and not committed."""
    registry = Registry(tmp_path)
    run = registry.insert_run("halfway")
    dataset = registry.begin_dataset("notes", run)
    assert dataset in command("close", run, "--success", "-r", str(tmp_path)).err


def test_checkpoint_names_its_manifest(command: Command, own_history: Any) -> None:
    """On stdout; when nothing is new it says why it wrote none, and names the one there is."""
    url = own_history.url
    said = command("checkpoint", "--unsealed", "-r", url)
    assert said.out == "catalog/checkpoints/0000000000.json\n"
    assert "datasets" in said.err
    again = command("checkpoint", "-r", url)
    assert (again.code, again.out) == (0, said.out)
    assert "nothing has changed" in again.err


def test_revert_asks(command: Command, own_history: Any) -> None:
    """Where nobody can be asked it wants --yes, and changes nothing without it."""
    url = own_history.url
    said = command("revert", own_history.nightly, "-r", url)
    assert said.code == 6
    assert "--yes" in said.err
    assert Registry(url).latest("flights").id == own_history.flights


@pytest.mark.parametrize(("answer", "code", "state"), [("n", 1, "READY"), ("y", 0, "DELETED")])
def test_revert_asks_in_a_terminal(answer: str, code: int, state: str, own_history: Any, tmp_path: Path) -> None:
    """And does what it is told; no is the default, and changes nothing."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_registry", "revert", own_history.nightly, "-r", own_history.url],
        cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside,
    )  # fmt: skip
    os.close(inside)
    shown = b""
    while b"Take it back?" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, f"{answer}\n".encode())
    with contextlib.suppress(OSError):  # the other side is closed
        while os.read(terminal, 1024):
            pass
    os.close(terminal)
    assert process.wait(30) == code
    assert Registry(own_history.url).get_dataset(own_history.flights).state == state


def test_revert_takes_back_and_restores(command: Command, own_history: Any) -> None:
    """By a run of its own, which can be reverted too."""
    url = own_history.url
    data = command("revert", own_history.nightly, "--yes", "--reason", "wrong", "-r", url, "--json").data
    assert data["datasets"] == [own_history.flights]
    assert Registry(url).latest("flights").id == own_history.flights_before
    assert command("revert", data["run_id"], "-y", "-r", url).code == 0
    assert Registry(url).latest("flights").id == own_history.flights
    assert command("revert", own_history.failed, "--yes", "-r", url).code == 5


def test_reap_tells_who_is_alive(command: Command, own_history: Any) -> None:
    """A run of a living process is left alone."""
    data = command("reap", "-r", own_history.url, "--json").data
    assert (data["reaped"], data["suspects"], data["alive"]) == ([], [], [own_history.open_run])


def test_gc_deletes_only_when_told_to(command: Command, own_history: Any) -> None:
    """By default it says what it would delete; afterwards what is published is still there."""
    url = own_history.url
    would = command("gc", "-r", url, "--json").data
    assert (would["dry_run"], would["runs"], would["objects"]) == (True, [own_history.failed], 1)
    assert would["bytes"] > 1000
    assert command("gc", "-r", url, "--json").data == would
    assert "gc --yes" in command("gc", "-r", url).err
    did = command("gc", "--yes", "-r", url, "--json").data
    assert did == {**would, "dry_run": False}
    assert command("gc", "-r", url, "--json").data["objects"] == 0
    assert Registry(url).table("flights").to_table(["n"]).num_rows == 11


def test_stats_count_what_is_stored(command: Command, history: Any) -> None:
    """Per kind what is visible and what there is, runs by state, and what collection would free."""
    data = command("stats", "-r", history.url, "--json").data
    flights = next(kind for kind in data["kinds"] if kind["kind"] == "flights")
    assert (flights["visible"]["datasets"], flights["visible"]["rows"], flights["visible"]["objects"]) == (2, 19, 4)
    assert (flights["all"]["datasets"], flights["all"]["rows"], flights["all"]["objects"]) == (3, 1019, 5)
    assert data["runs"] == {"RUNNING": 1, "COMMITTED": 3, "ABORTED": 1}
    assert data["collection"]["objects"] == 1
    assert data["collection"]["bytes"] == flights["all"]["bytes"] - flights["visible"]["bytes"]
    assert command("stats", "--quick", "-r", history.url, "--json").data["collection"] is None
    assert "flights" in command("stats", "-r", history.url).out


def test_config_says_who_decides(command: Command, history: Any, tmp_path: Path) -> None:
    """And makes nothing."""
    data = command("config", "-r", history.url, "--json").data
    assert (data["registry"], data["said_by"]) == (history.url, "--registry")
    assert data["registry_id"] == Registry(history.url).registry_id
    command("ls", "-r", history.url)
    assert command("config", "-r", history.url, "--json").data["index_bytes"] > 0
    nothing = command("config", "-r", str(tmp_path / "none"), "--json").data
    assert nothing["registry_id"] is None
    assert not (tmp_path / "none").exists()


def test_config_is_shown_of_a_store_that_cannot_be_reached(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says that it is that one is what people want to know then."""
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", "ftp://me:planted@127.0.0.1:1/registry")
    said = command("config", "--json")
    assert (said.code, said.data["registry_id"]) == (0, None)
    assert said.data["said_by"] == "PREFECT_REGISTRY_OVERRIDE=ftp://127.0.0.1:1/registry"
    assert "It cannot be opened" in said.err
    assert "planted" not in said.out + said.err


def test_config_shows_no_secret(command: Command, history: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of a filesystem only by name, and no password of a URL."""
    monkeypatch.setenv("PREFECT_REGISTRY_OVERRIDE", history.url)
    monkeypatch.setenv("PREFECT_REGISTRY_STORAGE_OPTIONS", '{"auto_mkdir": "planted-secret"}')
    monkeypatch.setenv("PREFECT_REGISTRY_URL", "s3://user:planted-secret@bucket/prefix")
    for options in ([], ["--json"]):
        said = command("config", *options)
        assert "planted-secret" not in said.out + said.err
    data = command("config", "--json").data
    assert data["settings"]["storage_options"] == "set"
    assert data["settings"]["url"] == "s3://bucket/prefix"


@pytest.mark.server
def test_the_same_on_s3(command: Command, seaweedfs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL whose options the settings hold, without any Prefect server: run, ls, cat, get, revert, gc."""
    url = seaweedfs.url("cli")
    monkeypatch.setenv("PREFECT_REGISTRY_URL", url)
    monkeypatch.setenv("PREFECT_REGISTRY_STORAGE_OPTIONS", json.dumps(seaweedfs.storage_options))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    source = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": range(100)}), source)
    script = f'cp {source} "$PREFECT_REGISTRY_FOLDER/"; env > {tmp_path}/env'
    said = command("run", "--kind", "flights", "--json", "-r", url, "--", "sh", "-c", script)
    assert said.code == 0, said.err
    dataset = said.data["dataset"]
    (item,) = command("ls", "-r", url, "--json").data["items"]
    assert (item["id"], item["rows"], item["state"]) == (dataset, 100, "READY")
    (file,) = command("table", "flights", "--files", "-r", url).out.split()
    assert file.startswith("s3://")
    assert command("cat", dataset, "t.parquet", "-r", url, "--json").data["url"] == file
    assert command("get", "flights", "--to", str(tmp_path / "got"), "-r", url).code == 0
    assert (tmp_path / "got" / dataset / "t.parquet").read_bytes() == source.read_bytes()
    assert command("run", "--kind", "flights", "-r", url, "--", "false").code == 1
    assert command("revert", said.data["run_id"], "--yes", "-r", url).code == 0
    assert command("table", "flights", "--files", "-r", url).out == ""
    assert command("gc", "--yes", "-r", url, "--json").data["objects"] == 0
    secret = seaweedfs.storage_options["secret"]
    assert secret not in command("config", "-r", url).out
    assert secret not in (tmp_path / "env").read_text().replace(os.environ["PREFECT_REGISTRY_STORAGE_OPTIONS"], "")
