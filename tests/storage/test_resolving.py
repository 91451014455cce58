"""Lost answers, tried in every combination: nobody is told what was not proved (DESIGN.md P10)."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_registry.clock import UTC
from prefect_registry.errors import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    OutcomeUnknown,
    StorageError,
    StorageUnavailable,
)
from prefect_registry.storage import Download, Upload
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.counting import CountingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, SimulatedCrash, crash, error_before, lost_answer


class DrivenClock:
    """Time that passes only by sleeping, and a little by looking."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(1.7e9 + self.seconds, tz=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def resolving(*faults: Fault, inner: MemoryStorage | None = None, timeout: float = 30.0) -> ResolvingStorage:
    storage = FaultyStorage(CountingStorage(inner or MemoryStorage()), *faults)
    return ResolvingStorage(storage, DrivenClock(), timeout, jitter=lambda: 0.5)


def calls_of(storage: ResolvingStorage) -> list[str]:
    assert isinstance(storage.inner, FaultyStorage)
    return [method for method, _ in storage.inner.calls]


def denied() -> Exception:
    return AccessDenied("no")


def exists() -> Exception:
    return AlreadyExists("yes")


def test_no_fault_is_one_call() -> None:
    """Without trouble a create is a single round trip."""
    storage = resolving()
    storage.create("key", b"ours")
    assert calls_of(storage) == ["create"]


def test_lost_answer_costs_one_more_call() -> None:
    """A lost answer is resolved by one reading back, without waiting."""
    storage = resolving(lost_answer(method="create"))
    storage.create("key", b"ours")
    assert calls_of(storage) == ["create", "get"]
    assert storage._clock.slept == []  # type: ignore[attr-defined]


def test_our_own_success_told_as_exists() -> None:
    """A client library that sent twice says "exists" of our own success: it is recognised."""
    storage = resolving(lost_answer(exists, method="create"))
    storage.create("key", b"ours")
    assert calls_of(storage) == ["create", "get"]


def test_conflict_shows_what_is_there() -> None:
    """Other bytes are a conflict, with those bytes, whatever the store said."""
    for fault in ([], [error_before(method="create")], [lost_answer(method="create")]):
        inner = MemoryStorage()
        inner.create("key", b"theirs")
        storage = resolving(*fault, inner=inner)
        with pytest.raises(AlreadyExists) as caught:
            storage.create("key", b"ours")
        assert caught.value.existing == b"theirs"
        assert calls_of(storage) == ["create", "get"]


def test_absent_is_sent_again() -> None:
    """What did not arrive is sent again, the same bytes, after a pause."""
    storage = resolving(error_before(method="create", times=3))
    storage.create("key", b"ours")
    assert calls_of(storage) == ["create", "get"] * 3 + ["create"]
    assert storage._clock.slept == pytest.approx([0.075, 0.15, 0.3])  # type: ignore[attr-defined]
    assert storage.get("key") == b"ours"


def test_giving_up_is_never_no() -> None:
    """When the time is over the outcome is unknown: neither a conflict nor a failure."""
    storage = resolving(error_before(method="create", times=1000))
    with pytest.raises(OutcomeUnknown, match="not known") as caught:
        storage.create("key", b"ours")
    assert caught.value.committed == "unknown"
    assert 20 < storage._clock.monotonic() <= 30


def test_exists_without_reading_is_unknown() -> None:
    """Told "exists" but unable to read, nobody can tell whose it is."""
    storage = resolving(lost_answer(exists, method="create"), error_before(denied, method="get"))
    with pytest.raises(OutcomeUnknown):
        storage.create("key", b"ours")
    storage = resolving(lost_answer(exists, method="create"), error_before(method="get", times=1000))
    with pytest.raises(OutcomeUnknown):
        storage.create("key", b"ours")


def test_certain_refusals_surface_at_once() -> None:
    """Denied, full and the like are told at once, unless an earlier request may still land."""
    for error in (denied, lambda: StorageError("full")):
        storage = resolving(error_before(error, method="create"))
        with pytest.raises(StorageError) as caught:
            storage.create("key", b"ours")
        assert not isinstance(caught.value, OutcomeUnknown)
        assert calls_of(storage) == ["create"]
        storage = resolving(error_before(method="create"), error_before(error, method="create", at=2))
        with pytest.raises(OutcomeUnknown):
            storage.create("key", b"ours")


@given(
    st.lists(st.sampled_from(["before", "lost", "exists", "get"]), max_size=6),
    st.sampled_from([None, b"ours", b"theirs"]),
)
def test_nothing_is_told_that_was_not_proved(plan: list[str], there: bytes | None) -> None:
    """Whatever goes wrong: success means that our bytes are there, a conflict that others' are."""
    inner = MemoryStorage()
    if there is not None:
        inner.create("key", there)
    faults = []
    for i, kind in enumerate(plan, 1):
        if kind == "before":
            faults.append(error_before(method="create", at=i))
        elif kind == "lost":
            faults.append(lost_answer(method="create", at=i))
        elif kind == "exists":
            faults.append(lost_answer(exists, method="create", at=i))
        else:
            faults.append(error_before(method="get", at=i))
    storage = resolving(*faults, inner=inner)
    try:
        storage.create("key", b"ours")
    except AlreadyExists as error:
        assert inner.get("key") == error.existing == b"theirs"  # noqa: PT017 - one of three ways to end
    except OutcomeUnknown:
        assert plan  # only ever after trouble
    else:
        assert inner.get("key") == b"ours"


def test_everything_else_is_tried_again() -> None:
    """Reads, puts and deletes survive a passing failure, and surface a lasting one."""
    inner = MemoryStorage()
    inner.put("key", b"data")
    for method, call in {
        "put": lambda s: s.put("key", b"data"),
        "get": lambda s: s.get("key"),
        "open": lambda s: s.open("key").read(),
        "info": lambda s: s.info("key"),
        "delete_many": lambda s: s.delete_many(iter(["other"])),
    }.items():
        storage = resolving(error_before(method=method, times=3), inner=inner)
        call(storage)
        assert calls_of(storage) == [method] * 4
        storage = resolving(error_before(method=method, times=1000), inner=inner)
        with pytest.raises(StorageUnavailable):
            call(storage)
        assert calls_of(storage) == [method] * 5
    with pytest.raises(NotFound):
        resolving().get("nothing")


def test_listing_goes_on_where_it_stopped() -> None:
    """A listing that breaks in the middle continues behind the last key that it yielded, without repeating one."""
    inner = MemoryStorage()
    keys = [f"k/{i:03}" for i in range(100)]
    for key in keys:
        inner.put(key, b"x")
    storage = resolving(*(lost_answer(method="list", at=i) for i in (1, 2, 3, 4, 5, 6)), inner=inner)
    assert [info.key for info in storage.list("k/")] == keys
    storage = resolving(error_before(method="list", times=1000), inner=inner)
    with pytest.raises(StorageUnavailable):
        list(storage.list("k/"))
    assert calls_of(storage) == ["list"] * 5


def test_files_are_sent_again(tmp_path) -> None:
    """Uploads and downloads repeat what failed, from the beginning of the source."""
    import io

    storage = resolving(lost_answer(method="upload", key="b"), error_before(method="download", key="a"))
    source = io.BytesIO(b"not this: and this")
    source.seek(9)
    stored = storage.upload([Upload("a", b"1"), Upload("b", source)])
    assert [(s.key, s.size) for s in stored] == [("a", 1), ("b", 9)]
    assert storage.get("b") == b" and this"
    storage.download([Download("a", tmp_path / "a"), Download("b", tmp_path / "b")])
    assert (tmp_path / "b").read_bytes() == b" and this"


def test_a_stream_cannot_be_sent_again() -> None:
    """A source that cannot be read twice surfaces the failure instead of storing half of it."""
    import io

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    storage = resolving(error_before(method="upload"))
    with pytest.raises(StorageUnavailable):
        storage.upload([Upload("a", Pipe(b"data"))])
    assert calls_of(storage) == ["upload"]


def test_a_crash_is_no_error() -> None:
    """What ends the process passes through at once."""
    storage = resolving(crash("after", method="create"))
    with pytest.raises(SimulatedCrash):
        storage.create("key", b"ours")
    with pytest.raises(SimulatedCrash):
        storage.get("key")
