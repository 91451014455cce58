"""Keeping credentials out of everything that is shown: URLs, reprs, errors, logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from prefect_registry.credentials import has_secret, passwords, without_user_info

_SIGNATURE = re.compile(r"(?i)\b(sig|signature|x-amz-[a-z-]+|x-goog-[a-z-]+|token|se|sp|sv)=[^&\s'\"]+")
_AUTHORIZATION = re.compile(r"(?i)(bearer|basic|sharedkey)\s+[A-Za-z0-9+/=._:-]{8,}")
_PARTS_OF_CONNECTION_STRINGS = re.compile(r"(?i)(AccountKey|SharedAccessSignature)=([^;\s]+)")
_PUBLIC_OPTIONS = re.compile(
    r"(?i)^(endpoint(_url)?|region(_name)?|account_(name|host|url)|project|protocol|role_arn|session_name|verify|"
    r"profile(_name)?|host|port|(client|tenant)_id|"
    r"addressing_style|signature_version|use_ssl|anon|default_.*|.*(size|timeout|concurrency|version|style|mode))$"
)
_SHORTEST_SECRET = 4
_HIDDEN = "***"


def without_credentials(url: str) -> str:
    """``url`` without ``user:password@`` and signatures."""
    return _SIGNATURE.sub(rf"\1={_HIDDEN}", without_user_info(url))


def holds_credentials(url: str) -> bool:
    """Whether a URL has a password, a token or a signature, which no record may hold: everybody could see it."""
    query = "?" + url.partition("?")[2]
    return has_secret(url) or _SIGNATURE.sub("", query) != query


class Scrubber:
    """Removes from texts whatever in ``options`` may be a secret, and what looks like one anywhere."""

    def __init__(self, options: Mapping[str, object]) -> None:
        # The longest first, so that a secret that contains another one disappears whole.
        self._secrets = sorted(set(_secrets_in(options)), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """``text`` with ``***`` in the place of every secret."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        text = _PARTS_OF_CONNECTION_STRINGS.sub(rf"\1={_HIDDEN}", _AUTHORIZATION.sub(rf"\1 {_HIDDEN}", text))
        return without_credentials(text)


def _secrets_in(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets_in(inner, str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secrets_in(inner, name)
    elif type(value).__module__.startswith("prefect_registry."):
        yield from _secrets_in(vars(value))  # credentials that renew themselves
    elif isinstance(value, str) and len(value) >= _SHORTEST_SECRET and not _PUBLIC_OPTIONS.match(name):
        yield value
        yield from passwords(value)
        for _, secret in _PARTS_OF_CONNECTION_STRINGS.findall(value):
            yield secret
