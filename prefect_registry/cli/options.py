"""The options that commands share, and what their texts mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_registry.errors import InvalidInput

RegistryName = Annotated[
    str | None,
    Parameter(
        name=["--registry", "-r"],
        help="Name of a block, type/name, URL or folder. Without it, the registry that a flow would use that names "
        "none.",
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Write one JSON document to stdout.")]
Flag = Annotated[bool, Parameter(negative="")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do it, and ask nothing.")]
Several = Annotated[list[str] | None, Parameter(negative="")]
States = Annotated[list[str] | None, Parameter(negative="", help="Only these states; may be repeated.")]
Since = Annotated[str | None, Parameter(help="From this time on: 2026-07-01, 2026-07-01T12:00+02:00, or 12h, 7d ago.")]
Until = Annotated[str | None, Parameter(help="Before this time.")]
Containing = Annotated[str | None, Parameter(name="--text", help="Only what has this in one of its texts.")]
Limit = Annotated[int, Parameter(name=["--limit", "-n"], help="The most that are shown; up to 10,000.")]
Cursor = Annotated[str | None, Parameter(help="Where the page before has ended, as it said.")]
Fresh = Annotated[
    bool,
    Parameter(
        negative="--no-fresh", help="Look at the store first. --no-fresh asks the index of this machine as it is."
    ),
]
AsOf = Annotated[str | None, Parameter(name="--as-of", help="As it was at this time.")]

_AGE = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)(?:\s+ago)?")
_BEHIND = "~"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def moment(option: str, text: str | None) -> datetime | None:
    """A time as people write it: ISO 8601, in UTC where it has no zone, or an age such as ``7d``.

    Raises:
        InvalidInput: It is neither.
    """
    if text is None:
        return None
    from prefect_registry.clock import SystemClock

    age = _AGE.fullmatch(text.strip().lower())
    try:
        if age is not None:
            return SystemClock().now() - timedelta(seconds=int(age.group(1)) * _SECONDS[age.group(2)])
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput.of(
            option,
            [f"{text!r:.60} is no time"],
            todo="Write it like 2026-07-01, 2026-07-01T12:00:00Z, or as an age: 30m, 12h, 7d",
        ) from error


@dataclass(frozen=True)
class Window:
    """The times of a query, and where its page starts.

    An age such as ``7d`` means another moment with every call. So the cursor of a page carries the moments that its
    ages stood for, and the next page is one of the very same query.

    Attributes:
        moments: ``since``, ``until`` and ``as_of``.
        ages: Which of them were given as ages.
        cursor: What the catalog takes; None for the first page.
    """

    moments: Mapping[str, Any]
    ages: tuple[str, ...] = ()
    cursor: str | None = None

    @classmethod
    def of(cls, since: str | None, until: str | None, as_of: str | None, cursor: str | None = None) -> Window:
        """What the options say.

        Raises:
            InvalidInput: One of them is no time, or the cursor is none.
        """
        given = {"since": since, "until": until, "as_of": as_of}
        ages = tuple(name for name, text in given.items() if text is not None and _AGE.fullmatch(text.strip().lower()))
        inner, *fixed = cursor.split(_BEHIND) if cursor is not None else [None]
        if fixed and len(fixed) != len(ages):
            raise InvalidInput.of("--cursor", ["it belongs to a query with other times"])
        texts = {**given, **dict(zip(ages, fixed, strict=False))}
        moments = {name: moment(f"--{name.replace('_', '-')}", text) for name, text in texts.items()}
        return cls(moments, ages, inner)

    def following(self, cursor: str | None) -> str | None:
        """The catalog's ``cursor`` for the next page, as ``--cursor`` takes it."""
        if cursor is None:
            return None
        fixed = [found.strftime("%Y%m%dT%H%M%S.%fZ") for name in self.ages if (found := self.moments[name])]
        return _BEHIND.join([cursor, *fixed])


def labels(option: str, given: Iterable[str] | None) -> dict[str, str] | None:
    """``name=value`` texts as a mapping; None when there are none.

    Raises:
        InvalidInput: Lists those without an equals sign.
    """
    pairs = [text.partition("=") for text in given or ()]
    wrong = [name for name, sign, _ in pairs if not sign or not name]
    if wrong:
        raise InvalidInput.of(option, [f"{name!r:.60} is not of the form name=value" for name in wrong])
    return {name: value for name, _, value in pairs} or None


def one_of(option: str, given: Iterable[str] | None, known: Iterable[str]) -> list[str] | None:
    """Words in upper case, each of which must be known; None when there are none.

    Raises:
        InvalidInput: Lists those that are not.
    """
    wanted, possible = [text.upper() for text in given or ()], list(known)
    wrong = [word for word in wanted if word not in possible]
    if wrong:
        raise InvalidInput.of(option, [f"{word!r:.40} is none of {', '.join(possible)}" for word in wrong])
    return wanted or None


def to_be_sure(yes: bool, question: str, instead: str) -> bool:
    """Whether to go on: said by ``--yes``, or asked where there is a terminal.

    Args:
        yes: Whether it was said.
        question: What is asked.
        instead: What to write where nobody can be asked.

    Raises:
        InvalidInput: It was not said, and nobody can be asked.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidInput("It was not confirmed", why="Nobody can be asked without a terminal", todo=instead,
                           committed="no")  # fmt: skip
    from prefect_registry.cli.asking import confirm

    return confirm(question)
