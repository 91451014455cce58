"""Forks a Python program for each ``python_forks_launcher.py`` that asks for one (see ``python_forks.py``)."""

from __future__ import annotations

import gc
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

IMPORTED = (
    "anyio._backends._asyncio", "distributed", "encodings.idna", "jinja2", "pandas", "prefect._internal.pytz",
    "prefect.artifacts", "prefect.cli.deploy", "prefect.cli.work_pool", "prefect.cli.worker",
    "prefect.runner._workspace_resolver", "prefect.runner._workspace_supervisor", "prefect.task_engine",
    "prefect.utilities.visualization", "prefect.workers.process", "prefect_dask", "prefect_registry.ingestion",
    "prefect_registry.tasks", "pyarrow.compute", "pyarrow.csv", "pyarrow.dataset", "pyarrow.json", "pyarrow.parquet",
    "pydantic.v1", "rich._emoji_codes",
)  # fmt: skip
"""What most of them import. Not the flows: these are found by the folder that they run in."""


@dataclass(frozen=True)
class Begun:
    """A child, and who waits for its end."""

    pid: int
    ended: int
    connection: socket.socket


def serve(listener: socket.socket) -> list[str]:
    """Fork for each request. Only a child returns from here: with its arguments, having taken over all else."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        # What is to be killed is killed before anybody hears of another's end.
        for key, _ in sorted(selector.select(), key=lambda ready: isinstance(ready[0].fileobj, int)):
            if key.data is None:
                connection, _ = listener.accept()
                try:
                    files, (arguments, folder, environment) = _request(connection)
                except (EOFError, OSError):  # it was killed before it had asked
                    connection.close()
                    continue
                pid = os.fork()
                if pid == 0:
                    for open_here in [*selector.get_map().values()]:
                        _close(open_here.fileobj)
                    selector.close()
                    connection.close()
                    _become(files, folder, environment)
                    return arguments
                for file in files:
                    os.close(file)
                begun = Begun(pid, os.pidfd_open(pid), connection)
                selector.register(connection, selectors.EVENT_READ, begun)
                selector.register(begun.ended, selectors.EVENT_READ, begun)
            elif key.fileobj == key.data.ended:
                _, status = os.waitpid(key.data.pid, 0)
                with suppress(OSError):  # it may have been killed
                    key.data.connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
                for open_here in (key.data.ended, key.data.connection):
                    with suppress(KeyError, ValueError):
                        selector.unregister(open_here)
                    _close(open_here)
            else:
                _hand_on(key.data, selector)


def _request(connection: socket.socket) -> tuple[list[int], tuple[list[str], str, dict[str, str]]]:
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as stream:
        asked = stream.read(int.from_bytes(size, "big"))
    return files, marshal.loads(asked)


def _become(files: list[int], folder: str, environment: dict[str, str]) -> None:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


def _hand_on(begun: Begun, selector: selectors.BaseSelector) -> None:
    try:
        signals = begun.connection.recv(16)
    except ConnectionError:
        signals = b""
    if not signals:
        selector.unregister(begun.connection)
    for number in signals or [signal.SIGKILL]:
        os.kill(begun.pid, number)  # it is still there, as a zombie if need be: nobody has waited for it


def _close(file: int | socket.socket) -> None:
    os.close(file) if isinstance(file, int) else file.close()


def _run(arguments: list[str], installed: list[str]) -> None:
    """What ``python`` does with these arguments."""
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kind, *rest = arguments
    if kind == "-m":
        sys.path[:] = [os.getcwd(), *own, *installed]
        sys.argv = rest
        sys.modules.pop(rest[0], None)  # run once more, under another name
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[:] = ["", *own, *installed]
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[:] = [str(Path(kind).parent), *own, *installed]
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


def main(launcher: str, address: str) -> None:
    """Serve until killed; in each child, run what was asked for."""
    sys.executable = launcher
    own = {str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    installed = [entry for entry in sys.path if entry not in own]
    for name in IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "forks have one thread"
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)
        arguments = serve(listener)
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()  # which was made of another environment
    _run(arguments, installed)


if __name__ == "__main__":
    main(*sys.argv[1:])
