"""A file that is read from pieces of memory: what is in memory need not be written to this disk to be stored."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from typing_extensions import override

from prefect_registry.storage.seeking import SeekableReader


class Spans(SeekableReader):
    """Reads pieces of memory one behind the other. It keeps them alive, and copies only what is asked for.

    Args:
        pieces: Bytes-like objects; they must not change while it is read.
    """

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        self._starts = [0, *accumulate(map(len, self._pieces))]
        super().__init__(self._starts[-1])

    @override
    def _part(self, start: int, count: int) -> bytes:
        found = []
        while count:
            number = bisect_right(self._starts, start) - 1
            found.append(self._pieces[number][start - self._starts[number] :][:count])
            start, count = start + len(found[-1]), count - len(found[-1])
        return b"".join(found)
