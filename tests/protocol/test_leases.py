"""P7: who may abort a run, judged by a clock that the test drives."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from prefect_registry.clock import StoreClock
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import UndecidedConflict
from prefect_registry.ledger import holder, paths
from prefect_registry.ledger.leases import Pulse
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.store import Store
from prefect_registry.records.runs import Holder
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.faults import FaultyStorage, error_before

LEASE = 60.0


class Driven:
    """A clock that the test moves; ``wrong`` is by how much its wall clock is off."""

    def __init__(self, wrong: timedelta = timedelta(0)) -> None:
        self.seconds, self.wrong = 0.0, wrong

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds) + self.wrong

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def ledger(storage: Storage, clock: Driven) -> Ledger:
    return Ledger(Store(storage, StoreClock(clock), is_gone=lambda holder: False), heartbeats=False)


def test_a_silent_run_is_aborted_only_after_it_was_watched_for_half_a_lease() -> None:
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    run = ledger(storage, clock).begin(RunSpec("silent", lease_seconds=LEASE)).begin.run_id
    reaper = ledger(storage, clock)
    verdicts = []
    for step in (0, LEASE + 1, LEASE / 2 - 2, 3):
        clock.seconds += step
        verdicts.append(reaper.leases.judge(run))
    assert verdicts == ["alive", "over", "over", "over"]
    late = ledger(storage, clock)
    assert late.leases.judge(run) == "suspect"
    clock.seconds += LEASE / 2
    assert late.housekeeping.reap().reaped == [run]


@pytest.mark.parametrize("wrong", [timedelta(days=1), timedelta(days=-1)])
def test_a_clock_a_day_wrong_reaps_nobody_alive(wrong: timedelta) -> None:
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    owner = ledger(storage, clock)
    run = owner.begin(RunSpec("alive", lease_seconds=LEASE)).begin
    other = Driven(wrong)
    reaper = ledger(storage, other)
    for beat in range(1, 20):
        clock.seconds += LEASE / 3
        other.seconds = clock.seconds
        owner.beats._beat(run.run_id, beat)
        assert reaper.housekeeping.reap().reaped == []
    assert owner.commit(run.run_id).visible == "yes"


def test_a_reaper_that_stood_still_while_it_looked_reaps_nobody() -> None:
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    run = ledger(storage, clock).begin(RunSpec("alive", lease_seconds=LEASE)).begin.run_id
    reaper = ledger(storage, clock)
    assert reaper.leases.judge(run) == "alive"
    look = reaper.leases.pulse

    def stalled(run_id: str) -> object:
        seen = look(run_id)
        clock.seconds += 86_400  # the machine sleeps for a day between the answer and the next line
        return seen

    reaper.leases.pulse = stalled  # type: ignore[method-assign, assignment]
    assert reaper.leases.judge(run) == "alive"


def test_a_process_that_goes_on_with_a_run_keeps_its_lease_when_the_one_that_began_it_has_ended() -> None:
    """P7: work is a sign of life, and nothing else is: whoever only lives on does not hold it for ever."""
    clock, ended = Driven(), set[str]()

    def process(name: str) -> Ledger:
        me = Holder(host="h", boot="b", pid=1, process_start=name)
        store = Store(
            storage, StoreClock(clock), holder=lambda: me, is_gone=lambda holder: holder.process_start in ended
        )
        return Ledger(store)

    storage = MemoryStorage(clock=clock)
    beginner, worker, other, reaper = (process(name) for name in ("beginner", "worker", "other", "reaper"))
    run = beginner.begin(RunSpec("p", lease_seconds=LEASE)).begin.run_id
    beginner.beats.stop(run)
    worker.cells.write("model", "a", {}, run_id=run)
    assert worker.leases.pulse(run) == Pulse(0, clock.now(), beginner.store.holder(), LEASE)
    ended.add("beginner")
    assert reaper.leases.judge(run) == "gone"
    for step, writer in enumerate((worker, other)):
        writer.cells.write("model", f"b{step}", {}, run_id=run)
        writer.cells.write("model", f"c{step}", {}, run_id=run)
        assert reaper.leases.judge(run) == "alive"
    ended.add("other")
    assert reaper.leases.judge(run) == "alive"
    clock.seconds += LEASE + 1
    assert reaper.leases.judge(run) == "over"
    assert len({o.key for o in storage.list("") if o.key.endswith("heartbeat.json")}) == 1


def test_a_dataset_whose_run_of_its_own_has_no_begin_is_reaped() -> None:
    """P13: both were sent at once, and the process died between them."""
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    owner, reaper = ledger(storage, clock), ledger(storage, clock)
    outer = owner.begin(RunSpec("outer", publish="on_commit")).begin.run_id
    dataset = Datasets(owner).begin("k", outer)
    owner.commit(outer)
    storage.delete_many([paths.begin_key(dataset.run_id)])
    assert reaper.housekeeping.reap().suspects == [dataset.run_id]
    clock.seconds += reaper.store.settings.lease_seconds
    assert reaper.housekeeping.reap().reaped == [dataset.run_id]
    assert Datasets(reaper).get(dataset.dataset_id).state == "ROLLED_BACK"


def half_a_save(storage: MemoryStorage, clock: Driven) -> str:
    """A save that had sent its version, its touch and its begin at once, and died when only the first two landed."""
    owner = ledger(storage, clock)
    run = owner.begin(RunSpec("save")).begin.run_id
    owner.cells.first("object", "o@1", {"by": "the dead"}, run_id=run)
    storage.delete_many([paths.begin_key(run)])
    return run


def test_a_generation_whose_run_has_no_begin_is_taken_when_the_error_said() -> None:
    """By whoever wants its name; until then the error says when."""
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    run, other = half_a_save(storage, clock), ledger(storage, clock)
    with pytest.raises(UndecidedConflict, match="begin cannot be found") as refused:
        other.cells.write("object", "o@1", {})
    after = datetime.fromisoformat(refused.value.context["available_after"])
    assert clock.now() < after <= clock.now() + timedelta(seconds=other.store.settings.lease_seconds / 2)
    clock.seconds += (after - clock.now()).total_seconds() - 2 * other.store.settings.undecided_wait_seconds
    with pytest.raises(UndecidedConflict):
        other.cells.write("object", "o@1", {})
    clock.seconds += (after - clock.now()).total_seconds()
    assert other.cells.write("object", "o@1", {}).gen == 1
    assert other.store.decision(run) is not None


def test_a_run_that_has_a_touch_and_no_begin_is_reaped() -> None:
    """Also when nobody wants the version: no hour stays open for it."""
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    run, reaper = half_a_save(storage, clock), ledger(storage, clock)
    assert reaper.housekeeping.reap().suspects == [run]
    clock.seconds += reaper.store.settings.lease_seconds
    assert reaper.housekeeping.reap().reaped == [run]


def test_a_process_that_proc_does_not_show_is_not_gone_while_it_can_be_signalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    me = holder.this_process()
    other = Holder(host=me.host, boot=me.boot, pid=os.getpid(), process_start=me.process_start)
    monkeypatch.setattr(holder, "_start_of", lambda pid: None)  # as with hidepid=2, for another user's process
    assert not holder.is_gone(other)


def test_a_reaper_with_a_fast_clock_that_cannot_be_measured_waits_a_whole_lease() -> None:
    """A run that has missed one beat is alive."""
    clock, fast = Driven(), Driven(timedelta(days=1))
    storage = MemoryStorage(clock=clock)
    run = ledger(storage, clock).begin(RunSpec("alive", lease_seconds=LEASE)).begin.run_id
    reaper = ledger(FaultyStorage(storage, error_before(key=".probe/*", times=1_000)), fast)
    verdicts = []
    for _ in range(4):
        verdicts.append(reaper.leases.judge(run))
        fast.seconds += LEASE / 3 + 0.1
    assert verdicts == ["suspect", "suspect", "suspect", "over"]


def test_a_reaper_whose_clock_is_slow_reaps_what_has_stood_still_for_a_whole_lease() -> None:
    clock, slow = Driven(), Driven(timedelta(days=-1))
    storage = MemoryStorage(clock=clock)
    run = ledger(storage, clock).begin(RunSpec("dead", lease_seconds=LEASE)).begin.run_id
    reaper = ledger(FaultyStorage(storage, error_before(key=".probe/*", times=1_000)), slow)
    verdicts = [reaper.leases.judge(run)]
    slow.seconds += LEASE + 1
    verdicts.append(reaper.leases.judge(run))
    assert verdicts == ["alive", "over"]


# -- damage -----------------------------------------------------------------------------------------------------------


def test_a_damaged_heartbeat_is_no_proof_and_stops_no_pass() -> None:
    """It is a beat whose owner cannot be read: a run that beats on lives, and one that stands still is reaped in its
    time, as are the others before and after it.
    """
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    owner, reaper = ledger(storage, clock), ledger(storage, clock)
    first, living, silent, last = (owner.begin(RunSpec(n, lease_seconds=LEASE)).begin.run_id for n in "abcd")
    clock.seconds += LEASE - 1
    for run in (living, silent):
        storage.put(paths.heartbeat_key(run), b'{"schema": "heart')
    clock.seconds += 2
    report = reaper.housekeeping.reap()
    assert (report.suspects, report.alive) == ([first, last], [living, silent])
    assert sorted(report.damaged) == [living, silent]
    assert f"{paths.heartbeat_key(living)} is not a heartbeat/1 document" in report.damaged[living]
    for _ in range(3):
        clock.seconds += LEASE / 3
        storage.put(paths.heartbeat_key(living), b"")  # the same bytes each time, and each time another beat
    clock.seconds += 1
    report = reaper.housekeeping.reap()
    assert sorted(report.reaped) == [first, silent, last]
    assert (report.alive, list(report.damaged)) == ([living], [living, silent])
    owner.beats._beat(living, 7)
    assert reaper.housekeeping.reap().damaged == {}
    assert owner.commit(living).visible == "yes"


@pytest.mark.parametrize("bytes_", [b"", b"{", b'{"schema": "begin/9"}'])
def test_a_run_whose_begin_is_damaged_is_told_and_left_alone(bytes_: bytes) -> None:
    clock = Driven()
    storage = MemoryStorage(clock=clock)
    owner = ledger(storage, clock)
    damaged, dead = (owner.begin(RunSpec(n, lease_seconds=LEASE)).begin.run_id for n in "ab")
    storage.put(paths.begin_key(damaged), bytes_)
    clock.seconds += 10 * LEASE
    reaper = ledger(storage, clock)
    report = reaper.housekeeping.reap(wait=True)
    assert report.reaped == [dead]
    assert list(report.damaged) == [damaged]
    assert paths.begin_key(damaged) in report.damaged[damaged]
    assert reaper.store.decision(damaged) is None
