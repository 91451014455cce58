"""A remote object as a seekable file, read in ranges: what nobody reads is not fetched."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, cast

from typing_extensions import override

READ_AHEAD_BYTES = 256 << 10


class _RangeReader(io.RawIOBase):
    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size, self._fetch = size, fetch
        self._at = 0
        self._block, self._block_start = b"", 0

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
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        left = max(0, self._size - self._at)
        count = left if size is None or size < 0 else min(size, left)
        data = self._piece(count) if count else b""
        self._at += len(data)
        return data

    @override
    def readall(self) -> bytes:
        return self.read()

    @override
    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # any writable buffer
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _piece(self, count: int) -> bytes:
        start = self._at - self._block_start
        if not 0 <= start <= len(self._block) - count:
            end = min(self._size, self._at + max(count, READ_AHEAD_BYTES))
            self._block, self._block_start, start = self._fetch(self._at, end), self._at, 0
        return self._block[start : start + count]


def range_reader(size: int, fetch: Callable[[int, int], bytes]) -> BinaryIO:
    """An open file of ``size`` bytes; ``fetch(start, end)`` gets those from ``start`` up to ``end``."""
    return cast(BinaryIO, _RangeReader(size, fetch))
