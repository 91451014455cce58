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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: int, code: int) -> None:
    """Interrupted while the server starts, it ends what it has started and removes its folder."""
    command = [sys.executable, "-m", "flows.demo"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdout is not None
        eventually(lambda: started_below(tmp_path), "the start of a server")
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(30) == code, rest
    assert started_below(tmp_path) == []
    assert list(tmp_path.glob("prefect-registry-demo-*")) == []
