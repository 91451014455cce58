"""A web server whose every answer a test decides, down to the bytes, and a clock that does not wait."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prefect_registry.clock import SystemClock

Page = Callable[["Request"], None]


class Request(http.server.BaseHTTPRequestHandler):
    """One request: ``path``, ``headers``, and ways to answer it well or badly."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.server.sent.append((self.command, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
        self.close_connection = True
        with suppress(ConnectionError):
            self.server.pages[self.path.partition("?")[0]](self)

    do_HEAD = do_OPTIONS = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def raw(self, data: bytes) -> None:
        """Send these very bytes."""
        self.wfile.write(data)
        self.wfile.flush()

    def head(self, status: int = 200, **headers: object) -> None:
        """Send a status line and headers; underscores in their names become dashes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.flush()

    def whole(self, body: bytes, status: int = 200, **headers: object) -> None:
        """A correct answer."""
        self.head(status, Content_Length=len(body), **headers)
        self.raw(body)

    def ranged(self, body: bytes, cut: int | None = None, **headers: object) -> None:
        """An answer that honours Range and If-Range, of which only ``cut`` bytes are sent."""
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked and condition in (None, *map(str, headers.values())):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.head(206, Content_Length=len(body) - start, Content_Range=span, **headers)
            body = body[start:]
        else:
            self.head(200, Content_Length=len(body), **headers)
        self.raw(body[:cut])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Serves ``pages``, functions by path, and remembers the ``requests``: path, and headers in lower case;
    and what was ``sent``: method and body.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent: list[tuple[str, bytes]] = []
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}"

    def page(self, path: str) -> Callable[[Page], Page]:
        """Serve the decorated function at ``path``."""

        def keep(page: Page) -> Page:
            self.pages[path] = page
            return page

        return keep

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what many tests are about."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server while the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuickClock(SystemClock):
    """Sleeping takes no time, but the clock goes on as if it had."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return super().monotonic() + sum(self.sleeps)

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
