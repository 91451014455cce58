"""A limit on the bytes that transfers hold in memory, for all of a process's uploads and downloads together."""

from __future__ import annotations

import os
import threading

BUFFERED_BYTES = 96 << 20


class ByteBudget:
    """Bytes that may be held at once. A single request larger than all of it is let through alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._forked()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._free = self._size
        self._changed = threading.Condition()

    def acquire(self, count: int) -> None:
        """Wait until ``count`` bytes are free, and take them."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(count))
            self._free -= count

    def try_acquire(self, count: int) -> bool:
        """Take ``count`` bytes if they are free now."""
        with self._changed:
            if fits := self._fits(count):
                self._free -= count
            return fits

    def release(self, count: int) -> None:
        """Give ``count`` bytes back."""
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def _fits(self, count: int) -> bool:
        return count <= self._free or self._free == self._size


buffered = ByteBudget(BUFFERED_BYTES)
