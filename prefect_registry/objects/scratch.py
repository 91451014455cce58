"""Files that one reader holds: nobody else removes them while it reads, and they go with it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

from prefect_registry.storage.workspace import workspace_of

_SUFFIXES = re.compile(r"(\.[A-Za-z0-9]{1,16}){1,2}\Z")


class Scratch:
    """A reader's files, in this process's workspace below ``root``, or in a temporary folder where there is none.

    What a process that was killed leaves in a workspace is swept by the next one that makes one
    (``storage/workspace.py``).

    Attributes:
        files: The files that are complete, by the key of what they are a copy of. They may be links of files in the
            cache: never change them.
        owner: The process that made it, and that alone removes it.
        shared: Whether it still lies in the workspace.
    """

    def __init__(self, root: Path) -> None:
        self.files: dict[str, Path] = {}
        self.owner = os.getpid()
        self.shared = True
        self._root = str(root)
        self._made: list[Path] = []
        self._numbers = itertools.count()
        self.release = weakref.finalize(self, _remove, self._made, self.owner)
        """Remove all files. Happens by itself when the reader is gone."""

    def new(self, key: str = "") -> Path:
        """A path that nobody else uses, and that ends as ``key`` does. Raises ``OSError``."""
        path = self._in_workspace() if self.shared else None
        if path is None:
            self.leave()
            path = os.path.join(self._made[0], str(next(self._numbers)))
        ending = _SUFFIXES.search(key.rpartition("/")[2])
        made = Path(path + (ending.group() if ending else ""))
        self._made.append(made)
        return made

    def leave(self) -> None:
        """From here on use a temporary folder: the workspace cannot be written, or its disk is full."""
        if self.shared:
            folder = Path(tempfile.mkdtemp(prefix="registry-object-"))
            self._made.insert(0, folder)
            self.shared = False

    def _in_workspace(self) -> str | None:
        try:
            workspace = workspace_of(self._root)
            if not workspace.folder.is_dir():  # somebody tidied up
                workspace = workspace_of(self._root, renew=workspace)
        except OSError:
            return None
        return workspace.new_path()


def _remove(made: list[Path], owner: int) -> None:
    if os.getpid() != owner:  # a forked child: its parent still reads
        return
    for path in made:
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    made.clear()
