"""The command line ``prefect-registry``: data on stdout, talk on stderr, exit codes by the kind of error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    from prefect_registry.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
