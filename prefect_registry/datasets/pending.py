"""Files on their way into a dataset: stored when they are closed well, and never otherwise."""

from __future__ import annotations

import contextlib
import io
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from prefect_registry.ids import random_token

if TYPE_CHECKING:
    from prefect_registry.datasets.writing import DatasetWriter

_IN_MEMORY_BYTES = 64 << 20


class PendingFile(io.RawIOBase):
    """Bytes on their way to the store: in memory at first, then in a temporary file."""

    def __init__(self, writer: DatasetWriter, path: str, key: str) -> None:
        self.name = path
        self.dropped = False
        self._writer = writer
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, prefix=f"registry-{random_token()}")  # noqa: SIM115
        writer.opened(path)

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, to write there."""
        return self._spool.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._spool.tell()

    def truncate(self, size: int | None = None) -> int:
        """Cut the file off."""
        self._spool.truncate(size)
        return self._spool.tell() if size is None else size

    def write(self, data: Any) -> int:
        """Add bytes."""
        if self.closed:
            raise ValueError("write to closed file")
        return self._spool.write(data)

    def close(self) -> None:
        """Store the file, unless it was dropped."""
        if self.closed:
            return
        try:
            if not self.dropped:
                self._spool.seek(0)
                self._writer.store_file(self.name, cast("BinaryIO", self._spool))
        finally:
            self._writer.closed(self.name)
            self._spool.close()
            super().close()

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.dropped = self.dropped or error is not None  # half a file is no file
        self.close()

    def __del__(self) -> None:  # never store what nobody closed; that it stays unclosed is told at commit
        self._spool.close()


class PendingText(io.TextIOWrapper):
    """The same for text."""

    def __init__(self, raw: PendingFile, encoding: str, newline: str | None) -> None:
        self._raw = raw
        super().__init__(cast("BinaryIO", raw), encoding=encoding, newline=newline)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._raw.dropped = self._raw.dropped or error is not None
        self.close()

    def __del__(self) -> None:
        if not self._raw.closed:
            self._raw.dropped = True
            with contextlib.suppress(Exception):
                self.detach()
