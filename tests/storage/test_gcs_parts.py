"""Google Cloud Storage may take less of a part than it was given, and says so: nothing counts as stored before it is.

No emulator does that, so a server of a few lines answers as Google documents it for resumable uploads.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prefect_registry.errors import StorageUnavailable
from prefect_registry.storage import Upload, parts
from prefect_registry.storage.gcs import GCSStorage

PART = 1 << 20


class Taking(ThreadingHTTPServer):
    """Takes of each part at most what ``takes`` says next, and the rest of it when there is nothing left to say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.takes: list[int] = []
        self.got = bytearray()
        self.whole = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Taking
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if span is None:
            self._answer(200, {"Location": f"{self.server.url}/upload?upload_id=1"})
            return
        got, takes = self.server.got, self.server.takes
        new = data[len(got) - int(span[1]) :]
        got += new[: takes.pop(0)] if takes else new
        self.server.whole = span[3] == str(len(got))
        if self.server.whole:
            self._answer(200, {}, json.dumps({"name": "large", "size": span[3]}).encode())
        else:
            self._answer(308, {"Range": f"bytes=0-{len(got) - 1}"} if got else {})

    def do_DELETE(self) -> None:
        self._answer(499, {})

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Taking]:
    """The server, running."""
    with Taking() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def storage(server: Taking) -> GCSStorage:
    """A bucket on it, with small parts."""
    storage = GCSStorage("gs://bucket", {"endpoint_url": server.url, "token": "anon"})
    storage.part_bytes = PART
    return storage


@pytest.mark.parametrize(
    "takes",
    [[], [1000], [PART, PART, 1000], [PART, 0, PART, 0]],
    ids=["all", "less of one", "less of the last", "none"],
)
def test_what_was_not_taken_is_sent_again(
    server: Taking, storage: GCSStorage, takes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the last part, and when nothing of one was taken: the object is whole when it is said to be stored."""
    monkeypatch.setattr(parts, "RETRY_SECONDS", 0.01)
    server.takes = takes
    data = os.urandom(2 * PART + 5000)
    assert storage.upload([Upload("large", data)])[0].size == len(data)
    assert server.whole
    assert server.got == data


def test_what_is_never_taken_is_not_stored(
    server: Taking, storage: GCSStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that takes nothing more has not stored the object, and the upload says so."""
    monkeypatch.setattr(parts, "RETRY_SECONDS", 0.01)
    server.takes = [PART, *[0] * 10]
    with pytest.raises(StorageUnavailable, match="bytes"):
        storage.upload([Upload("large", os.urandom(PART + 5000))])
