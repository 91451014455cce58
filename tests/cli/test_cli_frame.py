"""What all commands have in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_registry import errors
from prefect_registry.cli.commands import all_commands
from prefect_registry.cli.output import EXIT_CODES, exit_code, report_error
from prefect_registry.errors import RegistryError

NAMES = [name for name, _, _ in all_commands()]
SLOW = {"prefect", "s3fs", "gcsfs", "adlfs", "aiobotocore", "pyarrow", "pandas", "pydantic", "sqlite3"}


def test_help_is_quick() -> None:
    """Of the whole and of every command: it imports neither Prefect, which takes a second, nor a client of a store."""
    code = f"""
import sys
from prefect_registry.cli.app import run
for name in {NAMES}:
    run([*name.split(), "--help"])
run(["--help"]), run(["--version"])
print(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(done.stderr.split()) & SLOW


def test_help_names_every_command(command: Callable[..., Any]) -> None:
    """Under its heading, and how to get completion in the shell."""
    said = command("--help")
    assert said.code == 0
    for word in (*{name.partition(" ")[0] for name in NAMES}, "Housekeeping", "--install-completion", "Exit codes"):
        assert word in said.out


def test_a_module_is_a_command(tmp_path: Path) -> None:
    """Whoever adds one writes a module with GROUP and COMMANDS, and nothing else."""
    (tmp_path / "hello.py").write_text("def hello():\n    '''Say it.'''\n    print('hello')\n\nGROUP = 'Talking'\n"
                                       "COMMANDS = {'hello': hello}\n")  # fmt: skip
    code = (
        "import sys, prefect_registry.cli.commands as c; c.__path__.append(sys.argv[1]);"
        "from prefect_registry.cli.app import run; run(['--help']); sys.exit(run(['hello']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert "Talking" in done.stdout
    assert done.stdout.endswith("hello\n")


def test_wrong_usage_is_told_on_stderr(command: Callable[..., Any]) -> None:
    """With the exit code that shells expect of it."""
    for arguments in (["no-such-command"], ["doctor", "--no-such-option"], ["init", "floppy"]):
        said = command(*arguments)
        assert said.code == 2
        assert said.out == ""
        assert said.err
    said = command("doctor", "--json", "--no-such-option")
    assert (said.code, json.loads(said.out)["error"]["kind"]) == (2, "invalid_input")
    assert "--no-such-option" in json.loads(said.out)["error"]["what"]


def test_completion_can_be_installed(tmp_path: Path) -> None:
    """For the shells that have it."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect_registry", "--install-completion", "--shell", "bash"],
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    (script,) = (path.read_text() for path in tmp_path.rglob("*") if "prefect-registry" in path.name)
    assert all(word in script for name in NAMES for word in (*name.split(), "--registry", "mermaid"))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def families() -> Iterator[type[RegistryError]]:
    found = [RegistryError]
    while found:
        cls = found.pop()
        yield cls
        found += cls.__subclasses__()


@pytest.mark.parametrize("cls", [c for c in families() if c.__module__ == errors.__name__], ids=lambda c: c.__name__)
def test_every_error_has_the_exit_code_of_its_family(
    cls: type[RegistryError], capsys: pytest.CaptureFixture[str]
) -> None:
    """And is one JSON document when a program asked."""
    error = cls("It went [bold]wrong[/]", why="Because", todo="Mend it", committed="no")
    expected = next((code for family, code in EXIT_CODES.items() if issubclass(cls, family)), 1)
    assert (exit_code(error), cls is RegistryError) in {(expected, expected == 1)}
    assert report_error(error, as_json=False) == expected
    out, err = capsys.readouterr()
    assert out == ""
    assert "It went [bold]wrong[/]" in err
    report_error(error, as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "prefect-registry/error/1"
    assert data["error"]["kind"] == cls.kind
    assert data["error"]["todo"] == "Mend it"


def test_a_person_is_told_what_is_not_known_to_have_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """``committed: unknown`` is no failure, and what else went wrong is a note; that nothing was done goes without."""
    error = errors.OutcomeUnknown("The store did not answer", committed="unknown")
    error.add_note("Run run_x could not be rolled back")
    report_error(error, as_json=False)
    err = capsys.readouterr().err
    assert "Committed: unknown\n" in err
    assert "Run run_x could not be rolled back\n" in err
    report_error(errors.InvalidInput("Wrong", committed="no"), as_json=False)
    assert "ommitted" not in capsys.readouterr().err
