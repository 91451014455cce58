"""How long a run may stay silent, who holds it, and when anyone may abort it (DESIGN.md P7)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, NamedTuple

from prefect_registry.clock import iso
from prefect_registry.errors import FormatError, NotFound
from prefect_registry.ledger import paths
from prefect_registry.ledger.outcomes import Outcomes
from prefect_registry.ledger.store import Store
from prefect_registry.locks import ForkSafeLock
from prefect_registry.records.runs import Begin, Decision, Failure, Heartbeat, Holder, failure
from prefect_registry.storage.base import ObjectInfo

Verdict = Literal["decided", "alive", "suspect", "over", "gone", "given_up"]
MAY_BE_ABORTED: tuple[Verdict, ...] = ("over", "gone", "given_up")
Abort = Callable[[str, Failure, str], Decision]


@dataclass(frozen=True)
class Pulse:
    """The last sign of life of a run: which beat, when by the store's clock, and whose: the process that began the run,
    or one of perhaps several that went on with it (``of_beginner`` is False). Of a heartbeat that cannot be read,
    ``beat`` is a negative number that changes with it, and nobody is known.
    """

    beat: int
    at: datetime
    holder: Holder | None
    lease_seconds: float
    of_beginner: bool = True


class _Unreadable(NamedTuple):
    """The bytes of a heartbeat that is none."""

    data: bytes

    def told_at(self, modified: datetime) -> int:
        """A number below -1 for these bytes, put at that time."""
        return -2 - zlib.crc32(self.data + iso(modified).encode())


@dataclass(frozen=True)
class HolderNote:
    """Who holds a run, in words, and when others may take it (ISO 8601), if it stays silent."""

    text: str
    available_after: str


class Leases:
    """Judges undecided runs. Age is only a suspicion; proof is a dead process of this host and boot, or a heartbeat
    that stood unchanged for half a lease of this process's own monotonic clock, remembered between calls.
    """

    def __init__(self, store: Store, outcomes: Outcomes) -> None:
        self._store = store
        self._outcomes = outcomes
        self._seen: dict[str, tuple[int, float]] = {}
        self._lock = ForkSafeLock()
        self._given_up: set[str] = set()
        self.abort: Abort | None = None
        self.unreadable: dict[str, str] = {}
        """Runs whose heartbeat could not be read when it was looked at last, and why."""

    def give_up(self, run_id: str) -> None:
        """This process wanted the run aborted and could not reach the store: whoever meets it here may abort it."""
        self._given_up.add(run_id)

    def pulse(self, run_id: str) -> Pulse | None:
        """The newest sign of life, read from the store now; None when not even a begin exists.

        A damaged heartbeat proves nothing: it is a beat all the same, and a living owner puts another one in its place
        within a third of the lease.
        """
        calls: list[Callable[[], object]] = [
            partial(self._store.begin, run_id),
            partial(self._heartbeat, run_id),
            partial(self._store.storage.info, paths.heartbeat_key(run_id)),
            partial(self._store.storage.info, paths.begin_key(run_id)),
        ]
        begin, beat, beat_info, begin_info = self._store.together(calls)
        if not isinstance(begin, Begin):
            return None
        lease = begin.lease_seconds
        if isinstance(beat, Heartbeat) and isinstance(beat_info, ObjectInfo):
            return Pulse(beat.beat, beat_info.modified, beat.holder, lease, beat.holder == begin.holder)
        if isinstance(beat, _Unreadable) and isinstance(beat_info, ObjectInfo):
            return Pulse(beat.told_at(beat_info.modified), beat_info.modified, None, lease, False)
        began = begin_info.modified if isinstance(begin_info, ObjectInfo) else begin.created_at
        return Pulse(0, began, begin.holder, lease)

    def _heartbeat(self, run_id: str) -> Heartbeat | _Unreadable | None:
        key = paths.heartbeat_key(run_id)
        self.unreadable.pop(run_id, None)
        try:
            data = self._store.storage.get(key)
        except NotFound:
            return None
        try:
            return Heartbeat.decode(data, key)
        except FormatError as error:
            self.unreadable[run_id] = f"{error.what}: {error.why}"
            return _Unreadable(data)

    def judge(self, run_id: str, reported_ended: bool = False) -> Verdict:
        """Whether an undecided run may be aborted by others.

        ``gone``: proven dead. ``over``: silent for its lease, or reported by Prefect as ended, and its heartbeat has
        not changed for half a lease while this process watched. ``suspect``: the same, but not watched for long
        enough yet: judge again later. ``given_up``: this process tried to abort it before. ``alive``: none of these.
        """
        if self._store.decision(run_id) is not None:
            return "decided"
        if run_id in self._given_up:
            return "given_up"
        self._store.know_time()
        looked, now = self._store.clock.monotonic(), self._store.clock.now()  # before: this process may stand still
        pulse = self.pulse(run_id)
        if pulse is None:
            return self._judge_without_begin(run_id)
        if pulse.holder is not None and pulse.of_beginner and self._store.is_gone(pulse.holder):
            return "gone"
        lease, stood = pulse.lease_seconds, self._stood_for(run_id, pulse.beat, looked)
        silent = (now - pulse.at).total_seconds() > lease or stood >= lease
        if not (silent or reported_ended):
            return "alive"
        # A wall clock that could not be measured may be fast, and half a lease is hardly more than one beat.
        return "over" if stood >= (lease / 2 if self._store.clock.measured else lease) else "suspect"

    def _judge_without_begin(self, run_id: str) -> Verdict:
        """Something refers to a run whose begin is not there (yet): watched for half a default lease."""
        stood = self._stood_for(run_id, -1)
        return "over" if stood >= self._store.settings.lease_seconds / 2 else "suspect"

    def _stood_for(self, run_id: str, beat: int, looked: float | None = None) -> float:
        """For how many seconds this process has seen the run at this very beat: from the end of the look that showed
        it first to the beginning of the last one (``looked``), so that no stall of this process counts.
        """
        now = self._store.clock.monotonic()
        with self._lock:
            known = self._seen.get(run_id)
            if known is None or known[0] != beat:
                self._seen[run_id] = known = (beat, now)
            return max(0.0, (now if looked is None else looked) - known[1])

    def forget(self, run_id: str) -> None:
        """Start watching the run anew."""
        with self._lock:
            self._seen.pop(run_id, None)

    def stopped(self, run_id: str) -> bool:
        """Whether the owner of a *decided* run is known to have stopped: it closed the run itself, its process is
        gone, or its heartbeat has stood for half a lease while this process watched (P8).
        """
        end = self._store.decision(run_id)
        pulse = self.pulse(run_id)
        if pulse is None:
            return end is not None and self._stood_for(run_id, -1) >= self._store.settings.lease_seconds / 2
        if pulse.holder is None:
            return end is not None and self._stood_for(run_id, pulse.beat) >= pulse.lease_seconds / 2
        if end is not None and end.closed_by == pulse.holder:
            return True
        return self._store.is_gone(pulse.holder) or self._stood_for(run_id, pulse.beat) >= pulse.lease_seconds / 2

    def abort_if_over(self, run_id: str, note: str) -> bool:
        """Abort an undecided run that :meth:`judge` finds dead. True when it is decided now, by whomever."""
        verdict = self.judge(run_id)
        if verdict == "decided":
            return True
        if verdict not in MAY_BE_ABORTED:
            return False
        assert self.abort is not None
        self.abort(run_id, reaped(verdict), note)
        self.forget(run_id)
        return True

    def describe(self, run_id: str) -> HolderNote:
        """Who holds an undecided run and when it can be taken, for error messages."""
        pulse = self.pulse(run_id)
        if pulse is None:
            needed = timedelta(seconds=self._store.settings.lease_seconds / 2 - self._stood_for(run_id, -1))
            return HolderNote("Its begin cannot be found", iso(self._store.clock.now() + max(needed, timedelta(0))))
        lease, watched = timedelta(seconds=pulse.lease_seconds), timedelta(seconds=self._stood_for(run_id, pulse.beat))
        needed = lease / 2 if self._store.clock.measured else lease
        after = max(pulse.at + lease, self._store.clock.now() - watched + needed)
        holder = pulse.holder
        who = f"process {holder.pid} on {holder.host}" if holder else "an unknown process"
        return HolderNote(f"It is held by {who}, last heard of at {iso(pulse.at)}", iso(after))


def reaped(verdict: Verdict) -> Failure:
    """The failure that a reaped run's decision carries."""
    why = {
        "gone": "its process is gone",
        "given_up": "its process wanted to abort it before, when the store did not answer",
    }
    return failure(
        "Reaped", message=why.get(verdict, "its lease was over and its heartbeat stood still"), kind="reaped"
    )
