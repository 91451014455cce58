"""A payload inside another: the files below one folder of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from prefect_registry.objects.payload import StoredPayload


class NestedPayload(StoredPayload):
    """What lies below ``prefix`` in a payload, with facts of its own."""

    def __init__(self, outer: StoredPayload, prefix: str, init: Mapping[str, Any]) -> None:
        self._outer, self._prefix = outer, prefix
        self.init, self.lazy, self.output_dir = init, outer.lazy, outer.output_dir

    def paths(self) -> list[str]:
        """The files, sorted."""
        return [path.removeprefix(self._prefix) for path in self._outer.paths() if path.startswith(self._prefix)]

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return self._outer.size(self._prefix + path)

    def read(self, path: str) -> bytes:
        """A whole file."""
        return self._outer.read(self._prefix + path)

    def open(self, path: str) -> BinaryIO:
        """A file that reads parts."""
        return self._outer.open(self._prefix + path)

    def local(self, path: str) -> Path:
        """A whole file on this disk."""
        return self._outer.local(self._prefix + path)

    def export(self, folder: Path) -> Path:
        """Its files below ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in self.paths():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.local(path), folder / path)
        return folder
