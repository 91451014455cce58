"""Connections that keep to a deadline in every single read, and count what comes.

httpx would do but for two things: nobody may look at its reads, so that headers could trickle for ever, and a body that
is longer than its Content-Length is silently cut. So this uses httpcore, which is below httpx.
"""

from __future__ import annotations

import contextlib
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpcore
import httpx

from prefect_registry.ingestion.http.problems import SourceError
from prefect_registry.ingestion.http.receiving import MayPass
from prefect_registry.ingestion.http.request import Limits

_LONGEST_HEAD = 256 << 10
_PEEK_SECONDS = 0.1


class Stream(httpcore.NetworkStream):
    """A connection. ``beyond_head`` is how many bytes came after the head of the response, None if that is unknown."""

    def __init__(self, inner: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._inner = inner
        self._left = left
        self._head: bytes | None = b""
        self.beyond_head: int | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes, none at the end. Raises ``httpcore.ReadTimeout`` also when the deadline has come."""
        data = self._inner.read(max_bytes, _within(timeout, self._left, httpcore.ReadTimeout))
        self._note(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self._inner.write(buffer, _within(timeout, self._left, httpcore.WriteTimeout))

    def close(self) -> None:
        """Let go of the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted."""
        within = _within(timeout, self._left, httpcore.ConnectTimeout)
        return Stream(self._inner.start_tls(ssl_context, server_hostname, within), self._left)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about sockets."""
        return self._inner.get_extra_info(info)

    def sends_more(self, body: int) -> bool:
        """Whether more than a body of that size came, or comes now. httpcore itself passes over the rest."""
        if self.beyond_head == body:
            with contextlib.suppress(httpcore.TimeoutException, httpcore.NetworkError):
                self.read(1, _PEEK_SECONDS)
        return self.beyond_head is not None and self.beyond_head > body

    def _note(self, data: bytes) -> None:
        if self.beyond_head is not None:
            self.beyond_head += len(data)
        elif self._head is not None:
            self._head += data
            while self._head.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in self._head:  # interim responses
                self._head = self._head.partition(b"\r\n\r\n")[2]
            _, end, rest = self._head.partition(b"\r\n\r\n")
            if end or len(self._head) > _LONGEST_HEAD:
                self._head, self.beyond_head = None, len(rest) if end else None


class Backend(httpcore.NetworkBackend):
    """Opens :class:`Stream` connections. ``left`` tells how many seconds there are until the deadline."""

    def __init__(self, left: Callable[[], float]) -> None:
        self._left = left
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A new connection."""
        within = _within(timeout, self._left, httpcore.ConnectTimeout)
        return Stream(self._inner.connect_tcp(host, port, within, local_address, socket_options), self._left)


def _within(timeout: float | None, left: Callable[[], float], error: type[Exception]) -> float:
    seconds = left()
    if seconds <= 0:
        raise error("the time limit is over")
    return seconds if timeout is None else min(timeout, seconds)


class Answer:
    """The answer to one request, as it comes: status, headers, and the body as it was sent, not decoded."""

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        reason = response.extensions.get("reason_phrase", b"")
        self.reason = reason.decode("latin-1") if isinstance(reason, bytes) else ""
        self._response = response
        self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        return self._headers.get(name)

    @property
    def length(self) -> int | None:
        """The Content-Length in bytes; None when the end of the body is told in another way."""
        text = self._headers.get("content-length", "")
        return int(text) if text.isdigit() and "transfer-encoding" not in self._headers else None

    def chunks(self) -> Iterator[bytes]:
        """The body. Raises ``MayPass`` when it breaks off."""
        with told():
            yield from self._response.iter_stream()

    def sends_more(self) -> bool:
        """Whether the server goes on behind what it announced."""
        stream = self._response.extensions.get("network_stream")
        return isinstance(stream, Stream) and self.length is not None and stream.sends_more(self.length)


@contextlib.contextmanager
def exchange(url: httpx.URL, headers: Mapping[str, str], limits: Limits, left: Callable[[], float]) -> Iterator[Answer]:
    """GET ``url`` over a connection of its own, following nothing. Raises ``MayPass`` or ``SourceError``."""
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    connect, read = limits.connect_seconds, limits.read_seconds
    timeouts = {"connect": connect, "read": read, "write": read, "pool": connect}
    given = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    context = httpx.create_ssl_context() if url.scheme == "https" else None
    with told(), connections(url, context, Backend(left)) as pool:
        request = [*given, (b"Connection", b"close")]
        with pool.stream("GET", target, headers=request, extensions={"timeout": timeouts}) as response:
            yield Answer(response)


def connections(url: httpx.URL, context: ssl.SSLContext | None, backend: Backend) -> httpcore.ConnectionPool:
    """Connections to a host, through the proxy that the environment names for it (``HTTPS_PROXY``, ``NO_PROXY`` …)."""
    proxies = urllib.request.getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or urllib.request.proxy_bypass(url.host):
        return httpcore.ConnectionPool(ssl_context=context, network_backend=backend)
    proxy = httpx.Proxy(named if "://" in named else f"http://{named}")
    if proxy.url.scheme not in ("http", "https"):
        raise SourceError(f"A proxy of the kind {proxy.url.scheme!r:.20} cannot be used", todo="Name an HTTP proxy")
    user, password = proxy.raw_auth or (None, None)
    return httpcore.HTTPProxy(
        httpcore.URL(
            scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
        ),
        proxy_auth=None if user is None or password is None else (user, password),
        ssl_context=context,
        proxy_ssl_context=httpx.create_ssl_context() if proxy.url.scheme == "https" else None,
        network_backend=backend,
    )


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Errors of the connection in words, without the URL and its secrets."""
    try:
        yield
    except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, UnicodeEncodeError) as error:
        raise SourceError("The request cannot be sent", why=f"{type(error).__name__}: {error}") from error
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise SourceError("The server's certificate is not to be trusted", why=str(cause)[:300]) from error
        raise MayPass(f"{type(error).__name__}: {str(error)[:200] or 'no answer in time'}") from error
