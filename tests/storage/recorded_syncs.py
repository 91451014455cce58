"""What a process asks the operating system to make last, in order: the calls themselves are made."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Recorded:
    """``steps`` in order: ``("file", inode)`` and ``("folder", inode)`` when one was synced, ``("place", path)`` when a
    file got its final name.
    """

    steps: list[tuple[str, Any]] = field(default_factory=list)

    def count(self, what: str) -> int:
        """How many of a kind there were."""
        return sum(kind == what for kind, _ in self.steps)

    def last(self, what: str, which: object) -> int:
        """The position of the last such step; -1 when there was none."""
        return max((i for i, step in enumerate(self.steps) if step == (what, which)), default=-1)


def record(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Record from here to the end of the test."""
    recorded, fsync = Recorded(), os.fsync

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        recorded.steps.append(("folder" if stat.S_ISDIR(status.st_mode) else "file", status.st_ino))

    def placing(call: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def place(source: str, target: str) -> None:
            call(source, target)
            recorded.steps.append(("place", target))

        return place

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", placing(os.link))
    monkeypatch.setattr(os, "replace", placing(os.replace))
    return recorded
