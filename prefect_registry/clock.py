"""Time, in one place: nothing else in the package asks what time it is (DESIGN.md 7, P12)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from prefect_registry.locks import ForkSafeLock

UTC = UTC


class Clock(Protocol):
    """What the registry needs of time. Tests inject one that they drive."""

    def now(self) -> datetime:
        """UTC, by the local clock."""

    def monotonic(self) -> float:
        """Seconds that never go back and do not jump when somebody sets the clock."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """UTC now."""
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        """Seconds of the local monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class StoreClock:
    """The store's time: the local clock corrected by what the store's own timestamps show (DESIGN.md P12).

    Also keeps decisions in order: :meth:`decision_time` is later than every decision this process has met.
    """

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._lock = ForkSafeLock()
        self.offset = timedelta(0)
        self.measured = False
        self._latest_met = datetime.min.replace(tzinfo=UTC)

    def __getstate__(self) -> dict[str, object]:
        return {"_local": self._local, "offset": self.offset, "measured": self.measured}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(state["_local"])  # type: ignore[misc]
        self.__dict__.update(state)

    def now(self) -> datetime:
        """UTC now."""
        return self._local.now() + self.offset

    def local(self) -> datetime:
        """The uncorrected local time, to be handed to :meth:`measure` with a store timestamp."""
        return self._local.now()

    def monotonic(self) -> float:
        """Seconds of the local monotonic clock."""
        return self._local.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._local.sleep(seconds)

    def measure(self, stored_at: datetime, before: datetime, after: datetime) -> None:
        """Learn from one write: the store stamped ``stored_at`` on what was sent between two local times.

        Stores stamp whole seconds, and truncate: inside that uncertainty an offset is kept as it is.
        """
        low, high = stored_at - after, stored_at + timedelta(seconds=1) - before
        if low <= self.offset <= high:
            self.measured = True
            return
        with self._lock:
            self.offset = low + (high - low) / 2
            self.measured = True

    def correct(self, offset: timedelta) -> None:
        """Take over an offset that somebody measured with more care than one write."""
        with self._lock:
            self.offset = offset
            self.measured = True

    def met(self, decided_at: datetime) -> None:
        """Note a decision that was read: what this process decides later gets a later time."""
        if decided_at > self._latest_met:
            with self._lock:
                self._latest_met = max(self._latest_met, decided_at)

    def decision_time(self) -> datetime:
        """Now, but later than every decision met so far."""
        with self._lock:
            self._latest_met = max(self.now(), self._latest_met + timedelta(microseconds=1))
            return self._latest_met


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and ``Z``: the one form in the store (DESIGN.md 3)."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def parse_iso(text: str) -> datetime:
    """The moment that :func:`iso` wrote."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
