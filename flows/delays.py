"""What is derived from the flights: how late each airline was on each day."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NEEDED = ["carrier", "year", "month", "day", "dep_time", "dep_delay", "arr_delay"]
LATE_MINUTES = 15
"""From so many minutes on, the US Department of Transportation counts a flight as late."""


def delays_per_carrier_and_day(flights: pa.Table, airlines: pa.Table) -> pa.Table:
    """One row for each airline and day: flights, cancelled ones, mean delays in minutes, and how many arrived late.

    A flight without a departure time was cancelled; one without an arrival delay has no share in the means.
    """
    numbered = (
        flights.select(NEEDED)
        .append_column("cancelled", pc.cast(pc.is_null(flights["dep_time"]), pa.int64()))
        .append_column("late", pc.cast(pc.greater_equal(flights["arr_delay"], pa.scalar(LATE_MINUTES)), pa.int64()))
    )
    grouped: Any = numbered.group_by(["carrier", "year", "month", "day"], use_threads=False).aggregate(
        [("day", "count"), ("cancelled", "sum"), ("dep_delay", "mean"), ("arr_delay", "mean"), ("late", "sum")]
    )
    names = dict(zip(airlines["carrier"].to_pylist(), airlines["name"].to_pylist(), strict=True))
    parts = zip(*(grouped[c].to_pylist() for c in ("year", "month", "day")), strict=True)
    carriers = grouped["carrier"].to_pylist()
    table = pa.table(
        {
            "carrier": pa.array(carriers, pa.string()),
            "airline": pa.array([names.get(c) for c in carriers], pa.string()),
            "date": pa.array([date(*ymd) for ymd in parts], pa.date32()),
            "flights": grouped["day_count"],
            "cancelled": grouped["cancelled_sum"],
            "mean_dep_delay": grouped["dep_delay_mean"],
            "mean_arr_delay": grouped["arr_delay_mean"],
            "late": pc.fill_null(grouped["late_sum"], 0),
        }
    )
    return table.sort_by([("carrier", "ascending"), ("date", "ascending")])
