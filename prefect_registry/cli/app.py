"""The commands. Each is imported only when it is called, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from prefect_registry import __version__
from prefect_registry.cli.output import report_error
from prefect_registry.errors import RegistryError

INIT = """Configure a registry: ask for its store, try it, save it as a block in Prefect, and print a flow that works.

With a terminal it asks for what is missing. Without one, or with --no-input, everything comes from options, which are
named after the fields of the block; a field that is not given is taken from the environment:

$ prefect-registry init s3 --bucket my-bucket --prefix team --endpoint-url https://minio.example.com

reads the keys from REGISTRY_S3_ACCESS_KEY_ID and REGISTRY_S3_SECRET_ACCESS_KEY. Give no secret as an option: other
users of the machine would see it. The flow goes to stdout, all talk to stderr:

$ prefect-registry init local --path ~/registry > flow.py && python flow.py
"""

DOCTOR = """Look for what keeps a registry from working, and say how to mend it.

It tries the store with a few small objects below .probe/ and deletes them again. Nothing else is changed.
"""

USAGE = 2
INTERRUPTED = 130


def build() -> App:
    """The whole of the command line."""
    app = App(
        name="prefect-registry",
        help="A transactional registry of runs and datasets for Prefect flows, in your own object store.",
        version=__version__,
        help_epilogue="Exit codes: 0 done, 1 not done, 2 wrong usage, 3 not found, 4 conflict, 5 invalid state, 6 "
        "invalid input, 7 corrupt or unknown format, 8 storage, 9 try again, 10 configuration, 130 interrupted.",
    )
    app.register_install_completion_command()
    app.command(
        "prefect_registry.cli.init:init",
        name="init",
        help=INIT,
    )
    app.command(
        "prefect_registry.cli.doctor:doctor",
        name="doctor",
        help=DOCTOR,
    )
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    as_json = "--json" in arguments
    errors = Console(stderr=True)
    try:
        code = build()(
            list(arguments), exit_on_error=False, print_error=True, error_console=errors, result_action="return_value"
        )
    except CycloptsError:
        return USAGE
    except RegistryError as error:
        return report_error(error, as_json)
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED
    return code if isinstance(code, int) else 0
