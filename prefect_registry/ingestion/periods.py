"""Parts of the past that a job is asked to retrieve: days, months and years."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from prefect_registry.errors import InvalidInput

MOST_PERIODS = 1_000
PLACEHOLDERS = ("{period}", "{date_from}", "{date_to}")
"""What texts in the options of a task may have in them: the period as it was given, its first and its last day."""
_PERIOD = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)


@dataclass(frozen=True)
class Period:
    """A day (``2013-01-31``), a month (``2013-01``) or a year (``2013``), by its first and last day."""

    text: str
    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> Period:
        """A period from its text. Raises ``InvalidInput``."""
        match = _PERIOD.fullmatch(text)
        if match is None:
            raise _wrong(f"{text!r:.40} is no day, month or year, such as 2013-01-31, 2013-01 or 2013")
        year, month, day = (int(part) if part else None for part in match.groups())
        assert year is not None
        try:
            first = date(year, month or 1, day or 1)
            last = date(year, month or 12, day or calendar.monthrange(year, month or 12)[1])
        except ValueError as error:
            raise _wrong(f"{text!r:.40} is no day, month or year: {error}") from error
        return cls(text, first, last)


def periods_of(text: str) -> list[Period]:
    """One period, or with ``2013-01..2013-12`` each from the first to the last, which are of the same kind.

    Raises:
        InvalidInput: It is neither, the last one is before the first, or there are more than a thousand.
    """
    begin, dots, end = text.partition("..")
    first = Period.parse(begin)
    if not dots:
        return [first]
    last = Period.parse(end)
    if len(begin) != len(end) or last.first < first.first:
        raise _wrong(f"{text!r:.80} is no range: give two days, two months or two years, the earlier one first")
    found = [first]
    while found[-1].last < last.last:
        if len(found) == MOST_PERIODS:
            raise _wrong(f"{text!r:.80} has more than {MOST_PERIODS:,} periods")
        found.append(Period.parse((found[-1].last + timedelta(days=1)).isoformat()[: len(begin)]))
    return found


def filled(options: Any, values: Mapping[str, str]) -> Any:
    """Options with the placeholders in their texts replaced by ``values``."""
    if isinstance(options, str):
        for placeholder, value in values.items():
            options = options.replace(placeholder, value)
        return options
    if isinstance(options, Mapping):
        return {name: filled(value, values) for name, value in options.items()}
    return [filled(value, values) for value in options] if isinstance(options, list) else options


def placeholders_in(options: Any) -> set[str]:
    """Which placeholders the texts of options have in them."""
    return {placeholder for text in _texts(options) for placeholder in PLACEHOLDERS if placeholder in text}


def _texts(options: Any) -> Iterator[str]:
    if isinstance(options, str):
        yield options
    elif isinstance(options, (Mapping, list)):
        for value in options.values() if isinstance(options, Mapping) else options:
            yield from _texts(value)


def _wrong(problem: str) -> InvalidInput:
    return InvalidInput.of("the period", [problem])
