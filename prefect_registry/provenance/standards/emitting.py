"""OpenLineage events on their way: into a file, a line each, or to an HTTP endpoint such as Marquez'."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from prefect_registry.errors import AccessDenied, InvalidInput, StorageError, StorageUnavailable
from prefect_registry.provenance.libraries import library

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

ENDPOINT = "/api/v1/lineage"
"""Where events are posted at a server of which no path is given; OpenLineage's own clients use it."""
TIMEOUT_SECONDS = 30.0
_LATER = frozenset({408, 425, 429})
_LONGEST_ANSWER = 300


def emit(
    events: Sequence[RunEvent],
    to: str | PathLike[str],
    *,
    token: SecretStr | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Send events, in order.

    Args:
        events: Of :func:`prefect_registry.provenance.standards.openlineage.events_of`.
        to: The path of a file, to which lines of JSON are added in one write; or an ``http`` or ``https`` URL, to which
            each event is posted, with :data:`ENDPOINT` where it has no path.
        token: Sent as ``Authorization: Bearer …``, to that URL only: redirections are not followed.
        timeout_seconds: For each connection, and for each answer.

    Raises:
        InvalidInput: ``to`` is neither, or there can be no such file.
        AccessDenied: The file or the endpoint may not be written to.
        StorageUnavailable: It cannot be reached, or fails; ``context["sent"]`` says how many events it took. Sending
            them again is harmless: an event of the same run, type and time is the same one.
        StorageError: The endpoint does not take the event.
        ConfigurationError: ``openlineage-python`` is not installed.
    """
    to_json = library("openlineage.client.serde", "openlineage").Serde.to_json
    texts = [to_json(event) for event in events]
    place = fspath(to)
    scheme = place.partition("://")[0].lower() if "://" in place else ""
    if scheme in ("http", "https"):
        _post(texts, place, token, timeout_seconds)
    elif scheme or not place or "\0" in place:
        raise InvalidInput.of("to", [f"a path or an http(s) URL is needed, not {_shown(place)!r:.200}"])
    else:
        _append(texts, place)


# -- files -------------------------------------------------------------------------------------------------------------


def _append(texts: Sequence[str], path: str) -> None:
    lines = "".join(f"{text}\n" for text in texts).encode()
    what = f"The events could not be added to {path!r:.200}"
    try:
        with open(path, "ab", buffering=0) as file:
            if file.write(lines) != len(lines):
                raise StorageUnavailable(what, why="Not all of them fit", todo="Make room, and repair the last line")
    except PermissionError as error:
        raise AccessDenied(what, why=str(error)) from error
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InvalidInput.of("to", [f"{what}: {error.strerror}"]) from error
    except OSError as error:
        raise StorageUnavailable(what, why=str(error)) from error


# -- HTTP --------------------------------------------------------------------------------------------------------------


def _post(texts: Sequence[str], url: str, token: SecretStr | None, timeout_seconds: float) -> None:
    shown = _shown(url)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {_checked(token)}"
    sent = 0
    try:
        target = httpx.URL(url)
        target = target.copy_with(path=ENDPOINT) if target.path in ("", "/") else target
        # trust_env: nothing of a netrc file goes to an endpoint that has not been given it.
        with httpx.Client(headers=headers, timeout=timeout_seconds, trust_env=False) as client:
            for text in texts:
                with client.stream("POST", target, content=text) as answer:
                    _judge(answer, shown, sent)
                sent += 1
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InvalidInput.of("to", [f"events cannot be sent to {shown!r:.200}: {type(error).__name__}"]) from None
    except httpx.HTTPError as error:
        raise StorageUnavailable(
            f"The events could not be sent to {shown}", why=f"{type(error).__name__}: {error}", sent=sent
        ) from error


def _checked(token: SecretStr) -> str:
    """A token that a header can hold: else the client's error would show it."""
    text = token.get_secret_value()
    if not (text.isascii() and text.isprintable() and text.strip() == text and text):
        raise InvalidInput.of("token", ["it must be printable ASCII, without spaces around it"])
    return text


def _judge(answer: httpx.Response, shown: str, sent: int) -> None:
    if answer.is_success:
        return
    status = answer.status_code
    what = f"{shown} answered {status} to an event"
    if status in (401, 403):
        raise AccessDenied(what, sent=sent)
    if status in _LATER or status >= 500:
        raise StorageUnavailable(what, why="It is overloaded, or fails", sent=sent)
    told = next(answer.iter_bytes(_LONGEST_ANSWER), b"")
    raise StorageError(what, why=f"It said {told!r}", todo="Check the URL, and which version it speaks", sent=sent)


def _shown(url: str) -> str:
    """Without what may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "that"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
