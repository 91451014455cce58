"""A server that speaks the few endpoints of the Hugging Face Hub that registering a model asks."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = {
    "license": "mit",
    "library_name": "onnx",
    "tags": ["vision"],
    "gated": False,
    "layers": 12,
    "score": 0.5,
    "huge": 2**70,
    "repo": "somebody/else",
    "source_uri": "https://somewhere.else",
}


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by name: what ``/api/models/<name>/revision/<revision>`` answers. ``requests`` are their paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[str] = []
        self.status = 0
        files = ["README.md", "onnx/model #1.onnx", "config.json"]
        self.models: dict[str, dict[str, Any]] = {
            "acme/detector": {"id": "acme/detector", "author": "acme", "sha": COMMIT, "cardData": CARD, "files": files},
            "gpt2": {"id": "gpt2", "sha": COMMIT, "files": files},
        }


class Answer(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.status:
            return self.answer(self.server.status, {"error": "as told"})
        path = unquote(self.path.partition("?")[0]).removeprefix("/api/models/")
        name, _, revision = path.replace("/paths-info/", "/revision/").partition("/revision/")
        model = self.server.models.get(name)
        if model is None:
            return self.answer(404, {}, "RepoNotFound")
        if revision not in ("main", "refs/pr/1", COMMIT):
            return self.answer(404, {}, "RevisionNotFound")
        if self.command == "POST":
            wanted = parse_qs(body).get("paths", []) if body[:1] != "{" else json.loads(body)["paths"]
            hidden = model.get("unlisted", ())
            return self.answer(200, [{"type": "file", "path": p, "size": 1, "oid": "0"} for p in wanted if p in hidden])
        told = {k: v for k, v in model.items() if k not in ("files", "unlisted")}
        return self.answer(200, {**told, "siblings": [{"rfilename": name} for name in model["files"]]})

    do_POST = do_GET

    def answer(self, status: int, value: Any, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
