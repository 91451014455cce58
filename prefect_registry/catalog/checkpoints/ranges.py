"""Which rows belong to which range of hours: told by what a row holds, so that every index says the same.

A *stamp* is the time as ids have it: the ten characters behind the prefix of whatever was made at that millisecond.
Stamps ascend with time; the empty one is before all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_registry.catalog.schema import micros
from prefect_registry.ids import decode, encode

TABLES = ("runs", "datasets", "events", "cells", "edges")
"""The tables whose rows belong to an hour."""

_HOUR = timedelta(hours=1)


def stamp_of_micros(value: int) -> str:
    """The stamp of a time of the index."""
    return encode(value // 1_000, 10)


def stamp_after(hour: str) -> str:
    """The stamp at which an hour is over; the empty one for no hour."""
    if not hour:
        return ""
    begin = datetime.strptime(hour, "%Y-%m-%d/%H").replace(tzinfo=UTC)
    return stamp_of_micros(micros(begin + _HOUR))


def hour_of_stamp(stamp: str) -> str:
    """The hour in which a stamp lies."""
    return datetime.fromtimestamp(decode(stamp) / 1_000, UTC).strftime("%Y-%m-%d/%H")


def stamp_of(table: str, row: Mapping[str, Any]) -> str:
    """The stamp of a row: of its run, or of its own time when it has none."""
    if table == "cells":
        return row["tx"][4:14] if row["tx"] is not None else stamp_of_micros(row["at"])
    if table == "edges":
        by = row["asserted_by"]
        return by[4:14] if by is not None and by.startswith("run_") else stamp_of_micros(row["at"])
    return str(row["id"]).partition("_")[2][:10]


@dataclass(frozen=True)
class Range:
    """Rows whose stamp is at least ``low`` and less than ``high``."""

    low: str
    high: str

    @classmethod
    def of_hours(cls, after: str, through: str) -> Range:
        """The hours behind ``after`` up to and with ``through``."""
        return cls(stamp_after(after), stamp_after(through))

    def has(self, stamp: str) -> bool:
        """Whether it holds a row of that stamp."""
        return self.low <= stamp < self.high

    @property
    def values(self) -> dict[str, Any]:
        """What the conditions below name."""
        return {
            "low": self.low,
            "high": self.high,
            "run_low": f"run_{self.low}",
            "run_high": f"run_{self.high}",
            "ds_low": f"ds_{self.low}",
            "ds_high": f"ds_{self.high}",
            "at_low": decode(self.low) * 1_000 if self.low else -(2**63),
            "at_high": decode(self.high) * 1_000,
        }


_STAMP = "substr(id, instr(id, '_') + 1, 10)"
_OF_RUN = "asserted_by >= 'run_' AND asserted_by < 'run`'"

SETTLED = {
    "runs": "id >= :run_low AND id < :run_high AND settled_at IS NOT NULL",
    "datasets": "id >= :ds_low AND id < :ds_high AND outcome IS NOT NULL",
    "events": f"{_STAMP} >= :low AND {_STAMP} < :high",
    "cells": "CASE WHEN tx IS NULL THEN at >= :at_low AND at < :at_high ELSE tx >= :run_low AND tx < :run_high END",
    "edges": f"CASE WHEN {_OF_RUN} THEN asserted_by >= :run_low AND asserted_by < :run_high"
    " ELSE at >= :at_low AND at < :at_high END",
}
"""The rows of a range that never change again, or so seldom that its part is then written anew."""

_HELD = """(SELECT id FROM runs WHERE id >= :run_high AND (publication < :run_high OR publication IN
    (SELECT publication FROM runs WHERE id < :run_high AND publication >= :run_high)))"""
"""Runs behind a range that became visible together with a run in it, or before it."""

REST = {
    "runs": f"(id < :run_high AND settled_at IS NULL) OR (id >= :run_high AND (:all OR id IN {_HELD}))",
    "datasets": f"(id < :ds_high AND outcome IS NULL) OR (id >= :ds_high AND (:all OR run_id IN {_HELD}))",
    "events": f"{_STAMP} >= :high AND (:all OR run_id IN {_HELD})",
    "cells": f"CASE WHEN tx IS NULL THEN at >= :at_high ELSE tx >= :run_high AND (:all OR tx IN {_HELD}) END",
    "edges": f"CASE WHEN {_OF_RUN} THEN asserted_by >= :run_high AND (:all OR asserted_by IN {_HELD})"
    " ELSE at >= :at_high END",
    "unsettled": "run_id < :run_high",
    "watched": "1",
}
"""What no part of the hours up to ``:high`` has, and readers need; with ``:all``, everything behind them too."""
