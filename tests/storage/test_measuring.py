"""The tools that measure and spoil are exact themselves."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from prefect_registry.errors import AlreadyExists, StorageUnavailable
from prefect_registry.storage import Upload
from prefect_registry.storage.concurrency import in_parallel
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import (
    FaultyStorage,
    SimulatedCrash,
    crash,
    delay,
    error_before,
    kill,
    lost_answer,
    truncation,
)


@pytest.fixture(params=["memory", "local"])
def counting(request: pytest.FixtureRequest, tmp_path) -> CountingStorage:
    """A store that works in one thread, and one that works in several."""
    return CountingStorage(MemoryStorage() if request.param == "memory" else LocalStorage(tmp_path))


def test_sequence_and_total(counting: CountingStorage) -> None:
    """Calls one after the other add up; concurrent ones count as one step, as deep as the deepest."""
    storage = ResolvingStorage(counting)
    with counting.measure() as m:
        storage.put("a", b"x")
        storage.concurrently([lambda i=i: storage.put(f"b/{i}", b"x") for i in range(20)])
        storage.get("a")
    assert (m.sequential, m.total, dict(m.by_method)) == (3, 22, {"put": 21, "get": 1})

    def two() -> None:
        storage.get("a")
        storage.get("a")

    with counting.measure() as m:
        storage.concurrently([two, lambda: storage.info("a"), lambda: storage.concurrently([two, two])])
        storage.get("a")
    assert (m.sequential, m.total) == (3, 8)
    assert counting.calls.total == 30


def test_files_and_pages(counting: CountingStorage) -> None:
    """k files, c at a time, count ⌈k/c⌉ steps; each page of a thousand keys is a call."""
    with counting.measure() as m:
        counting.upload([Upload(f"f/{i:04}", b"x") for i in range(33)])
    assert (m.sequential, m.total) == (3, 33)
    memory = CountingStorage(MemoryStorage())
    for i in range(2001):
        memory.inner.put(f"k/{i:05}", b"x")
    for below, calls in ((1000, 1), (1001, 2), (2001, 3)):
        with memory.measure() as m:
            found = sum(1 for _ in memory.list("k/", f"k/{2001 - below - 1:05}" if below < 2001 else ""))
        assert (found, m.total) == (below, calls)


def test_failures_count(counting: CountingStorage) -> None:
    """A call that fails was a round trip too."""
    counting.create("a", b"x")
    with counting.measure() as m, pytest.raises(AlreadyExists):
        counting.create("a", b"x")
    assert m.sequential == 1


def test_faults_hit_the_call_that_was_meant() -> None:
    """Method, key pattern, number and times select the calls."""
    storage = FaultyStorage(MemoryStorage(), error_before(method="put", key="a/*", at=2, times=2))
    outcomes = []
    for key in ("b/1", "a/1", "a/2", "b/2", "a/3", "a/4"):
        try:
            storage.put(key, b"x")
            outcomes.append("ok")
        except StorageUnavailable:
            outcomes.append("error")
    assert outcomes == ["ok", "ok", "error", "ok", "error", "ok"]
    assert [info.key for info in storage.inner.list("")] == ["a/1", "a/4", "b/1", "b/2"]
    assert storage.calls[0] == ("put", "b/1")


def test_before_and_after() -> None:
    """A lost answer leaves the work done; an error before leaves it undone."""
    storage = FaultyStorage(MemoryStorage(), lost_answer(key="lost"), error_before(key="before"))
    for key in ("lost", "before"):
        with pytest.raises(StorageUnavailable):
            storage.create(key, b"x")
    assert [info.key for info in storage.inner.list("")] == ["lost"]


def test_truncation() -> None:
    """Reads may be cut short without an error."""
    storage = FaultyStorage(
        MemoryStorage(), truncation(method="get"), truncation(0.1, method="open"), truncation(method="list")
    )
    storage.put("key", b"0123456789")
    assert storage.get("key") == b"01234"
    assert storage.open("key").read() == b"0"
    assert list(storage.list("")) == []
    assert storage.get("key") == b"0123456789"


def test_a_crash_ends_everything() -> None:
    """After a simulated crash nothing more reaches the store, whatever the dying program tries."""
    storage = FaultyStorage(MemoryStorage(), crash("after", at=2))
    storage.put("1", b"x")
    with pytest.raises(SimulatedCrash):
        storage.concurrently([lambda: storage.put("2", b"x"), lambda: storage.put("3", b"x")])
    for call in (lambda: storage.put("4", b"x"), lambda: storage.get("1"), lambda: list(storage.list(""))):
        with pytest.raises(SimulatedCrash):
            call()
    assert storage.crashed
    assert [info.key for info in storage.inner.list("")] == ["1", "2"]


@pytest.mark.parametrize(("where", "left"), [("before", ["1"]), ("after", ["1", "2"])])
def test_a_kill_is_real(tmp_path, where, left) -> None:
    """The process dies by SIGKILL at that very call."""
    pid = os.fork()
    if not pid:
        storage = FaultyStorage(LocalStorage(tmp_path), kill(where, method="create", at=2))
        for key in ("1", "2", "3"):
            storage.create(key, b"x")
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert [info.key for info in LocalStorage(tmp_path).list("")] == left


def test_delays() -> None:
    """A delay passes by the storage's clock."""
    storage = FaultyStorage(MemoryStorage(), delay(0.05))
    began = time.monotonic()
    storage.put("key", b"x")
    assert time.monotonic() - began >= 0.05


def test_in_parallel_runs_no_wider_than_told() -> None:
    """Not more than the width run at once, and all of it is used."""
    now, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    in_parallel([call] * 30, 6)
    assert most == 6


def test_an_interrupt_stops_what_has_not_begun() -> None:
    """A KeyboardInterrupt in one call passes through, and the rest never begins."""
    begun = []

    def call(i: int) -> None:
        begun.append(i)
        if i == 2:
            raise KeyboardInterrupt
        time.sleep(0.005)

    for width in (1, 4):
        begun.clear()
        with pytest.raises(KeyboardInterrupt):
            in_parallel([lambda i=i: call(i) for i in range(1000)], width)
        assert len(begun) < 1000
