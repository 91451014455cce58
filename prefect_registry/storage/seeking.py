"""What all files that can be sought and are only read have in common."""

from __future__ import annotations

import io
from abc import abstractmethod

from typing_extensions import override


class SeekableReader(io.RawIOBase):
    """A binary file of ``size`` bytes, any part of which can be had."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._at = size, 0

    @abstractmethod
    def _part(self, start: int, count: int) -> bytes:
        """``count`` bytes, more than none and all of them in the file, from ``start`` on."""

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
        data = self._part(self._at, count) if count else b""
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
