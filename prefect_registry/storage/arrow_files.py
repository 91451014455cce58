"""Files that Arrow reads in threads of its own, none of which comes back to a Python that has ended.

Arrow reads ahead, and goes on when nobody wants the rest, in threads that Python does not know. One that comes into an
interpreter that is finalizing is ended in the middle of C++, which aborts or hangs the process (Python's
documentation of ``PyGILState_Ensure``). So at exit what is being read is waited for, and whatever else is to be read
fails at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from io import IOBase
from typing import Any, BinaryIO, cast

import pyarrow as pa

_QUIET_SECONDS = 0.05
"""Without a read for so long at exit, Arrow has given up what it had still to do."""
_LONGEST_SECONDS = 60.0


def arrow_file(open_file: Callable[[], BinaryIO]) -> pa.NativeFile:
    """The file that ``open_file`` opens, for Arrow to read; closed when Arrow drops it, which never closes any."""
    with _reads.one():
        return pa.PythonFile(cast("IOBase", _ReadByArrow(open_file())), mode="r")


class _Reads:
    """How many files are open and how many reads are under way, until Python ends."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = self._running = self._refused = 0
        self._ended = False

    def opened(self, more: int) -> None:
        """So many more files are open."""
        with self._changed:
            self._open += more
            self._changed.notify_all()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A read. Raises ``OSError`` when Python is ending."""
        with self._changed:
            if self._ended:
                self._refused += 1
                raise OSError("Python is ending, and nothing more is read")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def end(self) -> None:
        """Refuse reads from here on, and wait until none is under way and Arrow has noticed."""
        latest = time.monotonic() + _LONGEST_SECONDS
        with self._changed:
            self._ended = True
            while time.monotonic() < latest and self._open:
                refused = self._refused
                changed = self._changed.wait(_QUIET_SECONDS)
                if not (changed or self._running or self._refused > refused):
                    break


_reads = _Reads()
atexit.register(lambda: _reads.end())


def _forget() -> None:
    global _reads
    _reads = _Reads()


if hasattr(os, "register_at_fork"):  # Arrow's threads exist in the parent only
    os.register_at_fork(after_in_child=_forget)


class _ReadByArrow:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._reads = file, _reads
        self._reads.opened(1)

    def read(self, size: int = -1) -> bytes:
        with self._reads.one():
            return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._reads.one():
            return self._file.seek(offset, whence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()
        self._reads.opened(-1)
