"""Compressed bytes made plain, a little at a time, and never more than is allowed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from prefect_registry.ingestion.http.problems import LimitExceeded, SourceError

_PIECE_BYTES = 256 << 10
FREE_BYTES = 1 << 20
"""Output below this is never held against a ratio: a few bytes may well stand for a whole page of zeros."""


class Meter:
    """Counts what goes in and comes out. Raises ``LimitExceeded`` past ``most`` bytes, or ``ratio`` times the input."""

    def __init__(self, what: str, most: int, ratio: float) -> None:
        self._what = what
        self._most = most
        self._ratio = ratio
        self.taken = self.given = 0

    def give(self, count: int) -> None:
        """So many bytes more come out."""
        self.given += count
        if self.given > self._most:
            raise LimitExceeded(f"{self._what} is larger than the {self._most:,} bytes that are allowed")
        if self.given > FREE_BYTES and self.given > self._ratio * max(self.taken, 1):
            raise LimitExceeded(
                f"{self._what} was stopped after {self.given:,} bytes came out of {self.taken:,}",
                why=f"That is more than {self._ratio:g} times as much, as zip bombs do",
                todo="Raise the ratio if the file really is that regular",
            )


class Inflate:
    """gzip (also of several members) and zlib, decoded in pieces of at most 256 KiB."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    @property
    def complete(self) -> bool:
        """Whether the input ended where a member ends."""
        return self._inflate.eof or not self._begun

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` adds. Raises ``SourceError`` for what is not compressed so."""
        self._meter.taken += len(data)
        try:
            while data:
                if self._inflate.eof:
                    data = data.lstrip(b"\0")  # padding, as tapes have it
                    if not data:
                        return
                    self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
                self._begun = True
                piece = self._inflate.decompress(data, _PIECE_BYTES)
                self._meter.give(len(piece))
                if piece:
                    yield piece
                data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        except zlib.error as error:
            raise SourceError("The source sent what cannot be decompressed", why=f"zlib says: {error}") from error
