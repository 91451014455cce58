"""Runs all tests in two halves at the same time: those that mostly wait for Prefect, and those that mostly compute.

The output of the first is shown as it comes, that of the second when both have ended. A folder that is not named here
belongs to the first half, so none is left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
OWN = ("catalog", "protocol", "registry", "storage")
"""What tests our own protocol, storage and reads: the second half. It keeps its own record of what failed."""
OWN_CACHE = ".pytest_cache/own"
NOTHING_COLLECTED = 5


def main() -> int:
    """Run both halves with the arguments of pytest that were given; 0 when all passed."""
    pytest = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    first = [*pytest, *(f"--ignore={TESTS / name}" for name in OWN)]
    second = [*pytest, "-o", f"cache_dir={OWN_CACHE}", *(str(TESTS / name) for name in OWN)]
    failed = Path(OWN_CACHE) / "failed"
    failed.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as output:
        others = subprocess.Popen(second, stdout=output, stderr=subprocess.STDOUT)
        try:
            statuses = [subprocess.run(first, check=False).returncode, others.wait()]
        finally:
            others.kill()
            others.wait()
        output.seek(0)
        print(f"\nAt the same time ran {', '.join(f'tests/{name}' for name in OWN)}:\n", flush=True)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    if statuses[1] not in (0, NOTHING_COLLECTED):
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.touch()  # for CI, which never runs these a second time
    return max((status for status in statuses if status != NOTHING_COLLECTED), default=NOTHING_COLLECTED)


if __name__ == "__main__":
    sys.exit(main())
