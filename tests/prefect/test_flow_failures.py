"""A flow that fails publishes nothing, however it fails; a flow that completes has published (in this process)."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import Any

import pytest
from prefect import flow, task
from prefect.states import Cancelled, Completed, Failed
from prefect_support import Server, boom, ended, rows_of, seen, stage

from prefect_registry.errors import InvalidState, RunAborted
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, futures, registry_run


def test_a_completed_flow_has_published_everything_at_once(store: Registry) -> None:
    """Nothing is visible before the end, everything after it."""
    before: list[bool] = []

    @registry_run(store)
    @flow
    def ingest() -> str:
        stage("a")
        stage.submit("b").wait()
        before.append(seen(store).nothing())
        return "done"

    assert ingest() == "done"
    assert before == [True]
    assert (seen(store).rows("a"), seen(store).rows("b"), seen(store).states()) == (3, 3, ["COMMITTED"])


def test_an_exception_in_the_flow_is_raised_unchanged_and_nothing_is_visible(store: Registry) -> None:
    """The flow's own error reaches the caller; run and incident tell of it."""
    error = ValueError("the seventh month is missing")

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        raise error

    with pytest.raises(ValueError, match="the seventh month is missing") as raised:
        ingest()
    assert raised.value is error
    assert seen(store).nothing()
    assert seen(store).failures() == [("ValueError", "error")]
    assert seen(store).incidents() == [("ValueError", "the seventh month is missing")]


def test_a_task_that_raises_fails_the_flow_and_nothing_is_visible(store: Registry) -> None:
    """A task's exception takes the datasets of its neighbours with it."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        boom()

    assert ended(ingest(return_state=True)).is_failed()
    assert seen(store).nothing()


@pytest.mark.parametrize("handled", ["return_state", "wait", "except"])
def test_a_failure_that_the_flow_handles_does_not_keep_it_from_publishing(store: Registry, handled: str) -> None:
    """What the failed task staged is dropped, the rest is published."""

    @task
    def half() -> None:
        with current_run().dataset("half") as dataset:
            dataset.write_table(rows_of(5))
        raise ValueError("after staging")

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        if handled == "return_state":
            half(return_state=True)
        elif handled == "wait":
            half.submit().wait()
        else:
            with pytest.raises(ValueError, match="after staging"):
                half()

    assert ended(ingest(return_state=True)).is_completed()
    assert (seen(store).rows("a"), seen(store).rows("half")) == (3, 0)


def test_a_task_that_returns_a_failed_state_publishes_nothing_of_its_own(store: Registry) -> None:
    """Prefect commits such a task's transaction; the registry does not."""

    @task
    def half() -> Any:
        stage.fn("half")
        return Failed(message="not good enough")

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        half(return_state=True)

    assert ended(ingest(return_state=True)).is_completed()
    assert (seen(store).rows("a"), seen(store).rows("half")) == (3, 0)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_flow_that_times_out_publishes_nothing(store: Registry, colour: str) -> None:
    """The run's failure says that it was the timeout."""

    @registry_run(store)
    @flow(timeout_seconds=0.5)
    def slow() -> None:
        stage("a")
        while True:  # pytest holds the alarm signal, so Prefect interrupts between two instructions
            time.sleep(0.01)

    @registry_run(store)
    @flow(timeout_seconds=0.5)
    async def aslow() -> None:
        await asyncio.to_thread(stage, "a")
        await asyncio.sleep(30)

    state = ended(slow(return_state=True) if colour == "sync" else asyncio.run(aslow(return_state=True)))
    assert state.name == "TimedOut"
    assert seen(store).nothing()
    assert seen(store).failures() == [("FlowRunTimeoutError", "error")]


@pytest.mark.parametrize(
    ("returned", "kind"), [(Failed(message="no"), "error"), (Cancelled(message="stop"), "cancelled")]
)
def test_a_flow_that_returns_a_state_other_than_completed_publishes_nothing(
    store: Registry, returned: Any, kind: str
) -> None:
    """Prefect takes the state as it is, and so does the registry."""

    @registry_run(store)
    @flow
    def ingest() -> Any:
        stage("a")
        return returned.model_copy()

    assert not ended(ingest(return_state=True)).is_completed()
    assert seen(store).nothing()
    assert [k for _, k in seen(store).failures()] == [kind]


def test_a_flow_that_returns_a_completed_state_publishes(store: Registry) -> None:
    """Also under another name, as for work that was skipped."""

    @registry_run(store)
    @flow
    def ingest() -> Any:
        stage("a")
        return Completed(name="Skipped", message="nothing new")

    assert ended(ingest(return_state=True)).name == "Skipped"
    assert seen(store).rows("a") == 3


@pytest.mark.parametrize("shape", ["future", "list", "tuple", "states", "dict", "mixed"])
@pytest.mark.parametrize("good", [True, False])
def test_returned_futures_are_judged_as_prefect_does(store: Registry, shape: str, good: bool) -> None:
    """Completed means committed; a failed future in a shape that Prefect does not look into fails the flow as well."""

    @registry_run(store)
    @flow
    def ingest() -> Any:
        first = stage.submit("a")
        second: Any = stage.submit("b") if good else boom.submit()
        if shape == "states":
            return [first.wait() or first.state, second.wait() or second.state]
        return {
            "future": second,
            "list": [first, second],
            "tuple": (first, second),
            "dict": {"first": first, "second": second},
            "mixed": [first, second, 7],
        }[shape]

    state = ended(ingest(return_state=True))
    assert state.is_completed() is good
    assert (seen(store).rows("a") == 3) is good
    assert seen(store).nothing() is not good


def test_submitted_and_slow_is_waited_for(store: Registry) -> None:
    """A flow that returns early still publishes what its tasks stage later."""
    go = threading.Event()

    @task
    def slow() -> None:
        assert go.wait(30)
        stage.fn("late", 7)

    @registry_run(store)
    @flow
    def ingest() -> int:
        slow.submit()
        threading.Timer(0.3, go.set).start()
        return 42

    assert ingest() == 42
    assert seen(store).rows("late") == 7


def test_submitted_and_failed_fails_the_flow_with_the_tasks_own_error(store: Registry) -> None:
    """Prefect would call the flow completed."""

    @registry_run(store)
    @flow
    def ingest() -> int:
        stage("a")
        boom.submit("nobody looks")
        return 42

    with pytest.raises(ValueError, match="nobody looks"):
        ingest()
    assert seen(store).nothing()


@pytest.mark.parametrize("form", ["decorated", "async with"])
async def test_submitted_and_failed_is_named_as_in_the_ui(
    store: Registry, server: Server, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """By the name of the task run, and its id."""

    @task(task_run_name="month {month}")
    def month_of(month: int) -> None:
        raise ValueError(month)

    @registry_run(store)
    @flow
    def decorated() -> None:
        month_of.submit(7)

    @flow
    async def block() -> None:
        async with registry_run(store):
            month_of.submit(7)

    with pytest.raises(ValueError, match="7"):
        if form == "decorated":
            decorated()
        else:
            await block()
    [told] = [m for m in caplog.messages if "nobody looked at" in m]
    name = re.search(r"month 7 \(([-0-9a-f]{36})\)", told)
    assert name is not None, told
    assert server.get(f"/task_runs/{name[1]}")["name"] == "month 7"


def test_submitted_and_failed_is_named_by_its_task_where_the_server_does_not_tell(
    store: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the flow fails as soon as otherwise."""
    monkeypatch.setattr(futures, "LONGEST_WAIT_FOR_NAME_SECONDS", 0)

    @registry_run(store)
    @flow
    def ingest() -> None:
        boom.submit("nobody looks")

    with pytest.raises(ValueError, match="nobody looks"):
        ingest()
    assert any("nobody looked at them: boom (" in m for m in caplog.messages)


def test_submitted_and_failed_can_be_ignored_by_choice(store: Registry) -> None:
    """``on_unawaited_failure="ignore"`` publishes the rest."""

    @registry_run(store, on_unawaited_failure="ignore")
    @flow
    def ingest() -> int:
        stage("a")
        boom.submit()
        return 42

    assert ingest() == 42
    assert seen(store).rows("a") == 3


def test_a_failure_handled_downstream_is_not_unseen(store: Registry) -> None:
    """A future that another task takes with ``allow_failure`` is that task's matter."""
    from prefect import allow_failure

    @task
    def cope(value: Any) -> int:
        return 1

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        cope.submit(allow_failure(boom.submit()))

    assert ended(ingest(return_state=True)).is_completed()
    assert seen(store).rows("a") == 3


def test_a_failure_that_starves_a_task_downstream_is_unseen(store: Registry) -> None:
    """The error raised is that of the task that failed, not that its successor was never ready."""

    @task
    def use(value: Any) -> int:
        return 1

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        use.submit(boom.submit("the root of it"))

    with pytest.raises(ValueError, match="the root of it"):
        ingest()
    assert seen(store).nothing()


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_submitted_and_never_ending_is_ended_by_the_flows_timeout(store: Registry, colour: str) -> None:
    """The wrapper waits inside the flow's timeout, which applies."""
    end = threading.Event()

    @task
    def forever() -> None:
        end.wait(60)

    @task
    def release(kind: str) -> None:
        threading.Timer(2, end.set).start()  # Prefect itself waits for the thread, after it has set the state
        stage.fn(kind)

    @registry_run(store)
    @flow(timeout_seconds=1)
    def ingest() -> None:
        forever.submit()
        release("a")

    @registry_run(store)
    @flow(timeout_seconds=1)
    async def aingest() -> None:
        forever.submit()
        release("a")

    state = ended(ingest(return_state=True) if colour == "sync" else asyncio.run(aingest(return_state=True)))
    assert state.name == "TimedOut"
    assert seen(store).nothing()
    assert seen(store).failures() == [("FlowRunTimeoutError", "error")]


def test_a_dataset_that_was_never_committed_fails_the_flow(store: Registry) -> None:
    """A run publishes everything or nothing, and that one was begun."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        store.begin_dataset("b")

    with pytest.raises(InvalidState, match="begun and never committed"):
        ingest()
    assert seen(store).nothing()


def test_a_run_that_somebody_else_aborted_fails_the_flow(store: Registry) -> None:
    """The commit is refused, and the flow says so."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        store.close_run(current_run().id, False, "not today")

    with pytest.raises(RunAborted):
        ingest()
    assert seen(store).nothing()


def test_a_generator_that_a_flow_returns_runs_inside_the_run(store: Registry) -> None:
    """Prefect makes a list of it; so does the wrapper, before it closes."""

    @registry_run(store)
    @flow
    def ingest() -> Any:
        return (stage(f"kind{n}") for n in range(3))

    assert len(ingest()) == 3
    assert [seen(store).rows(f"kind{n}") for n in range(3)] == [3, 3, 3]


def test_an_error_that_is_named_like_one_of_ours_is_an_error_like_any_other(store: Registry) -> None:
    """The class of a failure alone decides nothing."""

    class Superseded(Exception): ...

    @registry_run(store)
    @flow
    def ingest() -> None:
        raise Superseded("by a better one")

    with pytest.raises(Superseded):
        ingest()
    assert seen(store).failures() == [("Superseded", "error")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_rolls_back_first(store: Registry, error: type[BaseException]) -> None:
    """Exceptions that are no ``Exception`` are crashes to Prefect and to the registry."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        raise error

    with pytest.raises(error):
        ingest()
    assert seen(store).nothing()
    assert seen(store).failures() == [(error.__name__, "crashed")]


async def test_cancelling_an_asynchronous_flow_rolls_back(store: Registry) -> None:
    """Also in the middle of an await."""
    started = asyncio.Event()

    @registry_run(store)
    @flow
    async def ingest() -> None:
        await asyncio.to_thread(stage, "a")
        started.set()
        await asyncio.sleep(60)

    work = asyncio.ensure_future(ingest())
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert seen(store).nothing()
    assert seen(store).failures() == [("CancelledError", "crashed")]
