"""Identifiers that are addresses: a run id tells the hour it began in, hence where it lies (DESIGN.md 3).

``run_`` + 26 characters of Crockford base32 of a UUIDv7 (TypeID specification 0.3); ids made inside a run carry the
run's 26 characters and 16 random ones.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prefect_registry.errors import MalformedId
from prefect_registry.locks import ForkSafeLock

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {c: i for i, c in enumerate(ALPHABET)}
_RUN = re.compile(r"(run|op)_([0-7][0-9a-hjkmnp-tv-z]{25})")
_INNER = re.compile(r"([a-z]+)_([0-7][0-9a-hjkmnp-tv-z]{25})_([0-9a-hjkmnp-tv-z]{16})")
_ANY = re.compile(r"([a-z]+(?:_[a-z]+)*)_[0-7][0-9a-hjkmnp-tv-z]{25}(?:_[0-9a-hjkmnp-tv-z]{16})?")
_VERSION = re.compile(r".@[0-9]+(\.[0-9]+)*\Z", re.DOTALL)
_NOUNS = {"op": "operation outside any run", "ds": "dataset", "ev": "event", "inc": "incident", "pl": "payload"}
_NOUNS |= {"model": "registered model", "mv": "model version", "art": "artifact", "reg": "registry"}
"""What the ids are of whose prefix does not say so in full."""
_LATEST = "76ez91zpzz"
"""The time part of ids at the end of the year 9999, beyond which Python has no dates."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
RandomBytes = Callable[[int], bytes]


def encode(value: int, length: int) -> str:
    """Crockford base32 of ``value`` in exactly ``length`` lower-case characters, most significant first."""
    return "".join([ALPHABET[value >> shift & 31] for shift in range(5 * length - 5, -1, -5)])


def decode(text: str) -> int:
    """The number that :func:`encode` wrote."""
    value = 0
    for char in text:
        value = value << 5 | _VALUES[char]
    return value


def millis_of(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware time, rounded down: exact, where a float would round up now and then."""
    return (moment - _EPOCH) // _MILLISECOND


SETBACK_MILLIS = 1_000
"""A clock that goes back by more than this was set: ids follow it. Less is threads that overtake each other."""


class IdFactory:
    """Mints ids. Within one factory they ascend strictly, also inside one millisecond (RFC 9562 6.2, method 2), until
    the clock is set back: an id lies in the hour that the clock shows.

    Args:
        random_bytes: Source of randomness: ``os.urandom`` in production.
    """

    def __init__(self, random_bytes: RandomBytes = os.urandom) -> None:
        self._random = random_bytes
        self._lock = ForkSafeLock()
        self._last = (0, 0)
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, RandomBytes]:
        return {"random_bytes": self._random}

    def __setstate__(self, state: dict[str, RandomBytes]) -> None:
        self.__init__(state["random_bytes"])  # type: ignore[misc]

    def typeid(self, prefix: str, now: datetime) -> str:
        """A new TypeID: ``prefix`` + ``_`` + UUIDv7 of ``now`` in 26 characters."""
        millis = millis_of(now)
        with self._lock:
            if self._pid != os.getpid():  # a fork must not continue its parent's sequence
                self._pid, self._last = os.getpid(), (0, 0)
            last_millis, last_tail = self._last
            if not last_millis - SETBACK_MILLIS <= millis <= last_millis:
                tail = int.from_bytes(self._random(10), "big") & ((1 << 74) - 1) >> 1
            else:
                millis = last_millis
                tail = last_tail + 1 + int.from_bytes(self._random(4), "big")
            self._last = (millis, tail)
        rand_a, rand_b = tail >> 62 & 0xFFF, tail & ((1 << 62) - 1)
        return f"{prefix}_{encode(millis << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b, 26)}"

    def inner(self, prefix: str, run_id: str) -> str:
        """A new id of something made inside ``run_id``: 80 random bits behind the run's own 26 characters."""
        return f"{prefix}_{run_id.partition('_')[2]}_{self.suffix()}"

    def suffix(self) -> str:
        """80 random bits in 16 characters."""
        return encode(int.from_bytes(self._random(10), "big"), 16)

    def write_id(self) -> str:
        """Names one logical write, so that every re-send of it carries the same bytes (DESIGN.md 3)."""
        return self.suffix()


def began_at(run_id: str) -> datetime:
    """When the run began, by the clock that minted its id, to the millisecond."""
    millis = decode(run_id.partition("_")[2][:26]) >> 80
    return _EPOCH + millis * _MILLISECOND


def is_run_id(value: object) -> bool:
    """Whether ``value`` has the form of the id of a run, or of an operation outside any (``op_``)."""
    match = _RUN.fullmatch(value) if isinstance(value, str) else None
    return match is not None and match.group(2)[:10] <= _LATEST


def noun_of(value: object) -> str | None:
    """What something is the id of, by its form: ``"a dataset"``; None for what looks like no id. For messages."""
    match = _ANY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return "a version of an object" if isinstance(value, str) and _VERSION.search(value) else None
    return with_article(_NOUNS.get(match.group(1), match.group(1).replace("_", " ")))


def wrong_kind(value: object, noun: str) -> str:
    """Says that ``value`` is not the id of a ``noun``, and what it is the id of if its form tells."""
    wanted, found = with_article(noun), noun_of(value)
    told = f", but of {found}" if found not in (None, wanted) else ""
    return f"{value!r:.80} is not the id of {wanted}{told}"


def with_article(noun: str) -> str:
    """A noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def parse_run_id(value: object) -> str:
    """``value`` if it has the form of a run id, else :class:`MalformedId`."""
    if not isinstance(value, str) or not is_run_id(value):
        raise MalformedId(
            wrong_kind(value, "run"),
            why="A run id is 'run_' and 26 characters",
            todo="Pass the id as insert_run returned it",
            committed="no",
        )
    return value


def parse_inner_id(value: object, prefix: str, noun: str) -> tuple[str, str]:
    """The run id and the suffix inside an id such as ``ds_<26>_<16>``, else :class:`MalformedId`."""
    match = _INNER.fullmatch(value) if isinstance(value, str) else None
    if match is None or match.group(1) != prefix or match.group(2)[:10] > _LATEST:
        raise MalformedId(
            wrong_kind(value, noun),
            why=f"Such an id is '{prefix}_', 26 characters of its run, '_' and 16 more",
            todo="Pass the id as the registry returned it",
            committed="no",
        )
    return f"run_{match.group(2)}", match.group(3)


def random_token() -> str:
    """128 random bits as hexadecimal, for temporary names."""
    return secrets.token_hex(16)
