"""The whole of the command line: its commands, and how each of them ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from prefect_registry import __version__
from prefect_registry.cli.commands import all_commands, all_parents
from prefect_registry.cli.output import report_error
from prefect_registry.errors import InvalidInput, RegistryError

USAGE = 2
INTERRUPTED = 130
NOBODY_READS = 141
EPILOGUE = (
    "Exit codes: 0 done, 1 not done, 2 wrong usage, 3 not found, 4 conflict, 5 invalid state, 6 invalid input, 7 "
    "corrupt or unknown format, 8 storage, 9 try again, 10 configuration, 130 interrupted."
)


def build() -> App:
    """The commands, each below its heading."""
    app = App(
        name="prefect-registry",
        help="A transactional registry of runs and datasets for Prefect flows, in your own object store.",
        version=__version__,
        help_epilogue=EPILOGUE,
    )
    app.register_install_completion_command()
    parents: dict[str, App] = {}
    for name, group, text in all_parents():
        parents[name] = App(name=name, help=text, group=group, version_flags=[])
        app.command(parents[name])
    for name, group, command in all_commands():
        parent, _, own = name.rpartition(" ")
        # Named, not given: the arguments of a command are looked at only when it is the one that is meant.
        where = f"{command.__module__}:{command.__name__}"
        if parent:
            parents[parent].command(where, name=own, help=command.__doc__)
        else:
            app.command(where, name=own, group=group, help=command.__doc__)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    as_json = "--json" in _own(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe on Windows, and many a locale, cannot say every name
        sys.stdout.reconfigure(errors="backslashreplace")
    errors = Console(stderr=True)
    try:
        code = build()(
            list(arguments), exit_on_error=False, print_error=True, error_console=errors, result_action="return_value"
        )
        sys.stdout.flush()
    except CycloptsError as error:  # it has been told on stderr
        if as_json:
            report_error(InvalidInput(str(error), todo="See --help", committed="no"), as_json)
        return USAGE
    except RegistryError as error:
        return report_error(error, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return NOBODY_READS
    except OSError as error:  # of the files of this machine that a command reads and writes
        return report_error(_of_this_machine(error), as_json)
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _of_this_machine(error: OSError) -> RegistryError:
    """A file or folder of this machine that cannot be read or written, as an error like all others."""
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return RegistryError(
        f"A file or folder cannot be used: {names}" if names else "A file or folder of this machine cannot be used",
        why=error.strerror or str(error) or type(error).__name__,
        todo="Mend that, or name another one, and try again",
    )


def _own(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments that are not those of a wrapped command."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
