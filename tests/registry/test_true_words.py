"""What callers are told of their work, when the store fails at the worst moment, or somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from registry_support import FAST, assert_tells, doc, numbers, publish, rows, write

from prefect_registry import Registry
from prefect_registry.errors import (
    InvalidState,
    RegistryError,
    RunAborted,
    RunAlreadyClosed,
    StorageError,
    StorageUnavailable,
)
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.storage.resolving import ResolvingStorage
from prefect_registry.testing.faults import Fault, FaultyStorage, error_before, lost_answer

FOR_EVER = 1_000_000


class Two:
    """One store, and two processes on it: the first one's calls can fail."""

    def __init__(self) -> None:
        inner = MemoryStorage()
        self.faulty = FaultyStorage(inner)
        self.one = Registry(
            ResolvingStorage(self.faulty, timeout=0.02, attempts=2, first_delay=0.001), settings=FAST, heartbeats=False
        )
        self.other = Registry(inner, settings=FAST, heartbeats=False)

    def spoil(self, *faults: Fault) -> None:
        self.faulty.plan[:] = faults


@pytest.fixture
def two() -> Two:
    return Two()


def then(what: Callable[[], object], **select: Any) -> Fault:
    """Something happens right before a call."""
    return Fault("before", lambda storage: (storage.plan.clear(), what())[0], **select)


def test_a_write_whose_touch_fails_is_visible_and_says_so(two: Two) -> None:
    two.spoil(error_before(method="put", key="*/touch/*", times=FOR_EVER))
    with pytest.raises(StorageUnavailable) as caught:
        two.one.register_documents([doc("a")])
    assert_tells(caught.value)
    assert caught.value.committed == "yes"
    assert [d.id for d in two.other.documents()] == ["a"]


def test_a_write_in_a_run_whose_touch_fails_is_not_published_and_says_so(two: Two) -> None:
    run = two.one.insert_run("p")
    two.spoil(error_before(method="put", key="*/touch/*", times=FOR_EVER))
    with pytest.raises(StorageUnavailable) as caught:
        two.one.register_documents([doc("a")], run_id=run)
    assert caught.value.committed == "no"
    two.spoil()
    two.one.close_run(run, True)
    assert list(two.other.documents()) == []


def test_a_touch_that_fails_once_is_made_up_for(two: Two) -> None:
    two.spoil(error_before(method="put", key="*/touch/*", times=2))
    two.one.register_documents([doc("a")])
    assert any("/touch/" in found.key for found in two.other.storage.list("runs/"))


def test_documents_of_a_run_that_is_reaped_meanwhile_are_no_success(two: Two) -> None:
    run = two.one.insert_run("p")

    def reap() -> None:
        two.other.close_run(run, False)

    two.spoil(then(reap, method="create", key="*/end.json"))
    with pytest.raises(RunAborted) as caught:
        two.one.register_documents([doc("a"), doc("b")], run_id=run)
    assert caught.value.committed == "no"
    assert list(two.other.documents()) == []


def test_closing_again_while_the_store_is_down_is_not_called_a_failure(two: Two) -> None:
    run = two.one.attach(two.one.insert_run("p"))
    write(run, "k", 1)
    two.spoil(lost_answer(method="create", key="*/end.json"), error_before(method="get", times=FOR_EVER))
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            two.one.close_run(run.id, True)
        assert caught.value.committed == "unknown"
        assert caught.value.context["run_id"] == run.id
        two.spoil(error_before(times=FOR_EVER))
    assert rows(two.other, "k") == [1]
    two.spoil()
    two.one.close_run(run.id, True)


def test_a_close_that_cannot_even_look_may_be_of_a_run_that_somebody_has_committed(two: Two) -> None:
    run = two.one.attach(two.one.insert_run("p"))
    write(run, "k", 1)
    two.other.close_run(run.id, True)
    two.spoil(error_before(method="list", times=FOR_EVER))
    with pytest.raises(StorageUnavailable) as caught:
        two.one.close_run(run.id, True)
    assert caught.value.committed == "unknown"


def test_a_closed_run_in_an_open_one_is_neither_committed_nor_lost(two: Two) -> None:
    outer = two.one.insert_run("outer")
    inner = two.one.attach(two.one.insert_run("inner", parent=outer))
    dataset = write(inner, "k", 1)
    two.one.close_run(inner.id, True)
    for refused in (
        lambda: two.one.close_run(inner.id, False),
        lambda: two.one.rollback_dataset(dataset),
        lambda: two.one.emit_event("e", "s", {}, run_id=inner.id),
    ):
        with pytest.raises(InvalidState) as caught:
            refused()
        assert_tells(caught.value)
        assert caught.value.committed != "yes"
    two.one.close_run(outer, False)
    with pytest.raises(RunAborted) as aborted:
        two.one.begin_dataset("k", inner.id)
    assert aborted.value.committed == "no"
    two.one.close_run(inner.id, False)
    two.one.rollback_dataset(dataset)
    assert two.one.get_dataset(dataset).state == "ROLLED_BACK"


def test_a_nested_run_whose_abort_gets_no_answer_leaves_the_outer_one_undecided_and_says_no(two: Two) -> None:
    outer = two.one.insert_run("outer")
    inner = two.one.insert_run("inner", parent=outer)
    two.spoil(error_before(method="create", key=f"*{inner}/end.json", times=FOR_EVER))
    with pytest.raises(StorageUnavailable) as caught:
        two.one.close_run(outer, True)
    assert (caught.value.committed, caught.value.context["run_id"]) == ("no", outer)
    two.spoil()
    two.one.close_run(outer, True)
    assert two.other.get_run(inner).state == "ABORTED"


def test_a_write_whose_look_at_the_run_fails_is_no_failure_if_the_next_look_succeeds(two: Two) -> None:
    run = two.one.insert_run("p")
    two.spoil(error_before(method="get", key="*/end.json", times=2))
    event = two.one.emit_event("e", "s", {}, run_id=run)
    two.spoil(error_before(method="get", key="*/end.json", times=FOR_EVER))
    with pytest.raises(StorageUnavailable) as caught:
        two.one.emit_event("f", "s", {}, run_id=run)
    assert caught.value.committed == "unknown"
    two.spoil()
    two.one.close_run(run, True)
    assert [e.id for e in two.other.events(event_name="e")] == [event]


def test_rolling_back_what_a_close_has_counted_as_rolled_back_is_a_success(two: Two) -> None:
    run = two.one.attach(two.one.insert_run("p"))
    dataset = write(run, "k", 1)
    two.spoil(
        Fault("after", lambda storage: (storage.plan.clear(), two.other.close_run(run.id, True))[0], method="create")
    )
    two.one.rollback_dataset(dataset)
    assert two.other.get_dataset(dataset).state == "ROLLED_BACK"
    two.one.rollback_dataset(dataset)


def test_rolling_back_what_is_published_is_refused_also_when_a_late_rollback_lies_there(two: Two) -> None:
    run = two.one.attach(two.one.insert_run("p"))
    dataset = write(run, "k", 1)
    two.spoil(then(lambda: two.other.close_run(run.id, True), method="create"))
    for _ in range(2):
        with pytest.raises(InvalidState, match="READY") as caught:
            two.one.rollback_dataset(dataset)
        assert caught.value.committed == "yes"
    assert rows(two.other, "k") == [1]


def test_a_revert_that_fails_holds_nothing(two: Two) -> None:
    bad = publish(two.one, "k", 1)
    two.spoil(error_before(method="list", key="runs/*/run_*/", times=2))
    with pytest.raises(StorageUnavailable) as caught:
        two.one.revert(bad)
    assert caught.value.committed == "no"
    two.spoil()
    two.other.revert(bad)
    assert rows(two.other, "k") == []


def test_a_dataset_of_its_own_can_be_committed_again_after_a_failure(two: Two) -> None:
    run = two.one.attach(two.one.insert_run("p", publish="on_commit"))
    ds = run.dataset("k")
    ds.write_table(numbers(1))
    two.spoil(error_before(method="list", times=2))
    with pytest.raises(StorageUnavailable) as caught:
        ds.commit()
    assert caught.value.committed == "unknown"
    two.spoil()
    ds.commit()
    assert rows(two.other, "k") == [1]


def test_a_straggler_is_told_that_its_work_is_not_published(two: Two) -> None:
    run = two.one.insert_run("p")
    two.other.close_run(run, True)
    with pytest.raises(RunAlreadyClosed) as caught:
        two.one.begin_dataset("k", run)
    assert caught.value.committed == "no"
    assert isinstance(caught.value, RegistryError)
