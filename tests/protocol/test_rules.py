"""Single rules of DESIGN.md 4 where the interleavings do not look: time, attempts, calls that overlap a close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from typing_extensions import override

from prefect_registry.clock import StoreClock, SystemClock
from prefect_registry.errors import RegistryError, RunAborted, RunAlreadyClosed, StorageUnavailable
from prefect_registry.ids import began_at
from prefect_registry.ledger import paths
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.store import LedgerSettings, Store
from prefect_registry.storage.base import Storage
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.faults import FaultyStorage, error_before


class Shifted(SystemClock):
    """A wall clock that is wrong."""

    def __init__(self, wrong: timedelta) -> None:
        self.wrong = wrong

    @override
    def now(self) -> datetime:
        return super().now() + self.wrong


def process(storage: Storage, wrong: timedelta = timedelta(0), settings: LedgerSettings | None = None) -> Ledger:
    """A ledger as another process has it."""
    store = Store(storage, StoreClock(Shifted(wrong)), settings=settings or LedgerSettings())
    return Ledger(store, heartbeats=False)


@pytest.mark.parametrize("wrong", [timedelta(days=1), timedelta(days=-1)])
def test_who_closes_a_run_that_another_began_decides_in_store_time(wrong: timedelta) -> None:
    """P12: it has written into the run, and learns from the listing when that landed."""
    storage = MemoryStorage()
    run = process(storage).begin(RunSpec("p")).begin.run_id
    closer = process(storage, wrong)
    closer.cells.write("model", "m", {}, run_id=run)
    closer.events.emit("e", "s", {}, run, immediate=False)
    decided = closer.commit(run).decision
    assert abs(decided.closed_at - datetime.now(tz=UTC)) < timedelta(seconds=3)


@pytest.mark.parametrize("wrong", [timedelta(days=1), timedelta(days=-1)])
def test_who_has_written_nothing_yet_measures_the_clock_before_acting_on_it(wrong: timedelta) -> None:
    """P12: a close of a run that others have filled, a plain write, an event."""
    storage = MemoryStorage()
    run = process(storage).begin(RunSpec("p")).begin.run_id
    times = [
        process(storage, wrong).commit(run).decision.closed_at,
        process(storage, wrong).cells.write("model", "m", {}).at,
        process(storage, wrong).events.emit("e", "s", {}, None, immediate=False).created_at,
    ]
    for time in times:
        assert abs(time - datetime.now(tz=UTC)) < timedelta(seconds=3)
    assert [found.key for found in storage.list(".probe/")] == []


@pytest.mark.parametrize("wrong", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_was_set_right_is_not_measured_by_what_was_sent_before(wrong: timedelta) -> None:
    """P12: an old sample would move it wrong again."""
    storage, clock = MemoryStorage(), Shifted(wrong)
    ledger = Ledger(Store(storage, StoreClock(clock)), heartbeats=False)
    run = ledger.begin(RunSpec("p")).begin.run_id
    clock.wrong = timedelta(0)
    decided = ledger.commit(run).decision
    assert abs(decided.closed_at - datetime.now(tz=UTC)) < timedelta(seconds=3)


def test_runs_lie_in_the_hour_of_the_store_once_the_clock_is_measured() -> None:
    """P12, also when the clock of this process was a day ahead before."""
    ledger = process(MemoryStorage(), timedelta(days=1))
    ledger.commit(ledger.begin(RunSpec("p")).begin.run_id)
    second = ledger.begin(RunSpec("p")).begin
    assert abs(began_at(second.run_id) - second.created_at) < timedelta(seconds=1)


class Overtaken(WrapperStorage):
    """Something happens right before the next look at a decision."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.before_look: Callable[[], object] = lambda: None

    @override
    def get(self, key: str) -> bytes:
        if key.endswith("/end.json"):
            then, self.before_look = self.before_look, lambda: None
            then()
        return self.inner.get(key)


def writes(ledger: Ledger, run: str) -> dict[str, Callable[[], object]]:
    return {
        "cell": lambda: ledger.cells.write("model", "m", {}, run_id=run, blind=True),
        "event": lambda: ledger.events.emit("e", "s", {}, run, immediate=False),
    }


@pytest.mark.parametrize("what", ["cell", "event"])
def test_a_write_that_a_close_has_overtaken_and_taken_along_is_a_success(what: str) -> None:
    """Nobody is told "refused" of what is published."""
    storage = MemoryStorage()
    late = Overtaken(storage)
    writer, closer = process(late), process(storage)
    run = writer.begin(RunSpec("p")).begin.run_id
    late.before_look = lambda: closer.commit(run)
    writes(writer, run)[what]()
    decision = closer.store.decision(run)
    assert decision is not None
    members = closer.store.members(decision)
    assert [len(members.cells), len(members.events)] == ([1, 0] if what == "cell" else [0, 1])


@pytest.mark.parametrize("what", ["cell", "event"])
def test_a_write_that_a_close_has_missed_is_refused(what: str) -> None:
    """A straggler learns that the run is decided without it."""
    storage = MemoryStorage()
    writer, closer = process(storage), process(storage)
    run = writer.begin(RunSpec("p")).begin.run_id
    closer.commit(run)
    with pytest.raises(RunAlreadyClosed) as caught:
        writes(writer, run)[what]()
    assert caught.value.committed == "no"  # of what it would have added


def test_the_time_of_a_write_is_when_it_was_made_and_not_when_it_began_to_wait() -> None:
    """Else a reader of an earlier time would see it before what it had to wait for."""
    storage = MemoryStorage()
    holder, writer = process(storage), process(storage)
    run = holder.begin(RunSpec("p")).begin.run_id
    holder.cells.write("model", "m", {"n": 1}, run_id=run)
    slept: list[float] = []

    class Waking(Shifted):
        @override
        def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            holder.commit(run)

    writer.store.clock = StoreClock(Waking(timedelta(0)))
    written = writer.cells.write("model", "m", {"n": 2})
    decision = writer.store.decision(run)
    assert slept
    assert decision is not None
    assert written.at >= decision.closed_at
    assert (written.gen, written.base) == (1, 0)


def test_each_attempt_ends_those_before_it_and_none_publishes_twice() -> None:
    """P14: the newest attempt of a flow run wins, until one is committed: then its result is returned for ever."""
    storage = MemoryStorage()
    begun = [process(storage).begin(RunSpec("p", flow_run="fr")).begin.run_id for _ in range(3)]
    for superseded in begun[:-1]:
        with pytest.raises(RunAborted, match="superseded"):
            process(storage).commit(superseded)
    process(storage).commit(begun[-1], result={"rows": 1})
    for _ in range(2):
        again = process(storage).begin(RunSpec("p", flow_run="fr"))
        assert again.published is not None
        assert (again.published.run_id, again.published.result) == (begun[-1], {"rows": 1})
        with pytest.raises(RunAborted):
            process(storage).commit(again.begin.run_id)
    assert len(process(storage).runs.attempts("fr")) == 5


def test_a_run_whose_abort_could_not_be_stored_does_not_block_its_own_process() -> None:
    """P7: this process wanted it aborted; it need not wait for a lease to believe itself."""
    storage = MemoryStorage()
    faulty = FaultyStorage(storage)
    settings = LedgerSettings(undecided_wait_seconds=0.05, younger_wait_seconds=0.05)
    ledger = process(faulty, settings=settings)
    run = ledger.begin(RunSpec("p")).begin.run_id
    ledger.cells.write("model", "m", {"n": 1}, run_id=run)
    faulty.plan.append(error_before(method="create", key="*/end.json"))
    with pytest.raises(StorageUnavailable) as caught:
        ledger.abort(run)
    assert caught.value.context["run_id"] == run
    with pytest.raises(RegistryError, match=run):
        process(storage, settings=settings).cells.write("model", "m", {"n": 2})
    assert ledger.cells.write("model", "m", {"n": 2}).gen == 1
    with pytest.raises(RunAborted):
        ledger.commit(run)


class Driven(SystemClock):
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, 9, 58, 30, tzinfo=UTC)

    @override
    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize("near", [True, False])
def test_writes_outside_runs_share_an_operation_for_a_minute_of_one_hour_on_a_near_store(
    tmp_path: Path, near: bool
) -> None:
    """P9: so its touch stands in the hour of its write. Elsewhere each has its own."""
    clock = Driven()
    storage = LocalStorage(tmp_path) if near else MemoryStorage()
    ledger = Ledger(Store(storage, StoreClock(clock)), heartbeats=False)
    operations = []
    for seconds in (0, 30, 29, 11, 20, -30):  # a minute is over; an hour is; the clock is set back
        clock.at += timedelta(seconds=seconds)
        operations.append(ledger.store.operation())
    changes = [one != other for one, other in pairwise(operations)]
    assert changes == ([False, False, True, True, True] if near else [True] * 5)
    assert [paths.run_prefix(each).split("/")[2] for each in operations[:5]] == ["09"] * 4 + ["10"]
    clock.at += timedelta(hours=1)
    assert len({ledger.store.operation() for _ in range(250)}) == (3 if near else 250)
