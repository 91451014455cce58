"""The names in a folder in order, however many: in memory up to a number, and in a temporary file beyond it."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator
from itertools import groupby
from typing import IO

MOST_IN_MEMORY = 4_000
"""How many names of one folder are held in memory, in about 100 bytes each."""

_BLOCK = 4 << 10
"""How many bytes of each part of the temporary file are in memory; a part has as many names as memory may have."""


class SortedNames:
    """Names, each once, that come in any order and are given ascending. None has a NUL: no filesystem allows it.

    Where no temporary file can be written, they stay in memory.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._file: IO[bytes] | None = None
        self._parts: list[tuple[int, int]] = []
        self._limit: float = MOST_IN_MEMORY
        self._count = self._hashes = 0

    def add(self, name: str) -> None:
        """Take one more."""
        self._count += 1
        self._hashes += hash(name)
        self._names.append(name)
        if len(self._names) >= self._limit:
            self._put_aside()

    @property
    def digest(self) -> tuple[int, int]:
        """The same for the same names, within this process."""
        return self._count, self._hashes

    def __iter__(self) -> Iterator[str]:
        self._names.sort()
        parts = (self._part(*place) for place in self._parts)
        # A folder that is changed while it is read may tell a name twice.
        return (name for name, _ in groupby(heapq.merge(self._names, *parts) if self._parts else self._names))

    def close(self) -> None:
        """Give the temporary file back."""
        if self._file is not None:
            self._file.close()

    def _put_aside(self) -> None:
        self._names.sort()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (lives as long as this)
            begin = self._file.seek(0, os.SEEK_END)
            data = memoryview("".join(f"{name}\0" for name in self._names).encode())
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            self._limit = float("inf")
            return
        self._parts.append((begin, self._file.tell()))
        self._names = []

    def _part(self, begin: int, end: int) -> Iterator[str]:
        assert self._file is not None
        rest = b""
        while begin < end:
            self._file.seek(begin)
            read = self._file.read(min(_BLOCK, end - begin))
            begin += len(read)
            block, start = rest + read, 0
            while (stop := block.find(b"\0", start)) >= 0:
                yield block[start:stop].decode()
                start = stop + 1
            rest = block[start:]
