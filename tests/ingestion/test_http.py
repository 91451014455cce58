"""Downloads from servers that misbehave in every way: real ones, on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import ipaddress
import ssl
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError
from web_support import QuickClock, Request, Server, serving

from prefect_registry import Registry
from prefect_registry.errors import RecoverableError, StorageError
from prefect_registry.ingestion.http import (
    ChecksumMismatch,
    Fetched,
    HttpRequest,
    LimitExceeded,
    Limits,
    NotAllowed,
    NotModified,
    SourceError,
    SourceUnavailable,
    TimeLimitExceeded,
    Validators,
    fetch,
)

BODY = bytes(range(256)) * 2_000  # 512,000 bytes
SHA256 = hashlib.sha256(BODY).hexdigest()
ETAG = '"v1"'


class Getter:
    """Downloads into one place, and sees what is left there."""

    def __init__(self, site: Server, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.target = folder / "new" / "file"
        self.clock = QuickClock()

    def __call__(self, path: str = "/f", known: Validators | None = None, **options: Any) -> Fetched | NotModified:
        given = {n: options.pop(n) for n in ("hosts", "headers", "sha256", "md5", "schemes") if n in options}
        request = HttpRequest.model_validate(
            {"url": self.site.url + path, "hosts": [self.site.host], "schemes": ["http"], **given}
        )
        progress = options.pop("progress", None)
        limits = Limits.model_validate({"read_seconds": 2.0, "seconds": 60.0, **options})
        return fetch(request, self.target, limits, known, progress=progress, clock=self.clock, jitter=lambda: 0.5)

    def ok(self, *args: Any, **options: Any) -> Fetched:
        result = self(*args, **options)
        assert isinstance(result, Fetched)
        assert self.left() == ["file"]
        return result

    def left(self) -> list[str]:
        return sorted(p.name for p in self.folder.rglob("*") if p.is_file())


@pytest.fixture
def get(site: Server, tmp_path: Path) -> Getter:
    """Downloads from the server; every failing one must leave nothing."""
    return Getter(site, tmp_path)


# -- plain -----------------------------------------------------------------------------------------------------------


def test_whole_file(site: Server, get: Getter) -> None:
    """A file comes whole, with its size, hash and validators; progress is told along the way."""
    site.pages["/f"] = lambda r: r.whole(BODY, ETag=ETAG, Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
    told: list[tuple[int, int | None]] = []
    done = get.ok(sha256=SHA256.upper(), md5=hashlib.md5(BODY).hexdigest(), progress=lambda *p: told.append(p))
    assert get.target.read_bytes() == BODY
    assert (done.size, done.sha256, done.attempts, done.resumed, done.length_checked) == (512_000, SHA256, 1, 0, True)
    assert done.validators == Validators(etag=ETAG, last_modified="Wed, 21 Oct 2015 07:28:00 GMT", sha256=SHA256)
    assert told[-1] == (512_000, 512_000)
    assert told == sorted(told)


def test_into_an_open_file(site: Server) -> None:
    """A file that is open gets the bytes where it stands; a failed download is cut off again."""
    site.pages["/f"] = lambda r: r.whole(BODY)
    request = HttpRequest(url=f"{site.url}/f", hosts=(site.host,), schemes=("http",))
    file = io.BytesIO(b"before")
    file.seek(6)
    assert isinstance(fetch(request, file), Fetched)
    assert file.getvalue() == b"before" + BODY
    with pytest.raises(LimitExceeded):
        fetch(request, file, Limits(size=1_000))
    assert isinstance(fetch(request, file, known=Validators(sha256=SHA256)), NotModified)
    assert file.getvalue() == b"before" + BODY


def test_into_a_dataset(site: Server, tmp_path: Path) -> None:
    """A download may go straight into a file of a dataset, and one that fails is no file of it."""
    site.pages["/f"] = lambda r: r.ranged(BODY, cut=200_000, ETag=ETAG)
    site.pages["/bad"] = lambda r: (r.head(), r.raw(BODY))[0]
    registry = Registry(tmp_path / "registry")
    with registry.run("ingest") as run, run.dataset("raw") as ds:
        for path, limits in (("/f", Limits()), ("/bad", Limits(size=1_000))):
            request = HttpRequest(url=site.url + path, hosts=(site.host,), schemes=("http",))
            with suppress(LimitExceeded), ds.open(path[1:]) as file:
                fetch(request, file, limits, clock=QuickClock())  # type: ignore[arg-type]
    (entry,) = registry.latest("raw").files
    assert (entry.path, entry.size, entry.sha256) == ("f", 512_000, SHA256)


@pytest.mark.parametrize("body", [b"", BODY])
def test_chunked_and_until_close(site: Server, get: Getter, body: bytes) -> None:
    """Bodies without a length come whole; that their length was not checked is told."""
    site.pages["/f"] = lambda r: (r.head(Transfer_Encoding="chunked"), r.raw(_chunks(body)))[0]
    assert not get.ok().length_checked
    assert get.target.read_bytes() == body
    site.pages["/f"] = lambda r: (r.head(), r.raw(body))[0]
    assert not get.ok().length_checked
    assert get.target.read_bytes() == body


def test_empty_file(site: Server, get: Getter) -> None:
    """A file may be empty."""
    site.pages["/f"] = lambda r: r.whole(b"")
    assert get.ok().size == 0


def _chunks(body: bytes) -> bytes:
    parts = [body[i : i + 100_000] for i in range(0, len(body), 100_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


# -- unchanged -------------------------------------------------------------------------------------------------------


def test_not_modified_by_validators(site: Server, get: Getter) -> None:
    """Known validators are sent, and 304 means unchanged: nothing is written."""

    @site.page("/f")
    def page(request: Request) -> None:
        same = request.headers["If-None-Match"] == ETAG and request.headers["If-Modified-Since"] == "then"
        request.head(304, ETag=ETAG) if same else request.whole(BODY)

    known = Validators(etag=ETAG, last_modified="then", sha256="0" * 64)
    assert get(known=known) == NotModified(f"{site.url}/f", "validators", known)
    assert get.left() == []


def test_not_modified_by_checksum(site: Server, get: Getter) -> None:
    """Where the server has no validators, the same content counts as unchanged, and the target stays as it was."""
    site.pages["/f"] = lambda r: r.whole(BODY)
    get.target.parent.mkdir()
    get.target.write_text("old")
    result = get(known=Validators(sha256=SHA256))
    assert isinstance(result, NotModified)
    assert result.by == "checksum"
    assert (get.left(), get.target.read_text()) == (["file"], "old")
    assert isinstance(get(known=Validators(sha256="0" * 64)), Fetched)


def test_unasked_not_modified(site: Server, get: Getter) -> None:
    """304 to a request without conditions is no answer."""
    site.pages["/f"] = lambda r: r.head(304)
    with pytest.raises(SourceError, match="304"):
        get()


# -- broken transfers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "validator", [{"ETag": ETAG}, {"Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT", "Accept_Ranges": "bytes"}]
)
def test_resume(site: Server, get: Getter, validator: dict[str, str]) -> None:
    """A transfer that breaks goes on where it broke off, under If-Range, and the bytes are those of the file."""
    site.pages["/f"] = lambda r: r.ranged(BODY, cut=200_000, **validator)
    done = get.ok(sha256=SHA256)
    assert (done.attempts, done.resumed) == (3, 2)
    assert get.target.read_bytes() == BODY
    sent = [(h.get("range"), h.get("if-range")) for _, h in site.requests]
    condition = next(iter(validator.values()))
    assert sent == [(None, None), ("bytes=200000-", condition), ("bytes=400000-", condition)]
    assert get.clock.sleeps == [0.75, 1.5]


def test_resume_of_a_changed_file_starts_anew(site: Server, get: Getter) -> None:
    """If the file has changed meanwhile, the server sends it whole, and nothing of the old one is kept."""
    versions = iter([(BODY, '"v1"', 200_000), (BODY[::-1], '"v2"', None)])

    @site.page("/f")
    def page(request: Request) -> None:
        body, etag, cut = next(versions)
        request.ranged(body, cut, ETag=etag)

    done = get.ok()
    assert get.target.read_bytes() == BODY[::-1]
    assert (done.resumed, done.validators.etag) == (0, '"v2"')


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": 'W/"weak"'}, {"ETag": ETAG, "Accept_Ranges": "none"}, {"Last_Modified": "nonsense"}]
)
def test_no_resume_without_a_strong_validator(site: Server, get: Getter, headers: dict[str, str]) -> None:
    """Without something that proves the file to be the same, a broken transfer starts anew."""
    cuts = iter([200_000, None])
    site.pages["/f"] = lambda r: r.ranged(BODY, next(cuts), **headers)
    assert get.ok().resumed == 0
    assert get.target.read_bytes() == BODY
    assert "range" not in site.requests[1][1]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {"Content_Range": "bytes 0-511999/512000", "ETag": ETAG}),
        (206, {"Content_Range": "bytes 200000-511999/512000", "ETag": '"v2"'}),
        (206, {"Content_Range": "bytes 200000-599999/600000", "ETag": ETAG}),
        (206, {"Content_Range": "lies"}),
        (206, {}),
        (416, {"Content_Range": "bytes */512000"}),
        (404, {}),
    ],
)
def test_wrong_answers_to_a_resume(site: Server, get: Getter, status: int, headers: dict[str, str]) -> None:
    """A partial answer that is not the rest of the same file is dropped, and the download starts anew."""
    steps = iter(range(3))

    @site.page("/f")
    def page(request: Request) -> None:
        step = next(steps)
        if step == 1:
            request.whole(b"x" * 312_000, status, **headers)
        else:
            request.ranged(BODY, cut=200_000 if step == 0 else None, ETag=ETAG)

    assert get.ok(sha256=SHA256).resumed == 0
    assert get.target.read_bytes() == BODY


def test_partial_answer_that_nobody_asked_for(site: Server, get: Getter) -> None:
    """206 to a request for the whole is refused."""
    site.pages["/f"] = lambda r: r.whole(BODY, 206, Content_Range="bytes 0-511999/512000")
    with pytest.raises(SourceError, match="206"):
        get()
    assert get.left() == []


def test_endless_breaking_ends(site: Server, get: Getter) -> None:
    """A server that always breaks off before any progress is given up after the attempts, and says what happened."""
    site.pages["/f"] = lambda r: (r.head(Content_Length=100), r.raw(b"x" * 10))[0]
    with pytest.raises(SourceUnavailable, match="3 attempts") as caught:
        get(attempts=3)
    assert isinstance(caught.value, RecoverableError)
    assert get.left() == []
    assert len(site.requests) == 3


def test_progress_starts_the_count_anew(site: Server, get: Getter) -> None:
    """As long as each attempt brings a MiB more, a large file may break more often than there are attempts."""
    body = bytes(8 << 20)
    site.pages["/f"] = lambda r: r.ranged(body, cut=(1 << 20) + 1, ETag=ETAG)
    assert get.ok(attempts=2).resumed == 7


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_errors_that_may_pass(site: Server, get: Getter, status: int) -> None:
    """Overload and server errors are tried again, no sooner than the server asks."""
    steps = iter([status, 200])

    @site.page("/f")
    def page(request: Request) -> None:
        code = next(steps)
        request.whole(BODY, code, **({} if code == 200 else {"Retry_After": "7"}))

    assert get.ok().attempts == 2
    assert get.clock.sleeps == [7.0]


def test_retry_after_that_is_too_long(site: Server, get: Getter) -> None:
    """A server that asks for hours is not waited for; the error says how long."""
    site.pages["/f"] = lambda r: r.whole(b"", 503, Retry_After="3600")
    with pytest.raises(SourceUnavailable) as caught:
        get(seconds=100_000)
    assert caught.value.context["retry_after"] == 3600
    assert get.clock.sleeps == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501, 204])
def test_errors_that_stay(site: Server, get: Getter, status: int) -> None:
    """A refusal is told at once, and is no RecoverableError."""
    site.pages["/f"] = lambda r: r.whole(b"", status)
    with pytest.raises(SourceError, match=str(status)) as caught:
        get()
    assert not isinstance(caught.value, RecoverableError)
    assert len(site.requests) == 1


def test_unreachable(get: Getter) -> None:
    """A server that is not there may come back."""
    with serving() as gone:
        url, host = gone.url, gone.host
    request = HttpRequest(url=url, hosts=(host,), schemes=("http",))
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        fetch(request, get.target, Limits(attempts=2), clock=get.clock)
    assert get.left() == []


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_what_is_not_http(site: Server, get: Getter, answer: bytes) -> None:
    """Whatever a server says, the error is one of ours."""
    site.pages["/f"] = lambda r: r.raw(answer)
    with pytest.raises(SourceUnavailable):
        get(attempts=2)


# -- lies, floods, trickles ------------------------------------------------------------------------------------------


def test_length_too_large(site: Server, get: Getter) -> None:
    """A server that announces more than it sends is believed to have broken off."""
    site.pages["/f"] = lambda r: (r.head(Content_Length=len(BODY) + 1), r.raw(BODY))[0]
    with pytest.raises(SourceUnavailable, match="attempts failed"):
        get(attempts=2)
    assert get.left() == []


@pytest.mark.parametrize("announced", [0, 10, 300_000])
@pytest.mark.parametrize("late", [False, True])
def test_length_too_small(site: Server, get: Getter, announced: int, late: bool) -> None:
    """A server that sends more than it announces would cut the file short: refused, also if the rest comes later."""

    @site.page("/f")
    def page(request: Request) -> None:
        request.head(Content_Length=announced)
        request.raw(BODY[:announced])
        time.sleep(0.03 if late else 0)
        request.raw(BODY[announced:])

    with pytest.raises(SourceError, match="more than the"):
        get()
    assert get.left() == []


def test_open_connection_is_no_lie(site: Server, get: Getter) -> None:
    """A server that leaves the connection open after the body has told the truth."""
    site.pages["/f"] = lambda r: (r.whole(BODY), time.sleep(0.5))[0]
    assert get.ok().size == len(BODY)


def test_announced_size_over_the_limit(site: Server, get: Getter) -> None:
    """What announces to be too large is not read at all."""
    site.pages["/f"] = lambda r: r.head(Content_Length=10**15)
    with pytest.raises(LimitExceeded, match="says that it has"):
        get()


@pytest.mark.parametrize("headers", [{}, {"Transfer_Encoding": "chunked"}])
def test_never_ending(site: Server, get: Getter, headers: dict[str, str]) -> None:
    """A source without end is stopped at the limit, and nothing is left."""

    @site.page("/f")
    def page(request: Request) -> None:
        request.head(**headers)
        while True:
            request.raw(b"10000\r\n" + bytes(65536) + b"\r\n")

    received: list[int] = []
    with pytest.raises(LimitExceeded, match="larger than"):
        get(size=3_000_000, progress=lambda done, total: received.append(done))
    assert max(received) < 3_000_000 + 200_000
    assert get.left() == []


def test_trickling_body(site: Server, get: Getter) -> None:
    """A source that sends a byte now and then never times out in reading, but is stopped by the time limit."""
    site.pages["/f"] = lambda r: (r.head(Content_Length=1_000), _trickle(r, b"x"))[0]
    get.clock = QuickClock()
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded, match="within 1 seconds"):
        get(seconds=1.0)
    assert time.monotonic() - began < 5
    assert get.left() == []


def test_trickling_headers(site: Server, get: Getter) -> None:
    """The same holds for one that trickles headers, before there is an answer."""
    site.pages["/f"] = lambda r: (r.raw(b"HTTP/1.1 200 OK\r\n"), _trickle(r, b"X-Header: 1\r\n"))[0]
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded):
        get(seconds=1.0)
    assert time.monotonic() - began < 5


def test_endless_headers(site: Server, get: Getter) -> None:
    """Headers without end fill no memory."""
    site.pages["/f"] = lambda r: (r.raw(b"HTTP/1.1 200 OK\r\n"), _trickle(r, b"X-Header: 1\r\n" * 5_000, 0))[0]
    with pytest.raises(SourceUnavailable):
        get(attempts=2)


def _trickle(request: Request, data: bytes, pause: float = 0.1) -> None:
    for _ in range(100):
        request.raw(data)
        time.sleep(pause)


def test_silence(site: Server, get: Getter) -> None:
    """A server that says nothing more is left after the read limit."""
    site.pages["/f"] = lambda r: (r.head(Content_Length=9), time.sleep(1))[0]
    with pytest.raises(SourceUnavailable, match="ReadTimeout"):
        get(attempts=1, read_seconds=0.2)


def test_waits_end_at_the_time_limit(site: Server, get: Getter) -> None:
    """What would wait past the time limit is not waited for."""
    site.pages["/f"] = lambda r: r.whole(b"", 503)
    with pytest.raises(TimeLimitExceeded, match="503"):
        get(attempts=100, seconds=20.0)
    assert sum(get.clock.sleeps) < 20


# -- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "encoded"),
    [("gzip", gzip.compress(BODY)), ("x-gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
     ("deflate", zlib.compress(BODY))],
)  # fmt: skip
def test_encoded(site: Server, get: Getter, name: str, encoded: bytes) -> None:
    """It is asked for as it is; a server that encodes all the same is decoded."""
    site.pages["/f"] = lambda r: r.whole(encoded, Content_Encoding=name)
    assert get.ok(sha256=SHA256).size == len(BODY)
    assert site.requests[0][1]["accept-encoding"] == "identity"


def test_gzip_bomb(site: Server, get: Getter) -> None:
    """An encoding that blows up is stopped by the ratio, or by the size of what comes out."""
    bomb = gzip.compress(bytes(200 << 20), 9)
    site.pages["/f"] = lambda r: r.whole(bomb, Content_Encoding="gzip")
    with pytest.raises(LimitExceeded, match="200 times"):
        get()
    with pytest.raises(LimitExceeded, match="larger than the 10,000,000"):
        get(size=10_000_000, ratio=1e9)
    assert get.left() == []


def test_damaged_encodings(site: Server, get: Getter) -> None:
    """Rubbish is refused, a cut is tried again, and unknown encodings are not guessed."""
    site.pages["/f"] = lambda r: r.whole(b"rubbish", Content_Encoding="gzip")
    with pytest.raises(SourceError, match="decompressed"):
        get()
    site.pages["/f"] = lambda r: r.whole(gzip.compress(BODY)[:-9], Content_Encoding="gzip")
    with pytest.raises(SourceUnavailable, match="in the middle"):
        get(attempts=2)
    site.pages["/f"] = lambda r: r.whole(b"x", Content_Encoding="br")
    with pytest.raises(SourceError, match="'br'"):
        get()
    assert get.left() == []


# -- checksums -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_wrong_checksum(site: Server, get: Getter, wrong: dict[str, str]) -> None:
    """A file that is not the expected one is not kept, and the error tells both checksums."""
    site.pages["/f"] = lambda r: r.whole(BODY)
    with pytest.raises(ChecksumMismatch, match="instead of 0000") as caught:
        get(**wrong)
    assert len(str(caught.value)) > 60
    assert get.left() == []


# -- where it may go -------------------------------------------------------------------------------------------------


def _to(url: str, status: int = 302) -> Callable[[Request], None]:
    return lambda r: r.head(status, Location=url, Content_Length=0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(site: Server, get: Getter, status: int) -> None:
    """Redirects within the list are followed, relative ones too; the result tells where they led."""
    site.pages.update({"/f": _to("/a/b", status), "/a/b": _to("c", status), "/a/c": lambda r: r.whole(BODY)})
    assert get.ok().url == f"{site.url}/a/c"


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/secret",
        "http://127.0.0.1/latest/meta-data",
        "http://127.0.0.1:22/",
        "http://[::1]:{port}/",
        "http://127.0.0.1.example.org:{port}/",
        "http://127.1:{port}/",
        "https://127.0.0.1:{port}/",
        "//evil.example.org/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "http://user:pw@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}@evil.example.org/",
        "http://[bad",
        "http://127.0.0.1:999999/",
    ],
)
def test_redirect_elsewhere(site: Server, get: Getter, location: str) -> None:
    """A redirect to a host, port or scheme that is not in the lists is never followed."""
    site.pages.update({"/f": _to(location.format(port=site.server_port)), "/secret": lambda r: r.whole(BODY)})
    with pytest.raises(NotAllowed) as caught:
        get()
    assert "pw" not in str(caught.value)
    assert [path for path, _ in site.requests] == ["/f"]
    assert get.left() == []


def test_redirects_without_end(site: Server, get: Getter) -> None:
    """A circle of redirects ends at the limit."""
    site.pages.update({"/f": _to("/g"), "/g": _to("/f")})
    with pytest.raises(LimitExceeded, match="more than 5 times"):
        get()
    assert len(site.requests) == 6
    site.pages["/f"] = lambda r: r.head(302, Content_Length=0)
    with pytest.raises(SourceError, match="without saying where"):
        get()


def test_credentials_stay_with_their_origin(site: Server, get: Getter) -> None:
    """Headers of the definition go to its own origin, and to no other host or port, not even on the way back."""
    with serving() as other:
        site.pages["/f"] = _to("/g")
        site.pages["/g"] = _to(f"{other.url}/h")
        other.pages["/h"] = _to(f"{site.url}/last")
        site.pages["/last"] = lambda r: r.whole(BODY)
        headers = {"Authorization": "Bearer planted", "X-Api-Key": "planted", "user-agent": "me"}
        get.ok(headers=headers, hosts=[site.host, other.host])
        seen = dict(site.requests + other.requests)
    assert {path for path, h in seen.items() if "planted" in str(h)} == {"/f", "/g"}
    assert {h["user-agent"] for h in seen.values()} == {"me"}


def test_secrets_are_not_shown(site: Server, get: Getter) -> None:
    """Neither header values nor the query of a URL appear in errors, reprs or results."""
    site.pages["/f"] = lambda r: r.whole(BODY)
    result = get.ok("/f?token=planted", headers={"Authorization": "planted"})
    site.pages["/f"] = lambda r: r.whole(b"", 403)
    with pytest.raises(SourceError) as caught:
        get("/f?token=planted", headers={"Authorization": "planted"})
    request = HttpRequest.model_validate(
        {"url": site.url, "hosts": [site.host], "schemes": ["http"], "headers": {"A": "planted"}}
    )
    assert "planted" not in f"{result} {caught.value} {caught.value.as_dict()} {request!r}"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"url": "https://other.example.org/"}, "not in the list"),
        ({"url": "http://data.example.org/"}, "scheme"),
        ({"url": "https://data.example.org:8443/"}, "data.example.org:8443"),
        ({"url": "https://me:pw@data.example.org/"}, "user name"),
        ({"url": "data.example.org"}, "not a complete URL"),
        ({"url": "https://"}, "not a complete URL"),
        ({"hosts": ["*.example.org"]}, "not a host"),
        ({"hosts": ["https://data.example.org/"]}, "not a host"),
        ({"hosts": []}, "not in the list"),
        ({"schemes": ["https", "file"]}, "file"),
        ({"headers": {"A B": "x"}}, "cannot be set"),
        ({"headers": {"Range": "bytes=0-"}}, "cannot be set"),
        ({"headers": {"A": "x\r\nB: y"}}, "does not allow"),
        ({"sha256": "abc"}, "sha256"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_definitions_that_are_refused(change: dict[str, Any], word: str) -> None:
    """What cannot be meant is refused when it is defined, in words that name it."""
    good = {"url": "https://DATA.example.org./f", "hosts": ["data.example.org"]}
    assert HttpRequest.model_validate(good)
    with pytest.raises(ValidationError, match=word):
        HttpRequest.model_validate({**good, **change})


# -- TLS and proxies -------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> Path:
    """A new certificate for 127.0.0.1 with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def test_tls(site: Server, get: Getter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is not trusted ends the download at once; over TLS all else is as without."""
    path = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    site.url = f"https://{site.host}"
    site.pages["/f"] = lambda r: r.ranged(BODY, cut=200_000, ETag=ETAG)
    with pytest.raises(SourceError, match="not to be trusted"):
        get(schemes=["https"])
    assert get.clock.sleeps == []
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert isinstance(done := get(schemes=["https"], sha256=SHA256), Fetched)
    assert done.resumed == 2
    site.pages["/f"] = lambda r: (r.head(Content_Length=10), r.raw(BODY))[0]
    with pytest.raises(SourceError, match="more than the"):
        get(schemes=["https"])
    site.pages["/f"] = lambda r: (r.raw(b"HTTP/1.1 200 OK\r\n"), _trickle(r, b"X-Header: 1\r\n"))[0]
    with pytest.raises(TimeLimitExceeded):
        get(schemes=["https"], seconds=0.5)


def test_proxy_of_the_environment(site: Server, get: Getter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is asked for what lies elsewhere; the list of hosts holds all the same."""
    site.pages["http://data.example.org/f"] = lambda r: r.whole(BODY)
    monkeypatch.setenv("http_proxy", site.url.replace("//", "//me:planted@"))
    request = HttpRequest(url="http://data.example.org/f", hosts=("data.example.org",), schemes=("http",))
    assert isinstance(fetch(request, get.target), Fetched)
    assert site.requests[0][1]["proxy-authorization"].startswith("Basic ")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site.pages["/f"] = lambda r: r.whole(BODY)
    get.ok()
    site.pages["http://data.example.org/f"] = _to("http://other.example.org/")
    with pytest.raises(NotAllowed):
        fetch(request, get.target)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(SourceError, match="socks5"):
        fetch(request, get.target)


# -- the caller ------------------------------------------------------------------------------------------------------


def test_the_caller_may_end_it(site: Server, get: Getter) -> None:
    """An exception from the progress callback ends the download at once and leaves nothing."""

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    site.pages["/f"] = lambda r: r.whole(BODY)
    with pytest.raises(KeyboardInterrupt):
        get(progress=stop)
    assert get.left() == []
    assert len(site.requests) == 1


def test_a_target_that_cannot_be(site: Server, get: Getter) -> None:
    """A target in a place that is no folder is told as what it is."""
    site.pages["/f"] = lambda r: r.whole(BODY)
    get.target = get.folder / "taken" / "file"
    (get.folder / "taken").write_text("x")
    with pytest.raises(StorageError, match="taken"):
        partial(get)()
