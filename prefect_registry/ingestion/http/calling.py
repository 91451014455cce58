"""One request to an application, as task managers make them: bounded in time and size, and never led elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpcore
import httpx

from prefect_registry.ingestion.errors import ConfigurationError, RecoverableError, UnexpectedError
from prefect_registry.ingestion.http.decoding import Inflate, Meter
from prefect_registry.ingestion.http.network import Backend, connections, told
from prefect_registry.ingestion.http.problems import LimitExceeded, NotAllowed, SourceError
from prefect_registry.ingestion.http.receiving import MayPass
from prefect_registry.ingestion.http.request import parse, same_origin, shown

MOST_ANSWER_BYTES = 16 << 20
LONGEST_CALL_SECONDS = 300.0
MOST_REDIRECTS = 5
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_OF_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})
_SENT = frozenset({"params", "headers", "data", "json", "files", "cookies", "auth", "allow_redirects"})
_REFUSED = {
    "verify": "Certificates are always verified; a company's own is trusted by SSL_CERT_FILE in the environment",
    "cert": "Client certificates are not supported",
    "proxies": "Proxies are those of the environment: HTTPS_PROXY, NO_PROXY",
    "stream": f"An answer is read whole, up to {MOST_ANSWER_BYTES:,} bytes",
    "hooks": "Nothing is called while the answer comes",
}


def call(what: str, method: str, url: str, timeout: float, options: Mapping[str, Any]) -> httpx.Response:
    """See :meth:`TaskManager.request`. ``what`` begins the message of its errors."""
    request, auth = _request(what, method, url, timeout, options)
    deadline = time.monotonic() + LONGEST_CALL_SECONDS
    follow = options.get("allow_redirects", request.method != "HEAD")
    transport = _Transport(timeout, lambda: deadline - time.monotonic())
    where = shown(request.url)
    try:
        with httpx.Client(transport=transport, auth=auth, follow_redirects=False, trust_env=False) as client:
            for _ in range(MOST_REDIRECTS + 1):
                coming = client.send(request, stream=True)
                try:
                    response = _whole(what, where, coming)
                finally:
                    coming.close()
                if not (follow and coming.next_request is not None):
                    break
                if not same_origin(coming.next_request.url, request.url):
                    raise UnexpectedError(
                        f"{what} ({where})",
                        why=f"It redirects to {shown(coming.next_request.url)}: only the same scheme, host and port "
                        "are asked",
                        todo="Give that address, if it is meant",
                    )
                request = coming.next_request
            else:
                raise RecoverableError(f"{what} ({where})", why=f"It redirects more than {MOST_REDIRECTS} times")
    except (MayPass, SourceError, httpx.HTTPError, OSError) as error:
        raise RecoverableError(f"{what} ({where})", why=str(error)) from error
    if response.is_error:
        raise RecoverableError(f"{what} ({where})", why=f"It answers {response.status_code} {response.reason_phrase}")
    return response


def _request(
    what: str, method: str, url: str, timeout: float, options: Mapping[str, Any]
) -> tuple[httpx.Request, tuple[str, str] | None]:
    problems = list(_problems(method, url, timeout, options))
    if not problems:
        data, auth, params = options.get("data"), options.get("auth"), options.get("params")
        if isinstance(params, Mapping):
            params = {name: value for name, value in params.items() if value is not None}
        try:
            headers = httpx.Headers({"User-Agent": "prefect-registry", "Accept-Encoding": "identity"})
            headers.update(options.get("headers"))
            address = parse(url)
            return httpx.Request(
                method.upper(),
                address.copy_merge_params(params) if params else address,
                headers=headers,
                cookies=options.get("cookies"),
                content=data if isinstance(data, (bytes, str)) else None,
                data=dict(data) if data is not None and not isinstance(data, (bytes, str)) else None,
                json=options.get("json"),
                files=options.get("files"),
            ), (tuple(auth) if auth is not None else None)
        except NotAllowed:
            problems.append("the URL is not complete, with scheme, host and path")
        except (TypeError, ValueError, UnicodeError) as error:  # of values that HTTP cannot send
            problems.append(f"{type(error).__name__}: {error}"[:300])
    raise ConfigurationError(
        f"{what}: the request cannot be made", why="; ".join(problems), todo="Correct the task manager"
    )


def _problems(method: str, url: str, timeout: object, options: Mapping[str, Any]) -> Iterator[str]:
    if method.upper() not in METHODS:
        yield f"the method {method!r:.20} is none of {', '.join(METHODS)}"
    if not url.startswith(("http://", "https://")):
        yield "the URL is not one of http or https"
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= LONGEST_CALL_SECONDS:
        yield f"timeout is a number of seconds, up to {LONGEST_CALL_SECONDS:g}"
    for name in options:
        if name in _REFUSED:
            yield f"{name} cannot be given: {_REFUSED[name]}"
        elif name not in _SENT:
            yield f"there is no option {name!r:.40}; there are {', '.join(sorted(_SENT))}"
    data, auth = options.get("data"), options.get("auth")
    if options.get("json") is not None and (data is not None or options.get("files") is not None):
        yield "json cannot be sent together with data or files"
    if data is not None and not isinstance(data, (bytes, str, Mapping)):
        yield "data is bytes, text, or a mapping of form fields"
    if isinstance(data, (bytes, str)) and options.get("files") is not None:
        yield "files are sent together with a mapping of form fields only"
    if auth is not None and not (isinstance(auth, (tuple, list)) and [type(a) for a in auth] == [str, str]):
        yield "auth is a user name and a password"


def _whole(what: str, where: str, response: httpx.Response) -> httpx.Response:
    """The same answer with all of its content, decoded."""
    meter = Meter(where, MOST_ANSWER_BYTES, math.inf)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    inflate = Inflate(meter) if encoding in ("gzip", "x-gzip", "deflate") else None
    if inflate is None and encoding != "identity":
        raise SourceError(f"{where} comes in the encoding {encoding!r:.40}", why="It was asked for as it is")
    pieces: list[bytes] = []
    try:
        for chunk in response.iter_raw():
            if inflate is None:
                meter.give(len(chunk))
            pieces += [chunk] if inflate is None else inflate.feed(chunk)
    except LimitExceeded as error:
        raise UnexpectedError(
            f"{what} ({where})",
            why=f"It answers with more than {MOST_ANSWER_BYTES:,} bytes",
            todo="Ask for less, or download it with a task of the type http",
        ) from error
    headers = [(n, v) for n, v in response.headers.multi_items() if n.lower() not in _OF_TRANSFER]
    return httpx.Response(
        response.status_code, headers=headers, content=b"".join(pieces), request=response.request,
        extensions={n: v for n, v in response.extensions.items() if n == "reason_phrase"},
    )  # fmt: skip


class _Body(httpx.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes], connection: AbstractContextManager[Any]) -> None:
        self._pieces, self._connection = pieces, connection

    def __iter__(self) -> Iterator[bytes]:
        with told():
            yield from self._pieces

    def close(self) -> None:
        self._connection.__exit__(None, None, None)


class _Transport(httpx.BaseTransport):
    """Sends each request over a connection of its own, with the deadlines of downloads."""

    def __init__(self, timeout: float, left: Callable[[], float]) -> None:
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        self._left = left

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        manager = self._answered(request, target)
        answer = manager.__enter__()
        body = _Body(answer.iter_stream(), manager)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=body, request=request, extensions=answer.extensions
        )

    @contextmanager
    def _answered(self, request: httpx.Request, target: httpcore.URL) -> Iterator[httpcore.Response]:
        context = httpx.create_ssl_context() if request.url.scheme == "https" else None
        headers = [(n, v) for n, v in request.headers.raw if n.lower() != b"connection"]
        headers.append((b"Connection", b"close"))
        given: dict[str, Any] = {"content": request.read(), "extensions": {"timeout": self._timeouts}}
        with (
            told(),
            connections(request.url, context, Backend(self._left)) as pool,
            pool.stream(request.method, target, headers=headers, **given) as answer,
        ):
            yield answer
