"""`prefect-registry run`: real commands, real signals; the exit status decides."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.cli.commands.run import _environment
from prefect_registry.registry import Registry

Command = Callable[..., Any]
PROGRAM = [sys.executable, "-m", "prefect_registry"]


def sh(script: str) -> list[str]:
    return ["--", "sh", "-c", script]


def test_exit_status_0_publishes_the_folder(command: Command, tmp_path: Path) -> None:
    """What the command leaves in its folder is one dataset of the kind, visible when the run is committed."""
    url = str(tmp_path / "registry")
    script = 'mkdir "$PREFECT_REGISTRY_FOLDER/a" && printf hello > "$PREFECT_REGISTRY_FOLDER/a/x.txt"; echo told'
    options = ["--purpose", "nightly", "--kind", "notes", "--tag", "by=cli", "--config", "year=2026", "-r", url]
    said = command("run", *options, *sh(script))
    assert (said.code, said.out) == (0, "told\n")
    registry = Registry(url)
    dataset = registry.latest("notes")
    assert [f.path for f in dataset.files] == ["a/x.txt"]
    assert dataset.tags == {"by": "cli"}
    run = registry.get_run(dataset.run_id)
    assert (run.purpose, run.state) == ("nightly", "COMMITTED")
    assert run.config == {"command": "sh", "year": "2026"}
    assert run.id in said.err


@pytest.mark.parametrize("status", [1, 77, 130])
def test_another_exit_status_rolls_back_and_is_passed_through(status: int, command: Command, tmp_path: Path) -> None:
    """Nothing of the folder is stored; the run tells why, and so does an incident."""
    url = str(tmp_path / "registry")
    script = f'echo x > "$PREFECT_REGISTRY_FOLDER/x.txt"; echo told; exit {status}'
    said = command("run", "--kind", "notes", "--json", "-r", url, *sh(script))
    assert said.code == said.data["exit_status"] == status
    assert "told" in said.err
    registry = Registry(url)
    run = registry.get_run(said.data["run_id"])
    assert run.state == said.data["state"] == "ABORTED"
    assert run.failure is not None
    assert run.failure.cls == "CommandFailed"
    assert [i.error_class for i in registry.incidents(run_id=run.id)] == ["CommandFailed"]
    assert not list((tmp_path / "registry").rglob("x.txt"))


def test_the_command_works_in_the_run(tmp_path: Path) -> None:
    """A program of ours finds registry and run in its environment, whatever this machine's own settings are."""
    url = str(tmp_path / "registry")
    program = (
        "import os; from prefect_registry.registry import Registry;"
        "run = Registry(os.environ['PREFECT_REGISTRY_URL']).attach(os.environ['PREFECT_REGISTRY_RUN_ID']);"
        "run.emit_event('Worked', 'me')"
    )
    environment = {**os.environ, "PREFECT_REGISTRY_BLOCK": "data-registry-s3/other"}
    done = subprocess.run(
        [*PROGRAM, "run", "--json", "-r", url, "--", sys.executable, "-c", program],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (event,) = Registry(url).events(event_name="Worked")
    assert event.run_id == json.loads(done.stdout)["run_id"]


def test_what_calls_without_a_name_mean_is_this_registry(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PREFECT_REGISTRY_BLOCK names it, and what named another one in a longer form is taken away."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_REGISTRY_BLOCK", "data-registry-s3/other")
    url = str(tmp_path / "registry")
    said = command("run", "-r", url, *sh('echo "$PREFECT_REGISTRY_BLOCK+$PREFECT_INTEGRATIONS_REGISTRY_BLOCK"'))
    assert said.out == f"{url}+\n"


def test_the_command_can_sign_in_where_this_one_did(tmp_path: Path) -> None:
    """A URL with a password is handed on as it was given, though it is shown nowhere."""
    given = "sftp://me:planted@files.example/registry"
    with Registry(tmp_path / "registry").run("signed in") as own:
        told = _environment(own, tmp_path, given)
    assert told["PREFECT_REGISTRY_URL"] == told["PREFECT_REGISTRY_BLOCK"] == given


def test_what_cannot_be_published_rolls_back(command: Command, tmp_path: Path) -> None:
    """An empty folder is a mistake of the command: exit code of wrong input, and the run is rolled back."""
    url = str(tmp_path / "registry")
    said = command("run", "--kind", "notes", "-r", url, "--", "true")
    assert said.code == 6
    assert [run.state for run in Registry(url).runs()] == ["ABORTED"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "notes", "--mode", "replace_partitions"], "needs partition="),
        (["--kind", "no\nname"], "kind"),
        (["--mode", "append"], "--mode is for a dataset, and without --kind there is none"),
        (["--partition", "month=7", "--tag", "a=b"], "--tag is for a dataset"),
    ],
)
def test_what_could_not_be_published_is_refused_before_the_command(
    options: list[str], words: str, command: Command, tmp_path: Path
) -> None:
    """And not when its work is done; nor is what it leaves in its folder dropped without a word."""
    said = command("run", *options, "-r", str(tmp_path / "registry"), *sh(f"touch {tmp_path / 'ran'}"))
    assert (said.code, words in said.err) == (6, True)
    assert not list(tmp_path.iterdir())


def test_a_command_that_does_not_exist_begins_no_run(command: Command, tmp_path: Path) -> None:
    """Exit status of the shell for it; and one that is no program rolls its run back."""
    url = str(tmp_path / "registry")
    assert command("run", "-r", url, "--", "no-such-command-at-all").code == 127
    said = command("run", "--json", "-r", url, "--", "no-such-command-at-all")
    assert (said.code, said.data["error"]["kind"]) == (127, "not_found")
    assert not (tmp_path / "registry").exists()
    assert command("run", "-r", url).code == 6
    text = tmp_path / "text"
    text.write_bytes(b"\x7fELF, it says")
    text.chmod(0o755)
    assert command("run", "-r", url, "--", str(text)).code == 126
    assert [run.state for run in Registry(url).runs()] == ["ABORTED"]


def test_what_somebody_else_decided_is_told(command: Command, tmp_path: Path) -> None:
    """A run that was closed meanwhile is not said to be committed."""
    url = str(tmp_path / "registry")
    close = f"{sys.executable} -m prefect_registry close $PREFECT_REGISTRY_RUN_ID --failed -r {url}"
    said = command("run", "-r", url, *sh(close))
    assert said.code == 5
    assert "Committed run" not in said.err


@contextlib.contextmanager
def started(url: str, script: str, tmp_path: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """``prefect-registry run`` around a shell script, which has said ``ready``."""
    program = [*PROGRAM, "run", "--kind", "notes", "-r", url, *sh(script)]
    with subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "ready\n"
        try:
            yield p
        finally:
            p.kill()


LIVES = 'echo x > "$PREFECT_REGISTRY_FOLDER/x"; echo ready; while :; do sleep 0.05; done'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_rolls_back(number: signal.Signals, tmp_path: Path) -> None:
    """The exit status is the one that shells give to it, and the command is gone before the run is decided."""
    url = str(tmp_path / "registry")
    script = f"trap 'echo told; exit 0' {number.name[3:]}; {LIVES}"
    with started(url, script, tmp_path, start_new_session=True) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + number, "told\n")
    (run,) = Registry(url).runs()
    assert run.state == "ABORTED"
    assert run.failure is not None
    assert (run.failure.kind, run.failure.message) == ("cancelled", number.name)
    assert f"Rolled back {run.id}: {number.name}" in err


WHILE_DECIDING = """
import sys, time
from prefect_registry.cli import main
from prefect_registry.storage.local import LocalStorage
whole = LocalStorage.create
def slowly(self, key, *arguments, **options):
    made = whole(self, key, *arguments, **options)
    if key.endswith(sys.argv[1]):
        print("ready", flush=True)
        time.sleep(1)
    return made
LocalStorage.create = slowly
main(sys.argv[2:])
"""


@pytest.mark.parametrize(("key", "status", "state"), [("/begin.json", 130, "ABORTED"), ("/end.json", 0, "COMMITTED")])
def test_ctrl_c_in_the_middle_of_a_decision_leaves_nothing_half_done(
    key: str, status: int, state: str, tmp_path: Path
) -> None:
    """A run that is being begun is rolled back; one that is being committed is committed, and said to be."""
    url = str(tmp_path / "registry")
    program = [sys.executable, "-c", WHILE_DECIDING, key, "run", "-r", url, "--", "true"]
    with subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    (run,) = Registry(url).runs()
    assert run.state == state
    assert f"{'Committed' if status == 0 else 'Rolled back'} {run.id}" in err


def test_a_command_that_is_killed_rolls_back(tmp_path: Path) -> None:
    """Its signal is in the exit status."""
    url = str(tmp_path / "registry")
    with started(url, "echo ready; kill -9 $$", tmp_path) as process:
        process.communicate(timeout=30)
    assert process.returncode == 137
    assert [run.state for run in Registry(url).runs()] == ["ABORTED"]


def test_ctrl_c_in_a_terminal_comes_once(tmp_path: Path) -> None:
    """The terminal sends it to the command itself: it is not passed on a second time, and the run is rolled back."""
    url = str(tmp_path / "registry")
    counted = tmp_path / "count"
    script = f"trap 'echo x >> {counted}; sleep 0.3; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "run", "-r", url, *sh(script)], cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(inside)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    read_to_the_end(terminal)
    assert process.wait(30) == 3
    assert counted.read_text() == "x\n"
    assert [run.state for run in Registry(url).runs()] == ["ABORTED"]


def read_to_the_end(terminal: int) -> None:
    """Else the other side would wait for somebody to read."""
    with contextlib.suppress(OSError):  # the other side is closed
        while os.read(terminal, 1024):
            pass
    os.close(terminal)


def test_killed_with_kill_9_nothing_is_published(command: Command, tmp_path: Path) -> None:
    """What is left open is rolled back by the next `reap`, at once: the process is gone."""
    url = str(tmp_path / "registry")
    with started(url, f"exec </dev/null; {LIVES.replace(':', 'kill -0 $PPID 2>/dev/null')}", tmp_path) as process:
        process.kill()
        process.wait(30)
        time.sleep(0.1)
    registry = Registry(url)
    (run,) = registry.runs()
    assert run.state == "RUNNING"
    said = command("reap", "-r", url)
    assert (said.code, said.out.split()) == (0, [run.id])
    assert registry.get_run(run.id).state == "ABORTED"
