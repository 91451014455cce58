"""Times in cells: ``2011-12-03 10:15:30+11:00``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_A_TIME = "Validation error when parsing provided time, expected format: YYYY-MM-DD HH:MM:SS+HH:MM."


def seconds_of(cell: str) -> int:
    """Whole seconds since 1970 of any ISO 8601 time with an offset from UTC; dates may be written with slashes.

    Without an offset it is not known when it was: the reference takes the time zone of its server.

    Raises:
        ValueError: Its text is for the person who typed the cell.
    """
    try:
        moment = datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        raise ValueError(NOT_A_TIME) from None
    if moment.tzinfo is None:
        raise ValueError(f"{NOT_A_TIME} The offset from UTC is missing: put +00:00 behind it if it is UTC.")
    return (moment - _EPOCH) // timedelta(seconds=1)


def cell_of(seconds: int) -> str:
    """The time in UTC."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(sep=" ")
