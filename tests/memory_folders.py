"""A folder in memory, for tests that write many small files: a disk would only make them wait.

What a killed process has told the system to write is there for those that come later, synced or not, in memory as on a
disk: only a power cut would tell the two apart.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")


def memory_folder(least_bytes: int) -> str:
    """That folder; the one for temporary files where there is none, or has less room, or the machine less memory:
    containers often give 64 MiB.
    """
    if os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free >= least_bytes <= _available_bytes() // 2:
        return str(_IN_MEMORY)
    return tempfile.gettempdir()


def _available_bytes() -> int:
    """Memory that is free for programs; 0 when nobody says."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
