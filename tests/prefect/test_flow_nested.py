"""Flows inside flows: an undecorated one works in its parent's run, a decorated one is a nested run (P11)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_support import boom, ended, rows_of, seen, stage

from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run


def test_an_undecorated_subflow_uses_its_parents_run(store: Registry) -> None:
    """One run, one decision."""

    @flow
    def inner() -> str:
        stage("inner")
        return current_run().id

    @registry_run(store)
    @flow
    def outer() -> bool:
        return inner() == current_run().id

    assert outer() is True
    assert (seen(store).rows("inner"), seen(store).states()) == (3, ["COMMITTED"])


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_what_an_undecorated_subflow_submits_and_does_not_await_is_waited_for(store: Registry, colour: str) -> None:
    """Prefect cancels what its task runner has not begun yet when the subflow is over, and calls it Completed."""

    @flow(task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=1)))
    def inner() -> None:
        stage.map([f"kind{n}" for n in range(3)])

    @flow(task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=1)))
    async def ainner() -> None:
        stage.map([f"kind{n}" for n in range(3)])

    @registry_run(store)
    @flow
    def outer() -> None:
        inner()

    @registry_run(store)
    @flow
    async def aouter() -> None:
        await ainner()

    state = outer(return_state=True) if colour == "sync" else asyncio.run(aouter(return_state=True))
    assert ended(state).is_completed()
    assert [seen(store).rows(f"kind{n}") for n in range(3)] == [3, 3, 3]


@pytest.mark.parametrize("where", ["flow", "async flow", "subflow of a subflow", "task", "block"])
def test_what_an_undecorated_subflow_submits_and_nobody_sees_fail_fails_the_flow(store: Registry, where: str) -> None:
    """Its tasks work in the run around it, which is published whole or not at all."""

    @flow
    def inner() -> None:
        stage("inner")
        boom.submit("nobody looks")

    @flow
    def between() -> None:
        inner()

    @registry_run(store)
    @flow
    def outer() -> None:
        stage("outer")
        {"flow": inner, "subflow of a subflow": between, "task": task(between.fn)}[where]()

    @registry_run(store)
    @flow
    async def aouter() -> None:
        stage("outer")
        inner()

    @flow
    def plain() -> None:
        with registry_run(store):
            stage("outer")
            inner()

    called: dict[str, Any] = {"async flow": lambda: asyncio.run(aouter()), "block": plain}  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nobody looks"):
        called.get(where, outer)()
    assert seen(store).nothing()
    assert seen(store).failures() == [("ValueError", "error")]


@pytest.mark.parametrize("how", ["ignored", "of a failed subflow", "of a decorated subflow", "looked at"])
def test_a_failure_in_a_subflow_that_somebody_has_dealt_with_does_not_fail_the_flow(store: Registry, how: str) -> None:
    """By choice, by handling the subflow's own failure, or by looking at the task."""

    @flow
    def inner() -> None:
        failing = boom.submit("in the subflow")
        if how == "of a failed subflow":
            raise LookupError("the subflow's own")
        if how == "looked at":
            failing.wait()

    called = registry_run(inner) if how == "of a decorated subflow" else inner

    @registry_run(store, on_unawaited_failure="ignore" if how == "ignored" else "fail")
    @flow
    def outer() -> None:
        stage("outer")
        called(return_state=True)

    assert ended(outer(return_state=True)).is_completed()
    assert seen(store).rows("outer") == 3


def test_a_decorated_subflow_is_nested_and_waits_for_its_parent(store: Registry) -> None:
    """It is staged when it completes, and visible when its parent commits."""
    between: list[bool] = []

    @registry_run
    @flow
    def inner() -> str:
        stage("inner")
        return current_run().id

    @registry_run(store)
    @flow
    def outer() -> None:
        nested = inner()
        assert nested != current_run().id
        assert store.get_run(nested).staged
        between.append(seen(store).nothing())
        stage("outer")

    outer()
    assert between == [True]
    assert (seen(store).rows("inner"), seen(store).rows("outer")) == (3, 3)
    assert seen(store).states() == ["COMMITTED", "COMMITTED"]


def test_a_parent_that_fails_takes_its_nested_runs_with_it(store: Registry) -> None:
    """Although they had completed."""

    @registry_run
    @flow
    def inner() -> None:
        stage("inner")

    @registry_run(store)
    @flow
    def outer() -> None:
        inner()
        boom()

    assert ended(outer(return_state=True)).is_failed()
    assert (seen(store).nothing(), seen(store).states()) == (True, ["ABORTED", "ABORTED"])


def test_a_nested_run_that_failed_and_was_handled_stays_rolled_back(store: Registry) -> None:
    """The parent publishes the rest."""

    @registry_run
    @flow
    def inner() -> None:
        stage("inner")
        boom()

    @registry_run(store)
    @flow
    def outer() -> None:
        stage("outer")
        inner(return_state=True)

    assert ended(outer(return_state=True)).is_completed()
    assert (seen(store).rows("inner"), seen(store).rows("outer")) == (0, 3)


def test_an_isolated_subflow_publishes_by_itself(store: Registry) -> None:
    """Its parent is kept for lineage only."""

    @registry_run(isolated=True)
    @flow
    def inner() -> None:
        stage("inner")

    @registry_run(store)
    @flow
    def outer() -> None:
        inner()
        assert seen(store).rows("inner") == 3
        boom()

    assert ended(outer(return_state=True)).is_failed()
    assert seen(store).rows("inner") == 3
    nested = next(run for run in seen(store).registry.runs() if run.isolated)
    assert nested.parent is not None


def test_a_retried_subflow_publishes_once(store: Registry) -> None:
    """Its attempts are runs nested in the same parent."""
    calls: list[int] = []

    @registry_run
    @flow(retries=1)
    def inner() -> None:
        calls.append(1)
        with current_run().dataset("inner", mode="append") as dataset:
            dataset.write_table(rows_of(3))
        if len(calls) == 1:
            raise ConnectionError

    @registry_run(store)
    @flow
    def outer() -> None:
        inner()

    assert ended(outer(return_state=True)).is_completed()
    assert (len(calls), seen(store).rows("inner")) == (2, 3)
    assert sorted(seen(store).states()) == ["ABORTED", "COMMITTED", "COMMITTED"]


async def test_asynchronous_subflows_nest_as_well(store: Registry) -> None:
    """Both colours, both kinds."""

    @registry_run
    @flow
    async def inner(kind: str) -> None:
        stage(kind)

    @flow
    async def plain(kind: str) -> None:
        stage(kind)

    @registry_run(store)
    @flow
    async def outer() -> None:
        await inner("a")
        await plain("b")
        assert seen(store).nothing()

    await outer()
    assert (seen(store).rows("a"), seen(store).rows("b")) == (3, 3)


def test_a_decorated_helper_is_nested_and_does_not_take_over_the_flow_run(store: Registry) -> None:
    """Only the flow's own function is an attempt of the flow run."""

    @registry_run
    def helper() -> None:
        with current_run().dataset("helper") as dataset:
            dataset.write_table(rows_of(3))

    @registry_run(store)
    @flow
    def outer() -> None:
        helper()
        stage("outer")

    outer()
    assert (seen(store).rows("helper"), seen(store).rows("outer")) == (3, 3)
    assert [run.flow_run is None for run in seen(store).registry.runs(newest_first=False)] == [False, True]


def test_a_flow_that_calls_its_own_function_is_one_attempt(store: Registry) -> None:
    """The inner call is a nested run."""

    @registry_run(store)
    @flow
    def countdown(n: int) -> None:
        stage(f"kind{n}")
        if n:
            countdown.fn(n - 1)

    countdown(2)
    assert [seen(store).rows(f"kind{n}") for n in range(3)] == [3, 3, 3]
    assert seen(store).states() == ["COMMITTED"] * 3


@pytest.mark.parametrize("good", [True, False])
def test_a_block_in_a_decorated_flow_is_nested(store: Registry, good: bool) -> None:
    """``with registry_run()`` and ``registry.run()`` open runs of their own inside the flow's."""

    @registry_run(store)
    @flow
    def outer() -> Any:
        with registry_run(purpose="first") as first:
            assert current_run().id == first.id
            stage.submit("a")
        with store.run("second"):
            assert current_run().id not in (first.id, "")
            with pytest.raises(ValueError, match="handled"), registry_run():
                stage("lost")
                raise ValueError("handled")
        if not good:
            boom()

    assert ended(outer(return_state=True)).is_completed() is good
    assert (seen(store).rows("a") == 3) is good
    assert seen(store).rows("lost") == 0
