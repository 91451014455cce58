"""Where a download goes: nothing of it is left unless it came whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from prefect_registry.ids import random_token
from prefect_registry.ingestion.http.scratch import Scratch
from prefect_registry.storage.transfer import local_errors


class Room:
    """Where the bytes go: a file, from the position at which it stood.

    ``scratch`` is where that is, if what an earlier process has left there may be gone on with.
    """

    def __init__(self, file: BinaryIO, path: Path | None = None, scratch: Scratch | None = None) -> None:
        self.file = file
        self.dropped = False
        self.scratch = scratch
        self._start = file.tell()
        self._path = path

    def write(self, data: bytes) -> None:
        """Add all of ``data``."""
        if self._path is None:
            self._write(data)
        else:
            with local_errors(self._path):
                self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            taken = self.file.write(data)
            data = data[len(data) if taken is None else taken :]

    def clear(self) -> None:
        """Drop what was written."""
        if self.scratch is not None:
            with local_errors(self.scratch.file):
                self.scratch.forget()
        self.cut(0)

    def cut(self, size: int) -> None:
        """Drop all but the first ``size`` bytes."""
        self.file.seek(self._start + size)
        self.file.truncate()


@contextmanager
def room_in(target: BinaryIO | Path | Scratch) -> Iterator[Room]:
    """Room in a file that is open; or at a path, where the file appears when the block succeeds; or in a scratch
    folder, where what is there when the block fails stays.
    """
    if isinstance(target, Scratch):
        with local_errors(target.file):
            held = open(target.file, "r+b" if target.file.exists() else "x+b", buffering=0)  # noqa: SIM115
        with held:
            room = Room(held, target.file, target)
            yield room
            if room.dropped:
                room.clear()
        return
    if not isinstance(target, Path):
        room = Room(target)
        try:
            yield room
        except BaseException:
            room.clear()
            raise
        if room.dropped:
            room.clear()
        return
    part = target.with_name(f".{random_token()}.part")
    try:
        with local_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = open(part, "x+b", buffering=0)  # noqa: SIM115 - closed below
        with file:
            room = Room(file, target)
            yield room
        if not room.dropped:
            with local_errors(target):
                os.replace(part, target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
