"""``TaskManager.request``, as the reference document has it: what requests takes is sent, or refused clearly."""

from __future__ import annotations

import base64
import gzip
import io
import json
import time
from typing import Any

import pytest
from ingestion_support import Scene
from web_support import Request, Server, serving

from prefect_registry import Registry
from prefect_registry.errors import RegistryError
from prefect_registry.ingestion import ConfigurationError, RecoverableError, TaskManager, UnexpectedError


class Asking:
    """A task manager, and the server that it asks."""

    def __init__(self, registry: Registry, site: Server) -> None:
        scene = Scene(registry).process()
        job = scene.job
        self.manager: TaskManager = scene.stage.manager(job.tasks[0])
        self.site = site
        site.pages["/a"] = lambda request: request.whole(b'{"ok": true}', X_Told="yes")

    def __call__(self, method: str = "GET", path: str = "/a", **kwargs: Any) -> Any:
        return self.manager.request(method, f"{self.site.url}{path}", error_message="It cannot be scheduled", **kwargs)

    def fails(self, kind: type[RegistryError], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(kind) as caught:
            self(*args, **kwargs)
        assert caught.value.what.startswith("Played: It cannot be scheduled")
        return str(caught.value)

    @property
    def path(self) -> str:
        return self.site.requests[-1][0]

    @property
    def headers(self) -> dict[str, str]:
        return self.site.requests[-1][1]

    @property
    def sent(self) -> tuple[str, bytes]:
        return self.site.sent[-1]


@pytest.fixture
def ask(registry: Registry, site: Server) -> Asking:
    return Asking(registry, site)


def test_an_answer(ask: Asking) -> None:
    """It has status, headers, text and JSON, as those of requests do."""
    answer = ask()
    assert (answer.status_code, answer.headers["x-told"], answer.text) == (200, "yes", '{"ok": true}')
    assert (answer.json(), answer.content) == ({"ok": True}, b'{"ok": true}')


@pytest.mark.parametrize("method", ["GET", "get", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_methods(ask: Asking, method: str) -> None:
    """They are sent as they are, in capitals."""
    ask.site.pages["/a"] = lambda request: request.head(204)
    assert ask(method).status_code == 204
    assert ask.sent[0] == method.upper()


def test_params_are_added_to_the_query(ask: Asking) -> None:
    """Values are encoded; None is left out; a list is sent one by one."""
    ask(path="/a?x=1", params={"y": "ä b", "n": None, "z": [1, 2]})
    assert ask.path == "/a?x=1&y=%C3%A4+b&z=1&z=2"


def test_headers_cookies_and_auth(ask: Asking) -> None:
    """They are sent with the request."""
    ask(headers={"X-Key": "k", "user-agent": "me"}, cookies={"c": "1"}, auth=("user", "word"))
    assert (ask.headers["x-key"], ask.headers["user-agent"], ask.headers["cookie"]) == ("k", "me", "c=1")
    assert ask.headers["authorization"] == "Basic " + base64.b64encode(b"user:word").decode()


@pytest.mark.parametrize(
    ("options", "kind", "body"),
    [
        ({"data": b"\x00\xff"}, None, b"\x00\xff"),
        ({"data": "text ä"}, None, "text ä".encode()),
        ({"data": {"a": "1 2", "b": ["x", "y"]}}, "application/x-www-form-urlencoded", b"a=1+2&b=x&b=y"),
        ({"json": {"spider": "x", "n": 1}}, "application/json", b'{"spider":"x","n":1}'),
        ({"json": []}, "application/json", b"[]"),
    ],
    ids=str,
)
def test_bodies(ask: Asking, options: dict[str, Any], kind: str | None, body: bytes) -> None:
    """Bytes and texts are sent as they are, mappings as a form, and JSON as JSON."""
    ask("POST", **options)
    assert ask.sent == ("POST", body)
    assert kind is None or ask.headers["content-type"] == kind


def test_files(ask: Asking) -> None:
    """They are sent as a form of several parts."""
    ask("POST", files={"f": ("name.csv", io.BytesIO(b"n\n1\n"))}, data={"a": "1"})
    assert ask.headers["content-type"].startswith("multipart/form-data")
    assert b'filename="name.csv"' in ask.sent[1]
    assert b"n\n1\n" in ask.sent[1]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"verify": False}, "Certificates are always verified"),
        ({"cert": "x.pem"}, "Client certificates"),
        ({"proxies": {}}, "of the environment"),
        ({"stream": True}, "read whole"),
        ({"hooks": {}}, "Nothing is called"),
        ({"nonsense": 1}, "no option 'nonsense'"),
        ({"timeout": None}, "number of seconds"),
        ({"timeout": 0}, "number of seconds"),
        ({"timeout": 301}, "up to 300"),
        ({"auth": object()}, "a user name and a password"),
        ({"data": [1]}, "data is bytes"),
        ({"data": b"x", "json": 1}, "together"),
        ({"json": {1, 2}}, "not JSON serializable"),
        ({"headers": {"X": 1}}, "TypeError"),
    ],
    ids=str,
)
def test_what_is_refused(ask: Asking, options: dict[str, Any], why: str) -> None:
    """What cannot be honoured is never passed over: nothing is sent, and the error says why."""
    assert why in ask.fails(ConfigurationError, **options)
    assert ask.site.requests == []


@pytest.mark.parametrize("url", ["ftp://x/", "/a", "http://", "file:///etc/passwd", ""])
def test_no_web_address(ask: Asking, url: str) -> None:
    """Only http and https are asked."""
    with pytest.raises(ConfigurationError):
        ask.manager.request("GET", url, error_message="x")
    with pytest.raises(ConfigurationError, match="none of GET"):
        ask.manager.request("CONNECT", ask.site.url, error_message="x")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_errors_of_the_application(ask: Asking, status: int) -> None:
    """They are recoverable, and the message names the manager, what it wanted, and the address without its query."""
    ask.site.pages["/a"] = lambda request: request.whole(b"no", status)
    text = ask.fails(RecoverableError, path="/a?token=hush", params={"key": "hush"})
    assert f"({ask.site.url}/a?…)" in text
    assert f"It answers {status}" in text
    assert "hush" not in text


def cut_off(request: Request) -> None:
    request.head(Content_Length=100)
    request.raw(b"x" * 10)


def silent(request: Request) -> None:
    time.sleep(1)


@pytest.mark.parametrize("page", [cut_off, silent])
def test_an_application_that_is_away(ask: Asking, page: Any) -> None:
    """It breaks off, or does not answer in time: it may be asked again."""
    ask.site.pages["/a"] = page
    ask.fails(RecoverableError, timeout=0.3)
    with pytest.raises(RecoverableError):
        ask.manager.request("GET", "http://127.0.0.1:9/", error_message="x", timeout=1)


def test_redirects_stay_where_they_are(ask: Asking) -> None:
    """They are followed to the same scheme, host and port, and nowhere else: no key is ever sent elsewhere."""
    ask.site.pages["/b"] = lambda request: request.head(302, Location="/a", Content_Length=0)
    assert ask("POST", "/b", data=b"x").json() == {"ok": True}
    assert [method for method, _ in ask.site.sent] == ["POST", "GET"]
    assert ask(path="/b", allow_redirects=False).status_code == 302
    with serving() as other:
        ask.site.pages["/b"] = lambda request: request.head(307, Location=f"{other.url}/a", Content_Length=0)
        assert "only the same scheme" in ask.fails(UnexpectedError, path="/b", headers={"X-Key": "k"})
        assert other.requests == []
    ask.site.pages["/b"] = lambda request: request.head(302, Location="/b", Content_Length=0)
    assert "more than 5 times" in ask.fails(RecoverableError, path="/b")


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_that_is_too_large(ask: Asking, packed: bool) -> None:
    """It is refused, not cut short, and a bomb is stopped at the limit."""
    body = bytes((16 << 20) + 1)
    headers = {"Content_Encoding": "gzip"} if packed else {}
    ask.site.pages["/a"] = lambda request: request.whole(gzip.compress(body) if packed else body, **headers)
    assert "more than 16,777,216 bytes" in ask.fails(UnexpectedError)
    ask.site.pages["/a"] = lambda request: request.whole(gzip.compress(body[1:]) if packed else body[1:], **headers)
    assert len(ask().content) == 16 << 20


def test_a_packed_answer(ask: Asking) -> None:
    """It is unpacked although nobody asked for it packed; another encoding is told."""
    body = gzip.compress(json.dumps({"n": 1}).encode())
    ask.site.pages["/a"] = lambda request: request.whole(body, Content_Encoding="gzip")
    assert ask().json() == {"n": 1}
    assert ask.headers["accept-encoding"] == "identity"
    ask.site.pages["/a"] = lambda request: request.whole(body, Content_Encoding="br")
    assert "encoding 'br'" in ask.fails(RecoverableError)
