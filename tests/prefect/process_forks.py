"""Processes forked from one that has imported Prefect, which takes seconds: as good to signal and to kill as any.

A child is forked where its program's own code would begin, has the environment, output and signal handlers that a new
process would have, and ends as that would.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

IMPORTED_LATE = (
    "fastapi.encoders", "pandas", "prefect.flow_engine", "prefect.task_engine", "pyarrow.compute", "pyarrow.parquet"
)  # fmt: skip
"""What the first flow run of a process, its first task or its first table import."""


class Forked:
    """One of them, to the test that started it."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self._forks, self.pid = forks, pid
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """The exit code, or minus the signal, when it has ended."""
        if self._exit_code is None:
            self._exit_code = self._forks.ask(ended=self.pid)
        return self._exit_code

    def wait(self, seconds: float = 90) -> int:
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            assert time.monotonic() < deadline, f"process {self.pid} goes on after {seconds} seconds"
            time.sleep(0.02)
        return code

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The process that has imported what ``script`` does, and forks."""

    def __init__(self, script: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(script), "fork"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=script.parent,
            text=True,
        )  # fmt: skip

    def start(self, arguments: list[str], log: Path, environ: Mapping[str, str]) -> Forked:
        """A child that goes on as if the script, or ``-m`` and a module, had been started with ``arguments``."""
        return Forked(self, self.ask(arguments=arguments, log=str(log), environ=dict(environ)))

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


def fork_on_request() -> list[str] | None:
    """Fork a child for each line of standard input that asks for one.

    Returns in each child, with its arguments, and at the end of the input, with None.
    """
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    gc.freeze()  # children need not look through what they have inherited
    for line in sys.stdin:
        request = json.loads(line)
        if "ended" in request:
            pid, status = os.waitpid(request["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            assert threading.active_count() == 1, "threads would be missing in the child"
            answer = os.fork()
            if answer == 0:
                _become(Path(request["log"]), request["environ"])
                return list(request["arguments"])
        print(json.dumps(answer), flush=True)
    return None


def _become(log: Path, environ: dict[str, str]) -> None:
    """Let nothing of the parent be left but what it has imported."""
    import prefect.context

    with open(os.devnull, "rb") as nothing, open(log, "wb") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environ)
    prefect.context.refresh_global_settings_context()
