"""The demo cleans up after itself. That it shows what it should is its own business: it stops when it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from worker_support import eventually

pytestmark = pytest.mark.prefect
ROOT = Path(__file__).parents[2]


def started_below(folder: Path) -> list[psutil.Process]:
    """The processes that have a Prefect home in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT_HOME", "").startswith(str(folder)):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def is_flow_run(process: psutil.Process) -> bool:
    """Whether it is the process of a flow run."""
    try:
        return any(word.startswith("prefect.engine") for word in process.cmdline())
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False


@pytest.mark.parametrize(
    ("said", "with_flow_run", "number", "code"),
    [
        ("Starting a Prefect server", False, signal.SIGTERM, 143),
        ("Running the main job", True, signal.SIGINT, 130),
        pytest.param("Running it once more", True, signal.SIGTERM, 143, marks=pytest.mark.deep),
    ],
    ids=["act 1", "act 2", "act 4"],
)
def test_interrupted(tmp_path: Path, said: str, with_flow_run: bool, number: int, code: int) -> None:
    """Interrupted while the server starts, or while a flow run is at work, it ends what it has started, the process of
    the flow run too, and removes its folder.
    """
    command = [sys.executable, "-m", "flows.demo"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    output = tmp_path / "output"
    with open(output, "wb") as file:
        demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: f"… {said}" in output.read_text(), said, within=120)
        eventually(
            lambda: any(is_flow_run(p) for p in started_below(tmp_path)) or not with_flow_run, "a flow run's process"
        )
        eventually(lambda: started_below(tmp_path), "a process")
        demo.send_signal(number)
        assert demo.wait(30) == code, output.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert [p.cmdline() for p in started_below(tmp_path)] == []
    assert list(tmp_path.glob("prefect-registry-demo-*")) == []
