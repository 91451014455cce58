"""The body of answers: written, hashed, counted, and gone on with where one broke off."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO

from prefect_registry.ingestion.http.decoding import Inflate, Meter
from prefect_registry.ingestion.http.problems import ChecksumMismatch, LimitExceeded, SourceError
from prefect_registry.ingestion.http.request import Limits, Validators
from prefect_registry.ingestion.http.scratch import Part

if TYPE_CHECKING:
    from prefect_registry.ingestion.http.network import Answer

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far, which go back when a download starts anew, and those expected, if known."""

MARK_BYTES = 256 << 10
"""So much at most of what came is lost with a process that is killed."""
_READ_BYTES = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class MayPass(Exception):
    """This attempt failed, and another one may not. ``retry_after`` is in seconds, where the server named a time."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class Body:
    """What has come so far of one file, through any number of answers.

    ``received`` counts bytes as they were sent, ``written`` as they are decoded; ``total`` is what the server says the
    first will be. ``joined`` tells whether they come from more than one answer. ``keep`` is called with what is stored,
    now and then, and whenever an answer ends, if it can be gone on with.
    """

    def __init__(
        self,
        url: str,
        write: Callable[[bytes], None],
        clear: Callable[[], None],
        limits: Limits,
        progress: Progress | None,
        keep: Callable[[Part], None] | None = None,
    ) -> None:
        self._url = url
        self._keep = keep
        self._write = write
        self._clear = clear
        self._limits = limits
        self._progress = progress
        self._resumable = False
        self._reset()

    def _reset(self) -> None:
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._inflate: Inflate | None = None
        self._meter = Meter(self._url, self._limits.size, math.inf)
        self.received = 0
        self.total: int | None = None
        self.validators = Validators()
        self._resumable = False
        self._from = ""
        self._kept = 0
        self.joined = False

    @property
    def written(self) -> int:
        """Bytes in the file."""
        return self._meter.given

    def clear(self) -> None:
        """Forget everything that came."""
        self._clear()
        self._reset()

    def resume_headers(self) -> dict[str, str]:
        """What to ask for to get the rest of the same file; nothing when it must start anew."""
        validator = self.validators.etag or self.validators.last_modified
        if not (self._resumable and self.received and validator):
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": validator}

    def restore(self, part: Part, file: BinaryIO) -> bool:
        """Take over what an earlier process has stored, all but its last byte: so there is always a rest to ask for,
        and its answer tells whether the file is still the same. What is recorded then is what was taken over, so that
        the file may be cut there. False when ``file`` does not hold those bytes.
        """
        if part.received > self._limits.size:
            return False
        left = part.received - 1
        while left and (piece := file.read(min(left, _READ_BYTES))):
            self._take(piece)
            left -= len(piece)
        whole, last = self._sha256.copy(), file.read(1)
        whole.update(last)
        if left or not last or whole.hexdigest() != part.sha256:
            self._reset()
            return False
        self.received, self.total, self.validators = part.received - 1, part.total, part.validators
        self._from, self._resumable = part.url, True
        self._mark(1)
        return True

    def begin(self, answer: Answer, url: str) -> None:
        """A whole file comes. Raises ``LimitExceeded`` when it says that it is too large."""
        self.clear()
        self._from = url
        self.total = answer.length
        if self.total is not None and self.total > self._limits.size:
            raise LimitExceeded(f"{self._url} says that it has {self.total:,} bytes; {self._limits.size:,} are allowed")
        encoding = (answer.header("content-encoding") or "identity").strip().lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._meter = Meter(self._url, self._limits.size, self._limits.ratio)
            self._inflate = Inflate(self._meter)
        elif encoding != "identity":
            raise SourceError(
                f"{self._url} comes in the encoding {encoding!r:.40}",
                why="It was asked for as it is, and only gzip and deflate are decoded",
            )
        self.validators = Validators(etag=answer.header("etag"), last_modified=answer.header("last-modified"))
        self._resumable = self._inflate is None and answer.header("accept-ranges") != "none" and _is_strong(answer)

    def goes_on(self, answer: Answer, url: str) -> bool:
        """Whether a partial answer is the rest of what came, and of the same file.

        Validators are a URL's own (RFC 9110, 8.8): another one, to which the source now redirects, has another file.
        """
        if url != self._from:
            return False
        found = _RANGE.fullmatch(answer.header("content-range") or "")
        if found is None or answer.header("content-encoding") not in (None, "identity"):
            return False
        first, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
        if first != self.received or (total is not None and last + 1 > total):
            return False
        if self.total is not None and total not in (None, self.total):
            return False
        if total is not None and total > self._limits.size:
            return False
        self.total = total if self.total is None else self.total
        etag = answer.header("etag")
        self.joined = etag is None or self.validators.etag is None or etag == self.validators.etag
        return self.joined

    def receive(self, answer: Answer) -> None:
        """Take the body of an answer. Raises ``MayPass`` when it ends too soon."""
        end = None if answer.length is None else self.received + answer.length
        self._check_end(answer, end)
        try:
            for chunk in answer.chunks():
                for piece in (chunk,) if self._inflate is None else self._inflate.feed(chunk):
                    self._take(piece, self._write)
                self.received += len(chunk)
                self._mark(MARK_BYTES)
                if self._progress:
                    self._progress(self.received, self.total)
                self._check_end(answer, end)
        finally:
            self._mark(1)
        if self.total is not None and self.received < self.total:
            raise MayPass(f"It ended after {self.received:,} of {self.total:,} bytes")
        if self._inflate is not None and not self._inflate.complete:
            raise MayPass("It ended in the middle of its compressed content")

    def _take(self, piece: bytes, write: Callable[[bytes], None] | None = None) -> None:
        """Count, write and hash decoded bytes."""
        if self._inflate is None:
            self._meter.give(len(piece))
        if write is not None:
            write(piece)
        self._sha256.update(piece)
        self._md5.update(piece)

    def _mark(self, every: int) -> None:
        """Record what is stored, if it is so many bytes more than were recorded last."""
        if self._keep is None or not self._resumable or self.received < self._kept + every:
            return
        self._kept = self.received
        self._keep(
            Part(
                url=self._from, received=self.received, sha256=self._sha256.hexdigest(), total=self.total,
                validators=self.validators,
            )
        )  # fmt: skip

    def _check_end(self, answer: Answer, end: int | None) -> None:
        """A server that sends more than it said has lied about the length, and nobody knows what the file is."""
        if self.total is not None and self.received > self.total:
            raise SourceError(f"{self._url} sends more than the {self.total:,} bytes that it said the file has")
        if end is not None and self.received == end and answer.sends_more():
            raise SourceError(
                f"{self._url} sends more than the {answer.length:,} bytes that it announces",
                why="Its Content-Length is wrong, so the file would be cut short",
                todo="Tell the publisher; nothing was kept",
            )

    def verify(self, sha256: str | None, md5: str | None) -> str:
        """The sha256 of the file. Raises ``ChecksumMismatch`` when it should have had another, or another md5."""
        for name, wanted, digest in (("sha256", sha256, self._sha256), ("md5", md5, self._md5)):
            if wanted is not None and wanted != digest.hexdigest():
                raise ChecksumMismatch(
                    f"{self._url} is not the file that was expected",
                    why=f"Its {name} is {digest.hexdigest()} instead of {wanted}; it has {self.written:,} bytes",
                )
        return self._sha256.hexdigest()


def _is_strong(answer: Answer) -> bool:
    """Whether an answer has what If-Range needs: a strong ETag, or a Last-Modified that is at least a second older
    than the answer (RFC 9110, 8.8.2.2).
    """
    etag = answer.header("etag")
    if etag is not None:
        return etag.startswith('"')
    with suppress(ValueError, TypeError):
        modified = parsedate_to_datetime(answer.header("last-modified") or "")
        return parsedate_to_datetime(answer.header("date") or "") - modified >= timedelta(seconds=1)
    return False
