"""A download in ranges whose connection breaks goes on where it stopped, wherever that is.

The server answers as Google documents it, and breaks the connection after as many bytes as it is told.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prefect_registry.errors import IntegrityError
from prefect_registry.storage import Download, parts
from prefect_registry.storage.gcs import GCSStorage

RANGE = 1 << 16
SIZE = 2 * RANGE + 1000


class Breaking(ThreadingHTTPServer):
    """Serves ``data``. A range that ends at ``breaks`` is sent whole, and then the connection breaks, once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.data = os.urandom(SIZE)
        self.breaks: int | None = None


class _Answers(BaseHTTPRequestHandler):
    server: Breaking
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = self.server.data
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"])
        assert span is not None
        start, end = int(span[1]), min(int(span[2] or len(data)) + 1, len(data))
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (end - start, data[start:end]))
        if end == self.server.breaks:
            self.server.breaks, self.close_connection = None, True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaking]:
    """The server, running, for ranges that are small."""
    monkeypatch.setattr(parts, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(parts, "_RANGE_BYTES", RANGE)
    with Breaking() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _download(server: Breaking, target: Path, size: int = SIZE) -> None:
    options = {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "token": "anon"}
    sha256 = hashlib.sha256(server.data[:size]).hexdigest()
    GCSStorage("gs://bucket", options).download([Download("large", target, size, sha256)])


@pytest.mark.parametrize("breaks", [RANGE, SIZE], ids=["first", "last"])
def test_a_range_that_breaks_after_its_last_byte_is_whole(server: Breaking, tmp_path: Path, breaks: int) -> None:
    """Nothing is missing then, so that is no damage."""
    server.breaks = breaks
    _download(server, tmp_path / "large")
    assert server.breaks is None
    assert (tmp_path / "large").read_bytes() == server.data


def test_an_object_that_has_grown_is_noticed_after_a_break_too(server: Breaking, tmp_path: Path) -> None:
    """The last range is open at its end for that reason; what goes on behind a break is, too."""
    server.data += b"more"
    server.breaks = SIZE + 4
    with pytest.raises(IntegrityError):
        _download(server, tmp_path / "large", SIZE)
    assert not (tmp_path / "large").exists()
