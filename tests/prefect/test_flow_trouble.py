"""A store that does not answer, and a timeout that strikes while a run is being decided: nobody is told a lie."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect_support import ended, rows_of, seen, stage

from prefect_registry.errors import InvalidState, OutcomeUnknown, StorageUnavailable
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run
from prefect_registry.storage.base import Storage
from prefect_registry.storage.opening import open_storage
from prefect_registry.storage.wrapper import WrapperStorage


class Gate(WrapperStorage):
    """Decisions are stored when the gate is open; ``decided`` tells that one is."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.arrived, self.leave = threading.Event(), threading.Event()

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        if key.endswith("end.json"):
            self.arrived.set()
            while not self.leave.is_set():  # Python code, so that Prefect can interrupt it
                self.leave.wait(0.01)


class Down(WrapperStorage):
    """Answers nothing about keys that end in one of ``broken``."""

    broken: tuple[str, ...] = ()

    def create(self, key: str, data: bytes) -> None:
        self._refuse(key)
        super().create(key, data)

    def get(self, key: str) -> bytes:
        self._refuse(key)
        return super().get(key)

    def _refuse(self, key: str) -> None:
        if key.endswith(self.broken) and self.broken:
            raise StorageUnavailable("The store is down", todo="Try again")


class Impatient:
    """A clock that does not wait between tries."""

    def __init__(self) -> None:
        from prefect_registry.clock import SystemClock

        self._clock = SystemClock()
        self._ahead = 0.0

    def now(self) -> Any:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
def down(tmp_path: Path, server: Any) -> tuple[Registry, Down]:
    storage = Down(open_storage(str(tmp_path / "store")))
    return Registry(storage, clock=Impatient()), storage


def test_a_timeout_during_the_decision_does_not_unsay_it(tmp_path: Path, server: Any) -> None:
    """The body is done and the decision made: the flow completes, and says so."""
    gate = Gate(open_storage(str(tmp_path / "store")))
    store = Registry(gate)

    @registry_run(store)
    @flow(timeout_seconds=3)
    def ingest() -> int:
        stage("a")
        return 7

    state = ended(ingest(return_state=True))
    assert gate.arrived.is_set()
    assert state.is_completed()
    assert state.result() == 7
    gate.leave.set()
    assert seen(store).rows("a") == 3


def test_an_unknown_outcome_is_told_as_such(down: tuple[Registry, Down]) -> None:
    """The flow fails with ``committed: unknown``, nothing is cleaned up, and the run is undecided for the reaper."""
    store, storage = down

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        storage.broken = ("end.json",)

    with pytest.raises(OutcomeUnknown) as raised:
        ingest()
    assert raised.value.committed == "unknown"
    storage.broken = ()
    assert seen(store).states() == ["RUNNING"]
    assert seen(store).nothing()


def test_a_rollback_that_cannot_be_stored_leaves_the_error_as_it_is(down: tuple[Registry, Down]) -> None:
    """The flow's own error is raised, with a note; nothing is visible; the lease does the rest."""
    store, storage = down

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        storage.broken = ("end.json",)
        raise ValueError("the flow's own")

    with pytest.raises(ValueError, match="the flow's own") as raised:
        ingest()
    assert any("could not be rolled back" in note for note in raised.value.__notes__)
    storage.broken = ()
    assert seen(store).states() == ["RUNNING"]
    assert seen(store).nothing()


def test_a_run_is_not_published_with_what_a_failed_attempt_left(down: tuple[Registry, Down]) -> None:
    """If its dataset could not be dropped, the run fails rather than double it."""
    store, storage = down
    calls: list[int] = []

    @task(retries=1)
    def append() -> None:
        with current_run().dataset("a", mode="append") as dataset:
            dataset.write_table(rows_of(3))
        calls.append(1)
        if len(calls) == 1:
            storage.broken = ("0000000002.json",)
            raise ConnectionError
        storage.broken = ()

    @registry_run(store)
    @flow
    def ingest() -> None:
        append()

    with pytest.raises(InvalidState, match="a failed task attempt staged"):
        ingest()
    assert seen(store).nothing()


def test_a_run_is_not_published_with_what_a_failed_attempt_left_in_a_run_inside_it(
    down: tuple[Registry, Down],
) -> None:
    """That run is closed, so the run around it is the one that must not be committed."""
    store, storage = down

    @task
    def append() -> None:
        with registry_run(store):
            dataset_id = stage("a")
        storage.broken = (f"{dataset_id}/0000000000.json",)
        raise ConnectionError

    @registry_run(store)
    @flow
    def ingest() -> None:
        append(return_state=True)

    with pytest.raises(InvalidState, match="a failed task attempt staged"):
        ingest()
    storage.broken = ()
    assert seen(store).nothing()


def test_a_store_that_is_down_fails_the_flow_before_its_body(down: tuple[Registry, Down]) -> None:
    """No run, no work."""
    store, storage = down
    storage.broken = ("begin.json",)

    @registry_run(store)
    @flow
    def ingest() -> None:
        raise AssertionError("never called")

    with pytest.raises(OutcomeUnknown) as raised:
        ingest()
    assert raised.value.committed == "no"
