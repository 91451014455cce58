"""The download itself: attempts, redirects, resuming, and what counts as unchanged."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson

from prefect_registry.clock import Clock, SystemClock
from prefect_registry.ingestion.http.problems import (
    ChecksumMismatch,
    LimitExceeded,
    NotAllowed,
    SourceError,
    SourceUnavailable,
    TimeLimitExceeded,
)
from prefect_registry.ingestion.http.receiving import Body, MayPass, Progress
from prefect_registry.ingestion.http.request import HttpRequest, Limits, Validators, joined, parse, same_origin, shown
from prefect_registry.ingestion.http.room import Room, room_in
from prefect_registry.ingestion.http.scratch import Part, Scratch
from prefect_registry.records.base import printable

if TYPE_CHECKING:
    import httpx

    from prefect_registry.ingestion.http.network import Answer

log = logging.getLogger("prefect_registry")
_PROGRESS_BYTES = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Fetched:
    """A file that came whole. ``url`` is where it came from in the end, without its query; ``size`` is in bytes.

    ``validators`` are for the next download. ``length_checked`` tells whether the server had said how long the file
    is: of one that had not, only a checksum could show that it was cut short. ``resumed`` is how often a broken
    transfer was gone on with; ``found`` how many bytes of it were there already, from an earlier process.
    """

    url: str
    size: int
    sha256: str
    validators: Validators
    content_type: str | None
    length_checked: bool
    attempts: int
    resumed: int
    found: int = 0


@dataclass(frozen=True)
class NotModified:
    """The source is as it was. ``by`` tells what showed it: the server's ``validators``, or the ``checksum``."""

    url: str
    by: str
    validators: Validators


def fetch(
    request: HttpRequest,
    target: BinaryIO | Path | Scratch,
    limits: Limits | None = None,
    known: Validators | None = None,
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
) -> Fetched | NotModified:
    """Download one URL, or learn that it has not changed.

    A broken transfer goes on where it broke off if the server can do that and the file is still the same, which its
    strong ETag or its Last-Modified tells; else it starts anew. Redirects are followed only to allowed schemes and
    hosts. Host names are compared, not addresses: that a name leads to an address of a private network (DNS rebinding)
    is not noticed, so the list must hold only hosts whose owner is trusted. Looking a name up counts towards no limit.
    Proxies of the environment (``HTTPS_PROXY``, ``NO_PROXY`` …) are used.

    Args:
        request: What to get, and from which hosts.
        target: A path, which appears when all is well and is never seen in part; or a file that can be written,
            positioned and truncated: whatever goes wrong, and when nothing has changed, it is cut off where it stood.
            (A file that ``ds.open()`` gave is then empty, and stored so: where ``known`` is given, use a path.) Or a
            scratch folder: what is there of the same file is gone on with, after its sha256 was compared; and what came
            stays there, whatever goes wrong.
        limits: Of size, time and attempts.
        known: What the last download returned. If the server says that nothing changed, or what came has the same
            sha256, the answer is :class:`NotModified` and the target is left as it was.
        progress: See :data:`Progress`. An exception that it raises ends the download.
        clock: For deadlines and waits.
        jitter: A number from 0 up to 1, which spreads the waits of many downloads.

    Raises:
        NotAllowed: A redirect leads elsewhere than allowed.
        LimitExceeded: It is larger than allowed, by its announcement or in truth, or redirects without end.
        ChecksumMismatch: It is not the file that was expected.
        SourceError: The server refuses, or breaks the rules of HTTP in a way that will not pass.
        SourceUnavailable: All attempts failed in ways that may pass (a ``RecoverableError``);
            ``TimeLimitExceeded`` is the one for the time limit.
    """
    limits, clock = limits or Limits(), clock or SystemClock()
    with room_in(target) as file:
        download = _Download(request, file, limits, known or Validators(), progress, clock, jitter)
        result = download.run()
        if isinstance(result, NotModified):
            file.dropped = True
        return result


class _Download:
    """One call of :func:`fetch`."""

    def __init__(
        self,
        request: HttpRequest,
        room: Room,
        limits: Limits,
        known: Validators,
        progress: Progress | None,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._request = request
        self._limits = limits
        self._known = known
        self._clock = clock
        self._jitter = jitter
        self._url = parse(request.url)
        keep = None if room.scratch is None else self._keep
        self._room = room
        self._source = _digest(request)
        self._body = Body(shown(self._url), room.write, room.clear, limits, progress, keep)
        self._deadline = clock.monotonic() + limits.seconds
        self._attempts = self._resumed = self._found = 0

    def run(self) -> Fetched | NotModified:
        tries = 0
        most = self._restore()
        while True:
            self._attempts += 1
            tries += 1
            try:
                return self._attempt()
            except MayPass as failed:
                if self._body.received >= most + _PROGRESS_BYTES:
                    tries = 1
                most = max(most, self._body.received)
                self._wait(tries, failed)

    def _restore(self) -> int:
        """How many bytes an earlier process has left, and this one goes on behind."""
        scratch = self._room.scratch
        if scratch is None:
            return 0
        part = scratch.part(self._source)
        if part is not None and self._body.restore(part, self._room.file):
            self._room.cut(self._body.received)
            self._found = self._body.received
            log.info("%s: %s bytes are there already", shown(self._url), f"{self._found:,}")
            return self._found
        if part is not None:
            log.warning("%s: what is stored of it is damaged, so it is downloaded anew", shown(self._url))
        self._body.clear()
        return 0

    def _keep(self, part: Part) -> None:
        assert self._room.scratch is not None
        self._room.scratch.record(self._source, part)

    def _left(self) -> float:
        return self._deadline - self._clock.monotonic()

    def _wait(self, tries: int, failed: MayPass) -> None:
        """Wait before the next attempt, or tell that there is none."""
        limits, left, asked = self._limits, self._left(), failed.retry_after or 0.0
        wait = min(limits.longest_wait, limits.first_wait * 2.0 ** min(tries - 1, 60)) * (0.5 + self._jitter() / 2)
        if left <= 0 or (left <= max(wait, asked) and tries < limits.attempts and asked <= limits.longest_wait):
            raise TimeLimitExceeded(
                f"{shown(self._url)} was not downloaded within {limits.seconds:,.6g} seconds",
                why=f"{self._body.received:,} bytes had come; the last of {self._attempts} attempts: {failed}",
                retry_after=failed.retry_after,
            ) from failed.__cause__
        if tries >= limits.attempts or asked > limits.longest_wait:
            later = f"; it asks to come back in {asked:,.0f} seconds" if asked else ""
            raise SourceUnavailable(
                f"{shown(self._url)} could not be downloaded",
                why=f"{self._attempts} attempts failed, the last one: {failed}{later}",
                retry_after=failed.retry_after,
            ) from failed.__cause__
        self._clock.sleep(max(wait, asked))

    def _attempt(self) -> Fetched | NotModified:
        """One request, with the redirects that follow from it. Raises ``MayPass`` for what another might overcome."""
        from prefect_registry.ingestion.http.network import exchange

        resuming = self._body.resume_headers()
        asked = resuming or self._conditions()
        url, own = self._url, True
        for _ in range(self._limits.redirects + 1):
            headers = {"User-Agent": "prefect-registry", "Accept": "*/*", "Accept-Encoding": "identity"}
            given = self._request.headers_for(own)
            headers = {n: v for n, v in headers.items() if n.lower() not in {g.lower() for g in given}}
            with exchange(url, {**headers, **given, **asked}, self._limits, self._left) as answer:
                if answer.status not in _REDIRECTS:
                    return self._take(answer, url, bool(resuming))
                url = self._redirected(url, answer)
                own = own and same_origin(url, self._url)
        raise LimitExceeded(
            f"{shown(self._url)} redirects more than {self._limits.redirects} times",
            why="It may redirect in a circle",
            todo="Give the URL to which it leads, or raise the limit",
        )

    def _conditions(self) -> dict[str, str]:
        given = {"If-None-Match": self._known.etag, "If-Modified-Since": self._known.last_modified}
        return {name: value for name, value in given.items() if value}

    def _redirected(self, url: httpx.URL, answer: Answer) -> httpx.URL:
        location = answer.header("location")
        if not location:
            raise SourceError(f"{shown(url)} answers {answer.status} without saying where to go")
        try:
            return self._request.checked(joined(url, location))
        except NotAllowed as error:
            error.what = f"{shown(url)} redirects to where it may not lead: {error.what}"
            raise

    def _take(self, answer: Answer, url: httpx.URL, resuming: bool) -> Fetched | NotModified:
        if answer.status == 304 and self._conditions() and not resuming:
            found = {"etag": answer.header("etag"), "last_modified": answer.header("last-modified")}
            updated = self._known.model_copy(update={name: value for name, value in found.items() if value})
            return NotModified(shown(url), "validators", updated)
        if answer.status == 206 and resuming and self._body.goes_on(answer, shown(url)):
            self._resumed += 1
        elif answer.status == 200:
            self._body.begin(answer, shown(url))
            self._found = 0
        else:
            if resuming:
                self._body.clear()
            raise self._refused(answer, url, resuming)
        self._body.receive(answer)
        sha256 = self._verified()
        validators = self._body.validators.model_copy(update={"sha256": sha256})
        if sha256 == self._known.sha256:
            return NotModified(shown(url), "checksum", validators)
        return Fetched(
            url=shown(url),
            size=self._body.written,
            sha256=sha256,
            validators=validators,
            content_type=answer.header("content-type"),
            length_checked=self._body.total is not None,
            attempts=self._attempts,
            resumed=self._resumed,
            found=self._found,
        )

    def _verified(self) -> str:
        """The sha256 of what came. Of one that was put together and is not what it should be, all is asked for anew."""
        try:
            return self._body.verify(self._request.sha256, self._request.md5)
        except ChecksumMismatch as error:
            if not self._body.joined:
                raise
            self._body.clear()
            raise MayPass(f"what was put together from several answers is wrong: {error.why}") from error

    def _refused(self, answer: Answer, url: httpx.URL, resuming: bool) -> Exception:
        reason = printable("".join(c for c in answer.reason if c.isprintable()), 100)
        said = f"{shown(url)} answers {answer.status} {reason}".rstrip()
        if answer.status in _MAY_PASS:
            return MayPass(said, _retry_after(answer.header("retry-after"), self._clock.now()))
        if resuming:  # the part that was asked for is not to be had: once more from the beginning
            return MayPass(f"{said} to a request for the rest of the file")
        return SourceError(said, why="The server refuses the request, and will not change its mind")


def _digest(request: HttpRequest) -> str:
    """Tells apart what is asked for, without its secrets: a part that is stored is of the same source."""
    return hashlib.sha256(orjson.dumps([request.url, sorted(request.headers)])).hexdigest()


def _retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds to wait, from either form of the header; None when it is absent or nonsense."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with suppress(ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(text)
        return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())
    return None
