"""How every command speaks: data to stdout, talk to stderr, errors as exit codes."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from prefect_registry import errors
from prefect_registry.errors import RegistryError

EXIT_CODES: dict[type[RegistryError], int] = {
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.InvalidState: 5,
    errors.InvalidInput: 6,
    errors.IntegrityError: 7,
    errors.FormatError: 7,
    errors.StorageError: 8,
    errors.RecoverableError: 9,
    errors.ConfigurationError: 10,
}
NOT_DONE = 1


def exit_code(error: RegistryError) -> int:
    """The exit code of an error's family."""
    return next((code for family, code in EXIT_CODES.items() if isinstance(error, family)), NOT_DONE)


def talk() -> Console:
    """Where a command talks to a person: stderr."""
    return Console(stderr=True, highlight=False)


def write_json(schema: str, **data: Any) -> None:
    """One JSON document to stdout, which names its schema and version."""
    print(json.dumps({"schema": schema, **data}, indent=2, default=str))


def write(text: str) -> None:
    """Text to stdout as it is."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def report_error(error: RegistryError, as_json: bool) -> int:
    """Say what went wrong, why, and what to do. Returns the exit code."""
    if as_json:
        write_json("error/1", error=error.as_dict())
    else:
        console = talk()
        console.print(error.what, style="bold red", markup=False)
        for line in (error.why, error.todo):
            if line:
                console.print(line, markup=False)
    return exit_code(error)
