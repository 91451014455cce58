"""Runs all tests in three lanes at the same time, since many of them wait: for servers, workers, leases, disks.

The output of the first is shown as it comes, that of the others when all have ended. A folder that is not named here
belongs to the first lane, so none is left out. Each lane keeps its own record of what failed, for ``--last-failed``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from memory_folders import memory_folder

TESTS = Path(__file__).parent
CACHE = Path(".pytest_cache")
LANES = {
    "own": ("objects", "protocol", "registry"),
    "prefect": ("ingestion", "prefect", "storage"),
}
"""The lanes beside the first, by the folders that they run. All three take about as long."""
ON_DISK = "prefect"
"""The lane whose stores lie on a disk: it has the tests of storage, and of large files."""
ROOM_BYTES = 6 << 30
"""What memory the others need to have theirs there, and their servers' (``memory_folders.py``)."""
NOTHING_COLLECTED = 5


def main() -> int:
    """Run all lanes with the arguments of pytest that were given; 0 when all passed."""
    pytest = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    others = {
        name: [*pytest, "-o", f"cache_dir={CACHE / name}", *(str(TESTS / folder) for folder in folders)]
        for name, folders in LANES.items()
    }
    elsewhere = [f"--ignore={TESTS / folder}" for folders in LANES.values() for folder in folders]
    with ExitStack() as stack:
        memory = stack.enter_context(_folder())
        os.chmod(memory, 0o755)
        env = {**os.environ, "TMPDIR": memory}
        outputs = {name: stack.enter_context(tempfile.TemporaryFile()) for name in others}
        beside = {
            name: stack.enter_context(_lane(command, outputs[name], os.environ if name == ON_DISK else env))
            for name, command in others.items()
        }
        statuses = {"first": subprocess.run([*pytest, *elsewhere], check=False, env=env).returncode}
        statuses |= {name: lane.wait() for name, lane in beside.items()}
        for name, output in outputs.items():
            output.seek(0)
            print(f"\nAt the same time ran {', '.join(f'tests/{folder}' for folder in LANES[name])}:\n", flush=True)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    for name in LANES:
        _mark(CACHE / name / "failed", statuses[name] not in (0, NOTHING_COLLECTED))
    return max((status for status in statuses.values() if status != NOTHING_COLLECTED), default=NOTHING_COLLECTED)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=memory_folder(ROOM_BYTES), ignore_cleanup_errors=True)


@contextmanager
def _lane(command: Sequence[str], output: IO[bytes], env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, also by an interrupt."""
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _mark(file: Path, failed: bool) -> None:
    """Leave a mark for CI, which runs some lanes never a second time."""
    file.unlink(missing_ok=True)
    if failed:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


if __name__ == "__main__":
    sys.exit(main())
