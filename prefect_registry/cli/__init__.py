"""The command line ``prefect-registry``: data on stdout, talk on stderr, exit codes by the kind of error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code. Signals that end it leave nothing half done."""
    from prefect_registry.cli.app import run

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:
            signal.signal(getattr(signal, name), _leave)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _leave(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, through every ``with`` block on the way."""
    sys.exit(128 + number)
