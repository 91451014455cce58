"""What to download, from where it may come, and how much of everything it may take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr, StringConstraints
from pydantic import model_validator as after

from prefect_registry.ingestion.http.problems import NotAllowed

if TYPE_CHECKING:
    import httpx

_DEFAULT_PORTS = {"https": 443, "http": 80}
_OURS = frozenset(
    ["host", "range", "if-range", "if-none-match", "if-modified-since", "accept-encoding", "connection", "te",
     "transfer-encoding", "content-length"]
)  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HARMLESS = frozenset(["accept", "accept-language", "user-agent"])


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpRequest(_Definition):
    """One URL to GET.

    Args:
        url: Without user and password: those belong into ``headers``.
        hosts: Every host that may be asked, redirects included. ``data.example.org`` means the scheme's usual port;
            any other is named: ``data.example.org:8443``. There are no wildcards.
        schemes: ``https`` alone by default.
        headers: Sent to the URL's own origin only: after a redirect to another scheme, host or port, all but
            ``Accept``, ``Accept-Language`` and ``User-Agent`` are left out from then on. Values are never shown.
        sha256: What the file must have, hexadecimal.
        md5: The same, for publishers who give only that. It shows damage, not attacks.
    """

    url: str
    hosts: tuple[str, ...]
    schemes: tuple[str, ...] = ("https",)
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    sha256: Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    md5: Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{32}$")] | None = None

    @after(mode="after")
    def _consistent(self) -> HttpRequest:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        for scheme in self.schemes:
            if scheme not in _DEFAULT_PORTS:
                yield f"the scheme {scheme!r:.40} is none of {sorted(_DEFAULT_PORTS)}"
        for name, value in self.headers.items():
            text = value.get_secret_value()
            if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
                yield f"the header {name!r:.40} cannot be set"
            elif any(ord(c) < 32 or ord(c) > 126 for c in text):
                yield f"the value of the header {name!r:.40} has characters that HTTP does not allow"
        for host in self.hosts:
            if _host_entry(host) is None:
                yield f"{host!r:.80} in hosts is not a host, or host:port"
        try:
            self.checked(parse(self.url))
        except NotAllowed as error:
            yield f"{error.what}: {error.why}"

    def checked(self, url: httpx.URL) -> httpx.URL:
        """``url`` if it may be asked. Raises ``NotAllowed``."""
        if url.scheme not in self.schemes:
            raise NotAllowed(
                f"{shown(url)} may not be asked", why=f"The scheme {url.scheme!r:.40} is not one of {self.schemes}"
            )
        if url.userinfo:
            raise NotAllowed(
                f"{shown(url)} may not be asked",
                why="It holds a user name or password",
                todo="Give credentials as headers, where they are kept secret",
            )
        allowed = [entry for host in self.hosts if (entry := _host_entry(host)) is not None]
        port = url.port or _DEFAULT_PORTS[url.scheme]
        usual = port == _DEFAULT_PORTS[url.scheme]
        if not any(h == _host(url) and (p == port or (p is None and usual)) for h, p in allowed):
            asked = _host(url) if usual else f"{_host(url)}:{port}"
            raise NotAllowed(f"{shown(url)} may not be asked", why=f"{asked} is not in the list of hosts {self.hosts}")
        return url

    def headers_for(self, own_origin: bool) -> dict[str, str]:
        """The definition's headers, or those of them that may leave the URL's own origin."""
        plain = {name: value.get_secret_value() for name, value in self.headers.items()}
        return plain if own_origin else {n: v for n, v in plain.items() if n.lower() in _HARMLESS}


class Limits(_Definition):
    """What one download may take. Sizes are in bytes, times in seconds.

    Args:
        size: Of the file, after decoding.
        seconds: In all: every attempt, redirect and wait.
        connect_seconds: To reach the server, and to agree on TLS.
        read_seconds: Without a single byte.
        redirects: In a row.
        ratio: How many times its compressed size a ``Content-Encoding`` may blow up to, beyond the first MiB.
        attempts: Tries without progress; a try that brings at least 1 MiB more than any before starts the count anew.
        first_wait: Between the first two tries; it doubles, with jitter, up to ``longest_wait``.
        longest_wait: Also of what a server's ``Retry-After`` is followed: if it asks for more, the download ends.
    """

    size: PositiveInt = 10 << 30
    seconds: PositiveFloat = 3_600.0
    connect_seconds: PositiveFloat = 10.0
    read_seconds: PositiveFloat = 60.0
    redirects: Annotated[int, Field(ge=0)] = 5
    ratio: PositiveFloat = 200.0
    attempts: PositiveInt = 5
    first_wait: Annotated[float, Field(ge=0)] = 1.0
    longest_wait: Annotated[float, Field(ge=0)] = 60.0


class Validators(_Definition):
    """What tells whether a source has changed: kept from one download, and given to the next."""

    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None


def parse(text: str) -> httpx.URL:
    """An absolute URL. Raises ``NotAllowed`` for anything else."""
    import httpx

    try:
        url = httpx.URL(text)
        if url.is_absolute_url and url.host and url.port != 0:
            return url.copy_with(fragment=None)
    except (httpx.InvalidURL, TypeError, ValueError):
        pass
    raise NotAllowed("A URL cannot be asked", why="It is not a complete URL", todo="Give scheme, host and path")


def joined(base: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads. Raises ``NotAllowed`` for what is no URL."""
    import httpx

    try:
        return parse(str(base.join(location)))
    except (httpx.InvalidURL, TypeError, ValueError):
        raise NotAllowed(f"{shown(base)} redirects to what is not a URL") from None


def same_origin(a: httpx.URL, b: httpx.URL) -> bool:
    """Whether scheme, host and port are equal."""
    return (a.scheme, _host(a), a.port) == (b.scheme, _host(b), b.port)


def shown(url: httpx.URL) -> str:
    """A URL without what may be secret: user, password and query."""
    port = f":{url.port}" if url.port else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}{url.path[:300]}{'?…' if url.query else ''}"


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _host_entry(text: str) -> tuple[str, int | None] | None:
    """Host and port of an entry in the list; None when it is neither."""
    import httpx

    try:
        url = httpx.URL(f"x://{text}")
    except (httpx.InvalidURL, ValueError):
        return None
    extra = url.userinfo or url.path.strip("/") or url.query or url.fragment or "*" in text or "/" in text
    return None if extra or not url.host else (_host(url), url.port)
