"""A remote object as a seekable file, read in ranges: what nobody reads is not fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, cast

from typing_extensions import override

from prefect_registry.storage.seeking import SeekableReader

READ_AHEAD_BYTES = 256 << 10


class _RangeReader(SeekableReader):
    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__(size)
        self._fetch = fetch
        self._block, self._block_start = b"", 0

    @override
    def _part(self, start: int, count: int) -> bytes:
        inside = start - self._block_start
        if not 0 <= inside <= len(self._block) - count:
            end = min(self._size, start + max(count, READ_AHEAD_BYTES))
            self._block, self._block_start, inside = self._fetch(start, end), start, 0
        return self._block[inside : inside + count]


def range_reader(size: int, fetch: Callable[[int, int], bytes]) -> BinaryIO:
    """An open file of ``size`` bytes; ``fetch(start, end)`` gets those from ``start`` up to ``end``."""
    return cast(BinaryIO, _RangeReader(size, fetch))
