"""Folders on this disk that go when they are not needed any more."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

_lock = threading.Lock()
_made: dict[int, Path] = {}


def until_exit() -> Path:
    """A fresh folder that is removed when this process ends."""
    with _lock:
        base = _made.get(os.getpid())  # a forked child has its own
        if base is None or not base.is_dir():
            base = _made[os.getpid()] = Path(tempfile.mkdtemp(prefix="prefect-registry-objects-"))
            atexit.register(_remove, base, os.getpid())
    return Path(tempfile.mkdtemp(dir=base))


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


class Kept:
    """A fresh folder that lives as long as this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="prefect-registry-"))
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())
