"""The one rule for what stands before the host of a URL: users, passwords, and tokens that stand for both; and that for
names of secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "********"
"""What is shown of a value whose name says that it is a secret."""
_SECRET_NAME = re.compile(
    r"(?i)(^|_|-)(pass(word|wd|phrase)?s?|secrets?|token|(api|access|private)[_-]?keys?|credentials?|authorization)($|_|-)"
)
"""No ``tokens``: they are mostly counted."""
_IN_QUERIES = re.compile(r"(?<=[?&])(?:amp;)?([\w.-]+)=([^&#\s'\"<>]+)")
_SIGNATURE_NAME = re.compile(
    r"(?i)(.*-)?sig(nature)?|x-(amz|goog)-.+|AWSAccessKeyId|(access_?)?token|api_?key|se|sp|sv"
)
_WITH_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")
_OF_THE_WEB = ("http", "https")
_TOKEN = re.compile(r"\S*")
_SEPARATOR = re.compile(r"[/?#]")
_NEVER_IN_URLS = re.compile(r'["<>]')
_HOST = re.compile(r"localhost|\[[^\]]*\]|([\w-]+\.)+[\w-]+\.?", re.IGNORECASE)
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MOST_PORT = 65_535
_LIKE_A_HOST = re.compile(r"localhost|\[|\d+(\.\d+){3}|([\w-]+\.)+[a-z]|[a-z][\w-]*[:/]", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a name is one that secrets have, such as ``db_password``."""
    return _SECRET_NAME.search(name) is not None


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values without what is called a secret, or is in what is called one; and without users in URLs."""
    return {name: _masked(value, name) for name, value in values.items()}


def _masked(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(inner, name if is_secret_name(name) else key) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(inner, name) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name):
        return MASK
    return without_user_info(value, "***") if isinstance(value, str) else value


def without_user_info(text: str, mask: str = "") -> str:
    """``text`` with the URLs in it without users and passwords, whatever characters but white space those have.

    What has the form of a port and a path is one where a host stands before it (``https://host.org:1/2@x``), and a
    password elsewhere (``https://user:1/2@host/x``). In ``abfss://container@account`` no user stands before the ``@``.

    A host without a dot cannot be told from a user, nor its port from how a password begins: in
    ``http://minio:9000/b@c/key`` the path may be ``b@c/key``, of ``minio``, or the password ``9000/b``, of the user
    ``minio``. Where a host can stand behind the ``@`` it counts as a password: a URL that is cut short does no harm.

    Args:
        text: A URL, or any text.
        mask: What is put before the ``@`` instead; empty: the ``@`` goes too.
    """
    if "://" not in text or "@" not in text:
        return text
    pieces = [text.partition("://")[0]]
    for _, info, rest in _urls(text):
        pieces.append(f"{mask}@{rest}" if info and mask else rest)
    return "://".join(pieces)


def without_url_secrets(text: str) -> str:
    """``text``, such as that of an error, as everybody may read it: the URLs in it without users, passwords, signatures
    and what else their queries call a secret.
    """

    def masked(found: re.Match[str]) -> str:
        is_secret = _SIGNATURE_NAME.fullmatch(found[1]) is not None or is_secret_name(found[1])
        return found[0][: -len(found[2])] + "***" if is_secret else found[0]

    return _IN_QUERIES.sub(masked, without_user_info(text, "***"))


def has_secret(text: str) -> bool:
    """Whether a URL in ``text`` has a password, or what may be a token: on the web, whatever stands before the host."""
    return any(":" in info or (info and before.endswith(_OF_THE_WEB)) for before, info, _ in _urls(text))


def passwords(text: str) -> list[str]:
    """The passwords of the URLs in ``text``."""
    found = (info.partition(":")[2] for _, info, _ in _urls(text))
    return [password for password in found if password]


def _urls(text: str) -> Iterator[tuple[str, str, str]]:
    """For each ``://``: the end of what is before it; the user info after it, without its ``@``; the rest up to the
    next one.
    """
    before, *parts = text.split("://")
    for part in parts:
        scheme = before[-6:].lower()
        token = _TOKEN.match(part)
        end = _end_of_user_info(token[0]) if token is not None else 0
        info = part[: max(0, end - 1)]
        if ":" not in info and scheme.endswith(_WITH_CONTAINERS):
            end, info = 0, ""
        yield scheme, info, part[end:]
        before = part


def _end_of_user_info(token: str) -> int:
    """Where the host begins: behind the last ``@`` that is not of the path, the query or the fragment."""
    end, at, has_colon, judged = 0, token.find("@"), False, -1
    separator = _position(_SEPARATOR, token, 0)
    foreign = _position(_NEVER_IN_URLS, token, separator)
    is_host: bool | None = None
    while at >= 0:
        if separator < end:
            separator = _position(_SEPARATOR, token, end)
        if separator < at:
            if judged != end:
                judged, is_host = end, _is_host(token[end:separator], has_colon)
            if is_host or foreign < at:
                break
            if is_host is None and not _LIKE_A_HOST.match(token, at + 1):
                at = token.find("@", at + 1)
                continue
        has_colon = has_colon or ":" in token[end:at]
        end = at + 1
        at = token.find("@", end)
    return end


def _position(pattern: re.Pattern[str], text: str, begin: int) -> int:
    found = pattern.search(text, begin)
    return found.start() if found is not None else len(text)


def _is_host(text: str, has_password: bool) -> bool | None:
    """Whether what stands before a separator is a host; None: that depends on what follows."""
    name, colon, port = (text, "", "") if text.endswith("]") else text.rpartition(":")
    if colon and not (_PORT.fullmatch(port) and int(port) <= _MOST_PORT):
        return False
    if _HOST.fullmatch(name if colon else text):
        return True
    return None if colon or has_password else True
