"""Where a process keeps the temporary files of a local store: ``.tmp/<host>-<pid>-<start>-<token>/``.

The process holds a lock on its folder for as long as it lives. Whoever can take that lock has proof that the owner is
gone, and may remove what it left; age proves nothing (DESIGN.md 5).
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import re
import shutil
import socket
import threading
from pathlib import Path

from prefect_registry.ids import random_token
from prefect_registry.locks import FILE_LOCKS, lock_file

TEMPORARY = ".tmp"
_LOCK = "lock"


class Workspace:
    """One process's folder for temporary files below one root."""

    def __init__(self, root: str) -> None:
        self._numbers = itertools.count()
        while True:
            self.folder = Path(root) / TEMPORARY / f"{_owner()}-{random_token()[:8]}"
            self.folder.mkdir(parents=True)
            held = lock_file(self.folder / _LOCK, create=True, needed=False)
            if held is not None:
                self._lock = held
                break
        _sweep(self.folder.parent, but=self.folder)

    def new_path(self) -> str:
        """A path that nobody else uses."""
        return os.path.join(self.folder, str(next(self._numbers)))

    def remove(self) -> None:
        """Give the folder back. Called when the process ends in an orderly way."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


_workspaces: dict[str, Workspace] = {}
_mutex = threading.Lock()


def workspace_of(root: str, renew: Workspace | None = None) -> Workspace:
    """This process's workspace below ``root``; a new one when ``renew`` is what it was and somebody removed it."""
    found = _workspaces.get(root)
    if found is not None and found is not renew:
        return found
    with _mutex:
        found = _workspaces.get(root)
        if found is None or found is renew:
            found = _workspaces[root] = Workspace(root)
        return found


def _forget_workspaces() -> None:
    # A child shares its parent's lock through the inherited descriptor, so it must neither use it nor keep it.
    global _mutex
    _mutex = threading.Lock()
    for workspace in _workspaces.values():
        with contextlib.suppress(OSError):
            os.close(workspace._lock)
    _workspaces.clear()


def _remove_workspaces() -> None:
    while _workspaces:
        _workspaces.popitem()[1].remove()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workspaces)
atexit.register(_remove_workspaces)


def _owner() -> str:
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:100] or "host"
    return f"{host}-{os.getpid()}-{_process_start()}"


def _process_start() -> str:
    with contextlib.suppress(OSError, IndexError):
        return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return "0"


def _sweep(folder: Path, but: Path) -> None:
    """Remove the folders below ``folder`` whose owners are gone. Best effort: it never fails a write."""
    if not FILE_LOCKS:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name != but.name and entry.is_dir(follow_symlinks=False):
                _sweep_one(Path(entry.path))


def _sweep_one(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # empty: its owner died, or has yet to make its lock file and will notice
        return
    held = lock_file(folder / _LOCK, create=False)
    if held is None:
        return
    try:
        for path in folder.iterdir():
            if path.name != _LOCK:
                path.unlink(missing_ok=True)
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        pass
    finally:
        os.close(held)
