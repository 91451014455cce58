"""A proxy that loses answers on purpose: the only way to see what the client libraries do about it.

It stands between a real client and a real server, forwards every request, and then spoils the answer, or does not
forward at all.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["reset", "timeout", "500", "503", "503 before", "reset before", "403", "501", "slow"]
FAULTS_AFTER_SUCCESS: tuple[Fault, ...] = ("reset", "timeout", "500", "503")
FAULTS_BEFORE: tuple[Fault, ...] = ("503 before", "reset before")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the client sent it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header, empty without it."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def is_conditional_write(request: Request) -> bool:
    """Whether the request creates an object only if it is absent, in S3's, GCS's or Azure's way."""
    return bool(request.header("If-None-Match") == "*" or re.search(r"[?&]ifGenerationMatch=0(&|$)", request.path))


def first_conditional_writes() -> Callable[[Request], bool]:
    """Which requests are the first conditional write of their object, so that sending one again succeeds."""
    met: set[str] = set()

    def which(request: Request) -> bool:
        if not is_conditional_write(request):
            return False
        in_body = re.search(rb'"name":\s*"([^"]+)"', request.body)  # Google's; S3 has it in the path
        name = in_body.group(1).decode() if in_body else request.path.partition("?")[0]
        if name in met:
            return False
        met.add(name)
        return True

    return which


class Proxy:
    """An HTTP proxy in front of one server.

    Attributes:
        endpoint: What to give a client as the server's address.
        seen: Each conditional write that reached the server: the status that the server answered.
        requests: Every request, as ``(method, path)``.
        drop_headers: Lower-case names of headers that are not passed on: without ``if-none-match``, any S3 server that
            does not verify signatures becomes one that ignores the condition.
        stall_seconds: How long a ``timeout`` lasts, longer than the client waits; and how late a ``slow`` answer comes.
        tls: With it clients must speak TLS, which ends here.
    """

    def __init__(
        self,
        upstream: str,
        drop_headers: frozenset[str] = frozenset(),
        stall_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.upstream = urlsplit(upstream)
        self.drop_headers = drop_headers
        self.stall_seconds = stall_seconds
        self.tls = tls
        self.seen: list[int] = []
        self.requests: list[tuple[str, str]] = []
        self._plan: list[tuple[Fault, Callable[[Request], bool]]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self)
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def fail_next(self, fault: Fault, times: int = 1, which: Callable[[Request], bool] = is_conditional_write) -> None:
        """Spoil the next ``times`` requests for which ``which`` is true."""
        with self._lock:
            self._plan += [(fault, which)] * times

    def reset(self) -> None:
        """Forget what was planned and seen."""
        with self._lock:
            self._plan, self.seen, self.requests = [], [], []

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()

    def fault_for(self, request: Request) -> Fault | None:
        """The planned fault that hits ``request``, which uses it up."""
        with self._lock:
            self.requests.append((request.method, request.path))
            for i, (fault, which) in enumerate(self._plan):
                if which(request):
                    del self._plan[i]
                    return fault
        return None

    def saw(self, request: Request, status: int) -> None:
        """Note what the server answered."""
        if is_conditional_write(request):
            with self._lock:
                self.seen.append(status)

    def stall(self) -> None:
        """Wait, as for a lost answer or a slow server."""
        self._closing.wait(self.stall_seconds)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A client that connects; a handshake is made when it is first read from."""
        connection, address = super().get_request()
        if self.proxy.tls is not None:
            connection = self.proxy.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to report."""


class _Connection(socketserver.StreamRequestHandler):
    """One connection of a client, with its own connection to the server."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        proxy = self.server.proxy
        upstream = http.client.HTTPConnection(proxy.upstream.hostname or "", proxy.upstream.port, timeout=120)
        with contextlib.closing(upstream), contextlib.suppress(ConnectionError, _Reset):
            while (request := self._read()) is not None:
                self._serve(proxy, upstream, request)

    def _serve(self, proxy: Proxy, upstream: http.client.HTTPConnection, request: Request) -> None:
        fault = proxy.fault_for(request)
        if fault == "reset before":
            self._reset()
        if fault in ("503 before", "403", "501"):
            refused = {"503 before": _xml("SlowDown"), "501": _xml("NotImplemented"), "403": _xml("AccessDenied")}
            body = _GOOGLE_DENIES if fault == "403" and _is_google(request) else refused[fault]
            self._answer(int(fault[:3]), [], body, request)
            return
        if fault == "slow":
            proxy.stall()
        answer = self._forward(proxy, upstream, request)
        body = answer.read()
        proxy.saw(request, answer.status)
        if fault == "reset":
            self._reset()
        if fault == "timeout":
            proxy.stall()
            self._reset()
        if fault in ("500", "503"):
            self._answer(int(fault), [], _xml("InternalError" if fault == "500" else "ServiceUnavailable"), request)
            return
        self._answer(answer.status, answer.getheaders(), body, request)

    def _forward(
        self, proxy: Proxy, upstream: http.client.HTTPConnection, request: Request
    ) -> http.client.HTTPResponse:
        for attempt in (1, 2):
            try:
                upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
                for name, value in request.headers:
                    if name.lower() not in proxy.drop_headers | {"expect", "transfer-encoding", "content-length"}:
                        upstream.putheader(name, value)
                upstream.putheader("Content-Length", str(len(request.body)))
                upstream.endheaders(request.body)
                return upstream.getresponse()
            except (http.client.BadStatusLine, ConnectionError):
                upstream.close()  # an idle connection that the server closed
                if attempt == 2:
                    raise
        raise AssertionError

    def _read(self) -> Request | None:
        line = self.rfile.readline(65536)
        if not line:
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers: list[tuple[str, str]] = []
        while (line := self.rfile.readline(65536)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.strip(), value.strip()))
        request = Request(method, path, tuple(headers), b"")
        if request.header("Expect"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in request.header("Transfer-Encoding"):
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(request.header("Content-Length") or 0))
        return Request(method, path, tuple(headers), body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, request: Request) -> None:
        head = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"]
        hop = {"transfer-encoding", "connection", "keep-alive"} | (
            set() if request.method == "HEAD" else {"content-length"}
        )
        head += [f"{name}: {value}" for name, value in headers if name.lower() not in hop]
        if request.method != "HEAD" and status not in (204, 304):
            head.append(f"Content-Length: {len(body)}")
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + (b"" if request.method == "HEAD" else body))
        self.wfile.flush()

    def _reset(self) -> None:
        """Break the connection so that the client sees a reset, not an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise _Reset


class _Reset(Exception):
    pass


def _is_google(request: Request) -> bool:
    return "/storage/v1/" in request.path


_GOOGLE_DENIES = json.dumps(
    {
        "error": {
            "code": 403,
            "message": "a@b does not have storage.objects.create access to the Google Cloud Storage object. "
            "Permission 'storage.objects.create' denied on resource (or it may not exist).",
            "errors": [{"message": "spoiled by the proxy", "domain": "global", "reason": "forbidden"}],
        }
    }
).encode()


def _xml(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>spoiled by the proxy</Message></Error>'.encode()
