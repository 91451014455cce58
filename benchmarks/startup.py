"""What importing costs beside Prefect, and what an empty registry run adds to an empty flow."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.measure import Result


def imports() -> Iterator[Result]:
    """Milliseconds that ``import prefect_registry`` adds to ``import prefect``, each in a new process."""
    base = "import time; import prefect; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    for what, statement in (
        ("prefect_registry", "import prefect_registry"),
        ("its registry_run and Registry", "from prefect_registry import Registry, registry_run"),
    ):
        times = []
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, "-c", base.format(statement)], capture_output=True, text=True, check=True
            )
            times.append(float(done.stdout) * 1000)
        value = statistics.median(times)
        yield Result(f"import of {what} after prefect", value, "ms", "at most 150 ms", value <= 150)


def empty_run() -> Iterator[Result]:
    """Milliseconds that ``@registry_run`` adds to an empty flow on a local disk."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(PREFECT_HOME=folder, PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")
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

        def once(call) -> float:  # type: ignore[no-untyped-def]
            start = time.perf_counter()
            call()
            return (time.perf_counter() - start) * 1000

        with (
            prefect_test_harness(server_startup_timeout=120),
            temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        ):
            registered(), empty()
            pairs = [(once(registered), once(empty)) for _ in range(25)]
    added = statistics.median(a - b for a, b in pairs)
    base = statistics.median(b for _, b in pairs)
    yield Result("an empty registry run beside an empty flow", added, "ms", "at most 15 ms", added <= 15,
                 f"the empty flow takes {base:.0f} ms")  # fmt: skip
