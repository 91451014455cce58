"""A file that is read from pieces of memory: what is in memory need not be written to this disk to be stored."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from typing_extensions import override


class Spans(io.RawIOBase):
    """Reads pieces of memory one behind the other. It keeps them alive, and copies only what is asked for.

    Args:
        pieces: Bytes-like objects; they must not change while it is read.
    """

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        super().__init__()
        self._pieces = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        self._starts = [0, *accumulate(map(len, self._pieces))]
        self._at = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._at

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    @override
    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # any writable buffer
        target, done = memoryview(buffer).cast("B"), 0
        while done < len(target) and self._at < self._starts[-1]:
            number = bisect_right(self._starts, self._at) - 1
            piece = self._pieces[number][self._at - self._starts[number] :][: len(target) - done]
            target[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._starts[-1] - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        buffer = bytearray(wanted)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    @override
    def readall(self) -> bytes:
        return self.read()
