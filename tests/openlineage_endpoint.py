"""An HTTP endpoint that takes OpenLineage events, as Marquez does; it can be told to fail, or never to answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint(ThreadingHTTPServer):
    """A server that keeps what it is sent, and answers with ``statuses`` in turn, then 201, while it ``answers``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[tuple[str, str | None, dict[str, Any]]] = []
        self.statuses: list[int] = []
        self.answers = threading.Event()
        self.answers.set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was sent, in order."""
        return [event for _, _, event in self.taken]


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.taken.append((self.path, self.headers["Authorization"], json.loads(body)))
        if not self.server.answers.wait(60):
            return
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 201)
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"told")

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has given up
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Nothing goes to stderr."""


@contextmanager
def serving() -> Iterator[Endpoint]:
    """A running endpoint."""
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.answers.set()
        server.shutdown()
        thread.join()
