"""The look at a decision when it is under way beside the write, in the same thread (DESIGN.md P6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typing_extensions import override

from prefect_registry.clock import StoreClock, SystemClock
from prefect_registry.errors import AccessDenied, NotFound, RunAborted, StorageUnavailable
from prefect_registry.ledger.ledger import Ledger, RunSpec
from prefect_registry.ledger.store import Store
from prefect_registry.records.runs import failure
from prefect_registry.storage.base import Storage
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.counting import CountingStorage


class Ahead(WrapperStorage):
    """A storage whose gets can be under way while their thread goes on: what is there is fetched when it is asked for.

    The first ``lost`` answers are lost.
    """

    def __init__(self, inner: Storage, lost: int = 0, error: type[Exception] = StorageUnavailable) -> None:
        super().__init__(inner)
        self.lost, self.error = lost, error

    @override
    def prefetch(self, key: str) -> Callable[[], bytes]:
        found: bytes | NotFound
        try:
            found = self.inner.get(key)
        except NotFound as error:
            found = error

        def answer() -> bytes:
            self._lose(key)
            if isinstance(found, NotFound):
                raise found
            return found

        return answer

    @override
    def get(self, key: str) -> bytes:
        self._lose(key)
        return self.inner.get(key)

    def _lose(self, key: str) -> None:
        if self.lost and key.endswith("/end.json"):
            self.lost -= 1
            raise self.error("no answer")


def process(storage: Storage) -> Ledger:
    return Ledger(Store(storage, StoreClock(SystemClock())), heartbeats=False)


def test_it_takes_the_same_step_as_the_write() -> None:
    """One sequential round trip, two calls: as when two threads make them."""
    counting = CountingStorage(Ahead(MemoryStorage()))
    ledger = process(ResolvingStorage(counting))
    run = ledger.begin(RunSpec("p")).begin.run_id
    with counting.measure() as m:
        ledger.events.emit("e", "s", {}, run, immediate=False)
    assert (m.sequential, dict(m.by_method)) == (1, {"create": 1, "get": 1})


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_a_run_that_is_decided_elsewhere_refuses_the_write(lost: int) -> None:
    """Also when answers are lost on the way: the look is made again."""
    storage = MemoryStorage()
    ahead = Ahead(storage)
    writer, closer = process(ResolvingStorage(ahead, first_delay=0.0)), process(storage)
    run = writer.begin(RunSpec("p")).begin.run_id
    writer.events.emit("e", "s", {}, run, immediate=False)
    closer.abort(run, failure("E", "m"))
    ahead.lost = lost
    with pytest.raises(RunAborted) as caught:
        writer.events.emit("e", "s", {}, run, immediate=False)
    assert (caught.value.committed, ahead.lost) == ("no", 0)


def test_a_look_that_the_store_does_not_answer_fails_the_write() -> None:
    """What was written may or may not be a member: nobody is told that it is."""
    ahead = Ahead(MemoryStorage())
    writer = process(ResolvingStorage(ahead, first_delay=0.0, attempts=2))
    run = writer.begin(RunSpec("p")).begin.run_id
    ahead.lost = 4
    with pytest.raises(StorageUnavailable) as caught:
        writer.events.emit("e", "s", {}, run, immediate=False)
    assert caught.value.committed == "unknown"


def test_the_error_of_the_write_is_told_before_that_of_the_look() -> None:
    """As when two threads make them: the first, in order."""
    ahead = Ahead(MemoryStorage(), error=AccessDenied)
    writer = process(ahead)
    run = writer.begin(RunSpec("p")).begin.run_id

    def write() -> None:
        raise KeyError("the write")

    ahead.lost = 1
    with pytest.raises(KeyError, match="the write"):
        writer.runs.within(run, [write], "write")
    ahead.lost = 1
    with pytest.raises(AccessDenied):
        writer.runs.within(run, [lambda: None], "write")
