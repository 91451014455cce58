"""``run``: any command as a run, whose exit status decides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_registry.cli.opening import open_registry, where
from prefect_registry.cli.options import Json, RegistryName, Several, labels
from prefect_registry.cli.output import progress, report_error, say, write_json
from prefect_registry.cli.signals import Interrupted, Signals
from prefect_registry.credentials import has_secret
from prefect_registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from prefect_registry.registry import Registry, Run

NOT_EXECUTABLE, NO_SUCH_COMMAND = 126, 127
_LONG_FORM = "PREFECT_INTEGRATIONS_REGISTRY_"


def run(
    *command: str,
    purpose: Annotated[str | None, Parameter(help="What the run is for. [default: the command's name]")] = None,
    kind: Annotated[str | None, Parameter(help="Publish what the command leaves in its folder, as this kind.")] = None,
    mode: Annotated[
        Literal["replace", "append", "replace_partitions"], Parameter(help="How that changes the kind's table.")
    ] = "replace",
    partition: Annotated[Several, Parameter(help="The partition it replaces, name=value; may be repeated.")] = None,
    tag: Annotated[Several, Parameter(help="A label of the dataset, name=value; may be repeated.")] = None,
    config: Annotated[Several, Parameter(help="Recorded with the run, name=value; may be repeated.")] = None,
    revision: Annotated[str | None, Parameter(help="The version of the code; recorded with the run.")] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> int:
    """Run a command as a run: exit status 0 commits it, anything else, a signal or Ctrl-C rolls it back.

    $ prefect-registry run --purpose nightly --kind flights -- ./job.sh --year 2026

    The command finds in its environment PREFECT_REGISTRY_RUN_ID (for `registry.attach(...)`), PREFECT_REGISTRY_URL,
    PREFECT_REGISTRY_BLOCK (so that what it calls means this registry), and PREFECT_REGISTRY_FOLDER: an empty folder,
    whose contents become a dataset if --kind is given. Signals are passed on to it. Its exit status is passed through;
    one that could not be committed ends with the exit code of the error. Its arguments are not recorded: they may hold
    secrets. With --json its stdout goes to stderr.

    Parameters
    ----------
    command
        The command and its arguments, behind --.
    """
    if not command:
        raise InvalidInput.of("run", ["the command is missing"], todo="Write it behind --, as in: run -- ./job.sh")
    told = {"command": command[0], **(labels("--config", config) or {})}
    arguments = {"mode": mode, "partition": labels("--partition", partition), "tags": labels("--tag", tag)}
    _check_dataset(kind, arguments)
    if shutil.which(command[0]) is None:
        report_error(NotFound(f"There is no command {command[0]}", why="Nothing was begun", todo="Check the spelling",
                              committed="no"), json)  # fmt: skip
        return NO_SUCH_COMMAND
    found = open_registry(registry, create=True)
    with Signals() as signals, tempfile.TemporaryDirectory(prefix="prefect-registry-run-") as name:
        folder = Path(name).resolve()
        ended = _Ended(found)
        signals.wait()  # a run that is being begun has an end only when its id is known
        try:
            with found.run(purpose or Path(command[0]).name, revision=revision, config=told) as own:
                ended.run_id = own.id
                signals.check()
                say(f"Run {own.id} in {found.url}")
                ended.status = _execute(command, _environment(own, folder, registry), signals, quiet=json)
                signals.check()
                if ended.status:
                    raise CommandFailed(f"{command[0]} ended with exit status {ended.status}")
                if kind is not None:
                    ended.dataset = _publish(own, folder, kind, arguments)
                signals.wait()  # what is being decided is decided, and then told truthfully
        except (CommandFailed, Interrupted) as error:
            ended.rolled_back(error)
        ended.tell(json)
    return ended.status


GROUP = "Runs"
COMMANDS = {"run": run}


def _check_dataset(kind: str | None, arguments: Mapping[str, Any]) -> None:
    """Refuse what could not be published, or would be ignored, before hours of work and not after them."""
    mode, partition, tags = arguments["mode"], arguments["partition"], arguments["tags"]
    if kind is not None:
        from prefect_registry.datasets.checks import check_arguments

        check_arguments(kind, mode, partition, None, tags, None)
        return
    given = {"--mode": mode != "replace", "--partition": partition, "--tag": tags}
    ignored = [f"{name} is for a dataset, and without --kind there is none" for name, value in given.items() if value]
    if ignored:
        raise InvalidInput.of("run", ignored, todo="Name the kind that the folder's contents become: --kind")


class CommandFailed(Exception):
    """The command has ended with another exit status than 0."""


class _Ended:
    """How it ended, for people and programs."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.run_id = ""
        self.status = 0
        self.dataset: str | None = None
        self.state = "COMMITTED"
        self.why = ""

    def rolled_back(self, error: CommandFailed | Interrupted) -> None:
        """The run was given up because of ``error``, whose notes tell if even that went wrong."""
        if isinstance(error, Interrupted):
            self.status = self.status or 128 + error.number
        notes: list[str] = getattr(error, "__notes__", [])
        self.state, self.dataset = ("RUNNING" if notes else "ABORTED"), None
        self.why = ". ".join([str(error), *notes])

    def tell(self, as_json: bool) -> None:
        """One line, or one document."""
        if as_json:
            write_json("run/1", registry=self._registry.url, run_id=self.run_id or None, state=self.state,
                       exit_status=self.status, dataset=self.dataset, why=self.why or None)  # fmt: skip
        elif self.state == "COMMITTED":
            say(f"Committed {self.run_id}" + (f" with dataset {self.dataset}" if self.dataset else ""))
        else:
            say(f"{'Rolled back' if self.state == 'ABORTED' else 'Not committed:'} {self.run_id}: {self.why}")


def _environment(run: Run, folder: Path, wanted: str | None) -> Mapping[str, str]:
    own = {name: value for name, value in os.environ.items()
           if name.upper() not in (f"{_LONG_FORM}BLOCK", f"{_LONG_FORM}URL")}  # fmt: skip
    given = where(wanted).url
    url = given if has_secret(given) else run.registry.url  # the command has to sign in, too
    return own | {
        "PREFECT_REGISTRY_RUN_ID": run.id,
        "PREFECT_REGISTRY_URL": url,
        "PREFECT_REGISTRY_BLOCK": run.registry.reference or url,
        "PREFECT_REGISTRY_FOLDER": str(folder),
    }


def _execute(command: Sequence[str], environment: Mapping[str, str], signals: Signals, quiet: bool) -> int:
    """The exit status of the command, as a shell tells it: 128 and its number for a signal."""
    signals.wait()  # a child that nobody knows of could not be told to end
    sys.stdout.flush()
    try:
        child = subprocess.Popen(command, env=environment, stdout=sys.stderr.fileno() if quiet else None)
    except OSError as error:
        say(f"{command[0]} could not be started: {error.strerror}")
        return NOT_EXECUTABLE
    signals.pass_on(child)
    status = child.wait()
    return 128 - status if status < 0 else status


def _publish(run: Run, folder: Path, kind: str, arguments: Mapping[str, Any]) -> str:
    total = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
    with run.dataset(kind, **arguments) as dataset, progress(f"Storing {kind}", total) as bar:
        dataset.upload(folder, progress=bar)
    return dataset.id
