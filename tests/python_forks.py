"""Python programs that are forked from one that has imported Prefect, instead of importing it in each.

A Prefect worker starts three Python programs for a flow run, each of which would import Prefect, for seconds of
processor time. With :func:`forking_python` they are what they are anyhow, processes of their own that run those
programs with their own arguments, environment, folder and files; but they are children of a server
(``python_forks_server.py``) that has the imports behind it. What stands for ``python`` is ``python_forks_launcher.py``:
it asks the server for such a child, hands on the signals that it gets, and ends as the child does. When it is killed,
so is the child.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.demo.processes import child

TESTS = Path(__file__).parent
START_SECONDS = 180


def can_wait_for_forks() -> bool:
    """Whether this is Linux, and nothing keeps processes from looking at each other's end."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


@contextmanager
def forking_python(environment: Mapping[str, str]) -> Iterator[str]:
    """What to start instead of this Python, by programs with that environment; so do those that they start."""
    if not can_wait_for_forks():
        yield sys.executable
        return
    with tempfile.TemporaryDirectory() as folder:
        launcher, address = Path(folder, "python"), Path(folder, "python.socket")
        code = (TESTS / "python_forks_launcher.py").read_text(encoding="utf-8")
        launcher.write_text(f"#!{sys.executable} -IS\n{code}", encoding="utf-8")
        launcher.chmod(0o755)
        arguments = [str(TESTS / "python_forks_server.py"), str(launcher), str(address)]
        with child("fork server", arguments, environment, Path(folder)) as server:
            server.wait_until(address.exists, START_SECONDS)
            yield str(launcher)
