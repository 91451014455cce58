"""What CI is told: that all passed, if all did, and else that something failed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = """#!/bin/sh
case " $* " in
*" $FAILING "*) exit 3 ;;
esac
"""


@pytest.mark.parametrize("failing", ["", "azurite", "setup", "lint", "demo", "test", "test-azure", "test-browser"])
def test_the_result_of_a_run_is_that_of_its_steps(failing: str, tmp_path: Path) -> None:
    """The script passes if every step does; a step that fails fails it, whether it ran beside others or not."""
    for name, text in {"make": MAKE, "chromium": "#!/bin/sh\n"}.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(text)
        tool.chmod(0o755)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "FAILING": failing or "nothing"}
    done = subprocess.run(["bash", tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == (not failing), done.stdout + done.stderr
    assert ("all passed" in done.stdout) == (not failing)
