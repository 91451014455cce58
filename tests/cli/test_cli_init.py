"""`prefect-registry init`, from options and at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from prefect_registry.blocks import LocalRegistry, S3Registry
from prefect_registry.blocks.documents import find

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]
Command = Callable[..., Any]


def test_from_nothing_to_a_flow_that_works(command: Command, tmp_path: Path, name: str, prefect_server: str) -> None:
    """The block is saved, and what is on stdout is a program that publishes and reads back."""
    said = command("init", "local", "--path", str(tmp_path / "registry"), "--name", name)
    assert said.code == 0, said.err
    assert LocalRegistry.load(name).path == str(tmp_path / "registry")
    program = tmp_path / "program.py"
    program.write_text(said.out)
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    done = subprocess.run([sys.executable, str(program)], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 rows are published" in done.stdout


@pytest.mark.server
@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_the_flow_for_a_bucket_works(
    kind: str, command: Command, tmp_path: Path, name: str, prefect_server: str, request: pytest.FixtureRequest
) -> None:
    """What is printed for S3 and Google Cloud Storage is run too, against the emulators."""
    server = request.getfixturevalue({"s3": "seaweedfs", "gcs": "fake_gcs"}[kind])
    options = ["--bucket", server.bucket, "--prefix", name, "--endpoint-url", server.endpoint, "--name", name]
    if kind == "s3":
        options += ["--path-style", "true", "--region", "us-east-1"]
        options += ["--access-key-id", server.storage_options["key"]]
        options += ["--secret-access-key", server.storage_options["secret"]]
    else:
        options += ["--anonymous", "true", "--project", "registry"]
    said = command("init", kind, *options)
    assert said.code == 0, said.err
    program = tmp_path / "program.py"
    program.write_text(said.out)
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    done = subprocess.run([sys.executable, str(program)], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 rows are published" in done.stdout
    assert any(info.key.endswith("/end.json") for info in server.storage(name).list("runs/"))


def test_the_types_are_registered_too(command: Command, tmp_path: Path, name: str) -> None:
    """So that the next block can be made in the UI."""
    command("init", "local", "--path", str(tmp_path), "--name", name)
    with get_client(sync_client=True) as client:
        known = {block_type.slug for block_type in client.read_block_types()}
    assert {f"data-registry-{kind}" for kind in ("local", "s3", "gcs", "azure", "fsspec")} <= known


def test_a_program_gets_json(command: Command, tmp_path: Path, name: str) -> None:
    """One document on stdout; the talk stays on stderr."""
    said = command("init", "local", "--path", str(tmp_path), "--name", name, "--json")
    assert said.data["schema"] == "prefect-registry/init/1"
    assert said.data["block"] == f"data-registry-local/{name}"
    assert said.data["url"] == str(tmp_path)
    assert f'@registry_run("data-registry-local/{name}")' in said.data["flow"]


def test_a_block_says_how_objects_are_kept(command: Command, tmp_path: Path, name: str) -> None:
    """And what the command line saves there first makes the registry so."""
    given = ["init", "local", "--path", str(tmp_path), "--name", name, "--version-objects", "--json"]
    assert command(*given).code == 0
    block = LocalRegistry.load(name)
    assert (block.version_objects, block.mutable_objects) == (True, False)
    where = ("-r", f"data-registry-local/{name}")
    assert [command("save", "x", "--value", value, *where).out for value in "12"] == ["x@1\n", "x@2\n"]


def test_an_existing_block_is_not_replaced_by_accident(command: Command, tmp_path: Path, name: str) -> None:
    """Exit code of a conflict, until --replace is given."""
    first = ["init", "local", "--path", str(tmp_path / "a"), "--name", name]
    assert command(*first).code == 0
    again = ["init", "local", "--path", str(tmp_path / "b"), "--name", name]
    said = command(*again)
    assert said.code == 4
    assert "--replace" in said.err
    assert LocalRegistry.load(name).path == str(tmp_path / "a")
    assert command(*again, "--replace").code == 0
    assert LocalRegistry.load(name).path == str(tmp_path / "b")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 6, "The kind of storage is missing"),
        (["s3"], 10, "--bucket must be set"),
        (
            ["s3", "--buckett", "b"],
            10,
            "knows no --buckett; --bucket must be set What it knows is --bucket, --prefix, --endpoint-url",
        ),
        (["s3", "--bucket", "s3://b/c"], 10, "bucket must be a name only"),
        (["s3", "--bucket", "b", "--path-style", "perhaps"], 10, "--path-style must be true or false"),
        (["local", "--path", "relative"], 10, "path must be absolute"),
        (["local", "--path", "/proc/no/such"], 8, "/proc/no/such"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], code: int, told: str, command: Command, name: str) -> None:
    """By the option that it came from, and nothing is saved."""
    said = command("init", *arguments, "--name", name)
    assert said.code == code
    assert told in " ".join(said.err.split())
    assert find(name, [f"data-registry-{kind}" for kind in ("local", "s3")]) == []


def test_a_missing_option_says_what_it_is_for(command: Command, name: str) -> None:
    """Each sentence is about the option, and none about which registry is meant."""
    error = command("init", "s3", "--name", name, "--json").data["error"]
    assert error["what"] == "--bucket must be set"
    assert error["why"] == "Data Registry (S3) needs it (Name of the bucket, which must exist)"
    assert error["todo"] == "Correct it, and run this again"
    assert error["committed"] == "no"
    error = command("init", "s3", "--bucket", "a/b", "--name", name, "--json").data["error"]
    assert "which registry is meant" not in error["why"]
    assert error["todo"] == "Correct it, and run this again"


def test_a_name_that_prefect_does_not_take(command: Command, tmp_path: Path) -> None:
    """Prefect's own rule, as an error of ours."""
    said = command("init", "local", "--path", str(tmp_path), "--name", "not/a name")
    assert said.code == 10
    assert "could not be saved" in said.err
    assert "Traceback" not in said.err


def test_a_store_that_cannot_be_reached_now_may_be_saved_for_later(command: Command, name: str) -> None:
    """With --no-check; without, the exit code is that of the store's error."""
    arguments = ["init", "s3", "--bucket", "b", "--endpoint-url", "http://127.0.0.1:9", "--region", "r", "--name", name]
    assert command(*arguments).code in (8,)
    assert find(name, ["data-registry-s3"]) == []
    assert command(*arguments, "--no-check").code == 0
    assert S3Registry.load(name).endpoint_url == "http://127.0.0.1:9"


def test_secrets_come_from_the_environment_and_are_not_shown(
    command: Command, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are those of the scripts in blocks/."""
    monkeypatch.setenv("REGISTRY_S3_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("REGISTRY_S3_SECRET_ACCESS_KEY", "pLaNtEd+secret")
    said = command("init", "s3", "--bucket", "b", "--name", name, "--no-check")
    assert said.code == 0
    assert "pLaNtEd" not in said.out + said.err
    assert S3Registry.load(name).secret_access_key.get_secret_value() == "pLaNtEd+secret"


# -- at a terminal -----------------------------------------------------------------------------------------------------


class Terminal:
    """A person at a terminal: waits for a question, types the answer."""

    def __init__(self, *arguments: str, server: str) -> None:
        self.shown, self._seen = "", 0
        pid, self._fd = pty.fork()
        if pid == 0:
            environment = {**os.environ, "PREFECT_API_URL": server, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
            os.execve(sys.executable, [sys.executable, "-m", "prefect_registry", "init", *arguments], environment)
        self._pid = pid

    def wait_for(self, words: str) -> None:
        """Read on until ``words`` are shown, behind those that were waited for before."""
        deadline = time.monotonic() + 90
        while (found := self.shown.find(words, self._seen)) < 0:
            assert time.monotonic() < deadline, f"{words!r} is not shown:\n{self.shown}"
            assert self._read(), f"it ended without {words!r}:\n{self.shown}"
        self._seen = found + len(words)

    def answer(self, question: str, text: str) -> None:
        self.wait_for(question)
        os.write(self._fd, f"{text}\n".encode())

    def answer_blind(self, question: str, text: str) -> None:
        """Type only once the terminal has stopped to show what is typed: what came before is thrown away."""
        self.wait_for(question)
        deadline = time.monotonic() + 30
        while termios.tcgetattr(self._fd)[3] & termios.ECHO:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.write(self._fd, f"{text}\n".encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 90)[0]:
            return False
        try:
            chunk = os.read(self._fd, 4096)
        except OSError:  # how Linux says that the other side is gone
            return False
        self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", chunk.decode(errors="replace"))
        return bool(chunk)


def test_a_person_is_asked_for_what_is_missing(tmp_path: Path, name: str, prefect_server: str) -> None:
    """Kind, name, the fields of that kind; then it is tried, saved, and a flow is printed."""
    terminal = Terminal(server=prefect_server)
    terminal.answer("Where shall the registry live?", "local")
    terminal.answer("Name of the block", name)
    terminal.answer("Folder", "relative")
    terminal.wait_for("Once more, please")
    terminal.answer("Folder", str(tmp_path / "registry"))
    assert terminal.end() == 0, terminal.shown
    assert "path must be absolute" in " ".join(terminal.shown.split())
    assert "registry_run(" in terminal.shown
    assert LocalRegistry.load(name).path == str(tmp_path / "registry")


def test_a_wrong_option_is_refused_before_anything_is_asked(name: str, prefect_server: str) -> None:
    """No answer could mend it, so asking again would never end."""
    terminal = Terminal("s3", "--buckett", "b", "--anonymous", "perhaps", "--name", name, server=prefect_server)
    assert terminal.end() == 10, terminal.shown
    told = " ".join(terminal.shown.split())
    assert "knows no --buckett; --anonymous must be true or false" in told


def test_secrets_are_typed_blind_and_a_store_that_fails_is_saved_only_if_wanted(name: str, prefect_server: str) -> None:
    """The form follows the answers: a key asks for its secret, a server's address for the style of its URLs."""
    terminal = Terminal("s3", "--name", name, server=prefect_server)
    terminal.answer("Bucket", "data")
    terminal.answer("Prefix", "")
    terminal.answer("Endpoint URL", "http://127.0.0.1:9")
    terminal.answer("Path style", "y")
    terminal.answer_blind("Access Key ID", "AK")
    terminal.answer_blind("Secret Access Key", "pLaNtEd+secret")
    terminal.answer("Save it nevertheless?", "y")
    assert terminal.end() == 0, terminal.shown
    assert "pLaNtEd" not in terminal.shown
    saved = S3Registry.load(name)
    assert (saved.bucket, saved.path_style) == ("data", True)
    assert saved.secret_access_key.get_secret_value() == "pLaNtEd+secret"
