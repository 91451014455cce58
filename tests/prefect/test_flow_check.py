"""Write, audit, publish; and rehearsals, which publish nothing."""

from __future__ import annotations

import functools
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Crashed
from prefect_support import Server, ended, rows_of, seen, stage

from prefect_registry.errors import InvalidState
from prefect_registry.records.runs import Publish
from prefect_registry.registry import Registry, Run
from prefect_registry.runs import current_run, registry_run, roll_back_registry_run


def test_check_sees_what_is_staged_before_anybody_else(store: Registry) -> None:
    """On top of what is published."""
    met: list[tuple[int | None, bool]] = []

    def look(run: Run) -> None:
        met.append((run.table("a").rows, seen(store).nothing()))

    @registry_run(store, check=look)
    @flow
    def ingest() -> None:
        stage("a", 5)

    ingest()
    assert met == [(5, True)]
    assert seen(store).rows("a") == 5


@pytest.mark.parametrize("refusal", ["raises", "returns False"])
def test_a_check_that_refuses_fails_the_flow(store: Registry, refusal: str) -> None:
    """By its own exception, or by saying no."""

    def look(run: Run) -> Any:
        if refusal == "raises":
            raise LookupError("too few rows")
        return False

    @registry_run(store, check=look)
    @flow
    def ingest() -> None:
        stage("a")

    expected: tuple[type[Exception], str] = (
        (LookupError, "too few rows") if refusal == "raises" else (InvalidState, "returned False")
    )
    with pytest.raises(expected[0], match=expected[1]):
        ingest()
    assert seen(store).nothing()


def test_a_check_that_said_no_is_named(store: Registry) -> None:
    """The error says which check refused, what of the run is visible, and what to do."""

    def has_enough_rows(run: Run) -> bool:
        return False

    def refused(publish: Publish) -> InvalidState:
        @registry_run(store, check=functools.partial(has_enough_rows), publish=publish)
        @flow
        def ingest() -> None:
            stage("a")

        with pytest.raises(InvalidState) as caught:
            ingest()
        return caught.value

    error = refused("on_close")
    assert error.why == "has_enough_rows looked at what was staged, and said no: nothing of it is visible"
    assert error.todo == "Mend the data, or the check, and run the flow again"
    assert error.committed == "no"
    assert "what it had published by itself" in refused("on_commit").why


async def test_a_check_may_be_asynchronous(store: Registry) -> None:
    """For an asynchronous flow, and in ``async with``."""

    async def look(run: Run) -> bool:
        return (await run.atable("a")).rows == 3

    @registry_run(store, check=look)
    @flow
    async def ingest() -> None:
        stage("a")

    await ingest()
    async with registry_run(store, check=look):
        stage.fn("b")
    assert seen(store).rows("a") == 3
    with pytest.raises(InvalidState, match="returned False"):
        async with registry_run(store, check=look) as run, run.adataset("a", mode="append") as dataset:
            dataset.write_table(rows_of(1))
    assert seen(store).rows("a") == 3


def test_a_rehearsal_shows_what_would_change_and_drops_it(
    store: Registry, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """``publish="never"``: the flow completes, nothing of it is visible, log and artifact tell."""

    @registry_run(store)
    @flow
    def real() -> None:
        stage("a", 5)

    @registry_run(store, publish="never")
    @flow(name="rehearsed")
    def rehearsal() -> int:
        stage("a", 2, "append")
        stage("b")
        return current_run().table("a").rows or 0

    real()
    with caplog.at_level("INFO"):
        state = ended(rehearsal(return_state=True))
    assert state.result() == 7
    assert (seen(store).rows("a"), seen(store).rows("b")) == (5, 0)
    assert seen(store).failures() == [("NotPublished", "cancelled")]
    assert seen(store).incidents() == []
    told = next(m for m in caplog.messages if "It would change" in m)
    assert "a: 5 → 7 rows, 1 → 2 dataset(s)" in told
    assert "b: 0 → 3 rows, 0 → 1 dataset(s)" in told
    [page] = server.artifacts(str(state.state_details.flow_run_id))
    assert page["key"] == "registry-rehearsed-rehearsal"
    assert "nothing was published" in page["data"]


def test_a_rehearsal_fails_where_the_real_run_would(store: Registry) -> None:
    """A dataset that was begun and never committed is found."""

    @registry_run(store, publish="never")
    @flow
    def rehearsal() -> None:
        store.begin_dataset("a")

    with pytest.raises(InvalidState, match="begun and never committed"):
        rehearsal()


def test_publishing_on_commit_keeps_what_was_committed_before_a_failure(store: Registry) -> None:
    """Each dataset is a run of its own (P13)."""

    @registry_run(store, publish="on_commit")
    @flow
    def ingest() -> None:
        stage("a")
        assert seen(store).rows("a") == 3
        raise ValueError("later")

    assert ended(ingest(return_state=True)).is_failed()
    assert seen(store).rows("a") == 3


def test_the_log_of_a_run_that_publishes_on_commit_tells_what_stays(
    store: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``publish="on_commit"`` no line says that nothing is visible, neither at open, nor at close, nor after a
    failure."""

    @registry_run(store, publish="on_commit")
    @flow
    def ingest(fails: bool) -> None:
        stage("a")
        if fails:
            raise ValueError("later")

    with caplog.at_level("INFO"):
        ingest(False)
        ended(ingest(True, return_state=True))
    assert seen(store).rows("a") == 6
    told = "\n".join(m for m in caplog.messages if "un run_" in m)
    assert "nothing of it is visible" not in told
    assert "it published no dataset" not in told
    assert "each dataset becomes visible when it is committed" in told
    assert "each dataset became visible when it was committed" in told
    assert "was rolled back, what it had published by itself" in told


def test_the_log_of_a_rehearsal_says_at_once_that_nothing_will_be_visible(
    store: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``publish="never"`` the first line does not say "yet"."""
    with caplog.at_level("INFO"), registry_run(store, publish="never"):
        pass
    assert any("began" in m and m.endswith('nothing of it will be visible (publish="never").') for m in caplog.messages)


def test_the_hook_tells_what_stays_of_a_run_that_publishes_on_commit(
    store: Registry, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The second net says the same as the flow's own process would have."""

    @registry_run(store, publish="on_commit")
    @flow
    def ingest() -> None: ...

    flow_run = server.post("/flow_runs/", {"flow_id": server.post("/flows/", {"name": "ingest"})["id"]})
    run_id = store.insert_run("ingest", publish="on_commit", flow_run=flow_run["id"])
    with caplog.at_level("WARNING"), get_client(sync_client=True) as client:
        roll_back_registry_run(ingest, client.read_flow_run(UUID(flow_run["id"])), Crashed(message="killed"))
    assert seen(store).states() == ["ABORTED"]
    assert any(f"Run {run_id} was rolled back: what it had published by itself" in m for m in caplog.messages)
