"""What importing costs beside Prefect, what an empty registry run adds to an empty flow, what of that is capturing the
program, and the command line.
"""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Result, paired


def imports() -> Iterator[Result]:
    """Milliseconds that imports add to what a flow imports anyway, in new processes."""
    for first, second in (
        ("import prefect", "import prefect_registry"),
        ("from prefect import flow", "from prefect_registry import Registry, registry_run"),
    ):
        times = [_import_times(first, second) for _ in range(9)]
        without, added = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        yield Result(f"'{second}' adds to '{first}'", added, "ms", "at most 150 ms", added <= 150,
                     f"without: {without:.0f} ms")  # fmt: skip


def _import_times(first: str, second: str) -> tuple[float, float]:
    code = f"from time import perf_counter as now; a = now(); {first}; b = now(); {second}; print(b - a, now() - b)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    one, other = done.stdout.split()
    return float(one), float(other)


def command_line() -> Iterator[Result]:
    """Milliseconds of ``prefect-registry --help``, beside those of a Python that does nothing."""
    program = str(Path(sysconfig.get_path("scripts")) / "prefect-registry")
    pair = paired(
        lambda: subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL),
        lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        9,
    )
    yield Result("prefect-registry --help", pair.ours * 1000, "ms", "under 500 ms", pair.ours < 0.5,
                 f"Python alone: {pair.baseline * 1000:.0f} ms")  # fmt: skip


_CAPTURE = """
from time import perf_counter as now, thread_time
import prefect_registry.runs
from benchmarks import startup
from prefect_registry.capture import Capturing
def once():
    began = now()
    captured = Capturing.of(startup.capture).finish()
    return (now() - began) * 1000, captured
began = thread_time()
cold, captured = once()
busy = (thread_time() - began) * 1000
Capturing.of(startup.capture)._changes.answer(2)
warm = sorted(once()[0] for _ in range(51))[25]
print(cold, warm, int(captured.code["dirty"] is not None), len(captured.environment["packages"]), busy)
"""


def capture() -> Iterator[Result]:
    """Milliseconds to capture code and environment: the first time in a process, in which git is asked, and later."""
    run = [sys.executable, "-c", _CAPTURE]
    done = [subprocess.run(run, check=True, capture_output=True, text=True).stdout.split() for _ in range(9)]
    cold, warm, busy = (statistics.median(float(line[i]) for line in done) for i in (0, 1, 4))
    answered, packages = sum(int(line[2]) for line in done), done[0][3]
    yield Result("capturing code and environment, first in a process", cold, "ms", "under 10 ms", cold < 10,
                 f"{busy:.1f} ms of it computing; {packages} packages; git was in time in {answered} of 9")  # fmt: skip
    yield Result("capturing code and environment, later", warm, "ms", "under 1 ms", warm < 1)


def empty_run() -> Iterator[Result]:
    """Milliseconds that ``@registry_run`` adds to an empty flow on a local disk; both report to one real server."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            PREFECT_HOME=folder, PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1",
            PREFECT_LOGGING_LEVEL="WARNING",
        )  # fmt: skip
        from prefect import flow
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
        from prefect.testing.utilities import prefect_test_harness

        from prefect_registry import registry_run

        @flow
        def empty() -> None:
            return None

        @registry_run(os.path.join(folder, "store"))
        @flow
        def registered() -> None:
            return None

        logging.getLogger("prefect").setLevel(logging.WARNING)
        without_heartbeats = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
        with prefect_test_harness(server_startup_timeout=120), without_heartbeats:
            pair = paired(registered, empty, 40)
    added = pair.added * 1000
    yield Result("an empty registry run, to an empty flow, adds", added, "ms", "at most 15 ms", added <= 15,
                 f"without: {pair.baseline * 1000:.0f} ms")  # fmt: skip
