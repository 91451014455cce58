"""A web server whose files can be held back, so that those who read them are known to do so at the same time."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class GatedSite:
    """Serves a page that links to the files. A reader of a file waits until ``at_once`` files are being read together.

    Attributes:
        reads: How often each file was read.
        met_at: When so many were read together, in seconds since the epoch; None as long as they were not.
    """

    def __init__(self, files: Mapping[str, bytes], at_once: int) -> None:
        self.files, self._at_once = files, at_once
        self.reads: dict[str, int] = dict.fromkeys(files, 0)
        self.met_at: float | None = None
        self._waiting: set[str] = set()
        self._gate = threading.Condition()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                if name in site.files:
                    site.hold(name)
                self.answer(with_body=True)

            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def answer(self, with_body: bool) -> None:
                name = self.path.strip("/")
                page = "".join(f'<a href="{n}">{n}</a>\n' for n in site.files).encode()
                body = site.files.get(name, page if not name else None)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.send_header("Content-Type", "text/html" if not name else "text/csv")
                self.end_headers()
                if with_body and body is not None:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def hold(self, name: str) -> None:
        """Wait for the other readers; who comes later goes through."""
        with self._gate:
            self.reads[name] += 1
            self._waiting.add(name)
            if len(self._waiting) >= self._at_once and self.met_at is None:
                self.met_at = time.time()
                self._gate.notify_all()
            self._gate.wait_for(lambda: self.met_at is not None, timeout=60)
            self._waiting.discard(name)


@contextmanager
def gated_site(files: Mapping[str, bytes], at_once: int) -> Iterator[GatedSite]:
    """Serve the files while the block lasts."""
    site = GatedSite(files, at_once)
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()
