"""The tasks without the decorator: what a flow run leaves open when it ends is rolled back."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect import flow, task
from prefect.cache_policies import TASK_SOURCE
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.transactions import transaction
from prefect_dask import DaskTaskRunner
from prefect_support import boom, ended, rows_of, seen
from process_support import until

from prefect_registry import tasks
from prefect_registry.errors import RunAborted
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.registry import Registry
from prefect_registry.runs import current_run, registry_run


def write(store: Registry, dataset_id: str, rows: int = 3) -> str:
    """Write Parquet into a dataset's own folder, as another program would."""
    root = Path(store.get_dataset(dataset_id).root)
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows_of(rows), root / "part.parquet")
    return str(root)


def stage(store: Registry, kind: str, run_id: str | None = None, rows: int = 3) -> str:
    """The three calls of reference system 1 that make a dataset."""
    dataset = tasks.begin_dataset(kind, run_id, registry=store)
    tasks.commit_dataset(dataset, write(store, dataset, rows), rows, registry=store)
    return dataset


def test_closing_a_run_logs_what_the_decorators_line_has(store: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Datasets, rows and how to look, for a run that is visible; another one is not said to be committed."""

    @flow
    def pipeline() -> list[str]:
        runs = [
            tasks.insert_run("p", publish=p, registry=store) for p in ("on_close", "on_commit", "never", "on_close")
        ]
        for run in runs:
            stage(store, "a", run, 1_500)
            tasks.close_run(run, run != runs[-1], registry=store)
        return runs

    @registry_run(store)
    @flow
    def outer() -> str:
        nested = tasks.insert_run("nested")
        tasks.close_run(nested, True)
        return nested

    with caplog.at_level("INFO"):
        alone, one_by_one, never, dropped = pipeline()
        nested = outer()

    def told(run: str) -> str:
        return next(m for m in reversed(caplog.messages) if m.startswith(f"Run {run}"))

    assert "is committed: 1 dataset(s) visible now: a; 1,500 rows" in told(alone)
    assert f".get_run('{alone}')" in told(alone)
    assert "each dataset became visible when it was committed" in told(one_by_one)
    assert told(never) == told(dropped).replace(dropped, never)
    assert told(dropped) == f"Run {dropped} is rolled back in {store.url}: nothing of it is visible."
    assert told(nested) == f"Run {nested} is staged: it becomes visible when the run around it commits."


def test_a_flow_that_inserts_two_runs_and_closes_both_publishes_both(store: Registry) -> None:
    """As reference system 1's own flow does, with its datasets, its document, and its result."""

    @flow
    def fixture_pipeline() -> dict[str, list[str]]:
        dense = tasks.insert_run("dense_embed", "Qwen3-Embedding-4B", "main", {"dim": 3584}, registry=store)
        sparse = tasks.insert_run("splade_encode", "SPLADE-v3-distilbert", "main", {"topk": 256}, registry=store)
        stage(store, "chunks", dense, 5)
        stage(store, "dense", dense)
        stage(store, "sparse", sparse)
        tasks.register_documents([Doc(id="urn:doc:1", title="One")], run_id=dense, registry=store)
        tasks.close_run(dense, True, "ok", registry=store)
        tasks.close_run(sparse, success=True, registry=store)
        return {"runs": [dense, sparse]}

    dense, sparse = fixture_pipeline()["runs"]
    reader = seen(store)
    assert [reader.rows(kind) for kind in ("chunks", "dense", "sparse")] == [5, 3, 3]
    assert reader.states() == ["COMMITTED", "COMMITTED"]
    assert reader.registry.get_run(dense).model_id == "Qwen3-Embedding-4B"
    assert reader.registry.get_run(dense).notes == "ok"
    assert reader.registry.get_run(sparse).config == {"topk": 256}
    assert reader.registry.get_document("urn:doc:1").title == "One"


@pytest.mark.parametrize("how", ["flow raises", "task raises", "failed state", "timeout", "interrupt"])
def test_what_is_open_when_the_flow_ends_without_success_is_rolled_back(store: Registry, how: str) -> None:
    """Both runs: the one that is closed stays, as it was published on purpose."""
    import time

    from prefect.states import Failed

    @flow(timeout_seconds=6 if how == "timeout" else None)
    def pipeline() -> Any:
        closed = tasks.insert_run("closed", registry=store)
        stage(store, "closed", closed)
        tasks.close_run(closed, True, registry=store)
        run = tasks.insert_run("open", registry=store)
        stage(store, "open", run)
        if how == "flow raises":
            raise ValueError("no")
        if how == "task raises":
            boom()
        while how == "timeout":
            time.sleep(0.01)
        if how == "interrupt":
            raise KeyboardInterrupt
        return Failed(message="no")

    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            pipeline()
    else:
        assert ended(pipeline(return_state=True)).is_failed()
    assert (seen(store).rows("closed"), seen(store).rows("open")) == (3, 0)
    assert seen(store).states() == ["COMMITTED", "ABORTED"]
    assert len(seen(store).incidents()) == 1


def test_handled_and_retried_tasks_around_the_tasks_double_nothing(store: Registry) -> None:
    """What a task staged through them is dropped when it fails, whether that is handled or the task is retried."""
    calls: list[int] = []

    @task(retries=1)
    def append(run: str) -> None:
        dataset = tasks.begin_dataset("a", run, mode="append", registry=store)
        tasks.commit_dataset(dataset, write(store, dataset), 3, registry=store)
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError

    @task
    def half(run: str) -> None:
        stage(store, "half", run)
        raise ValueError("after staging")

    @flow
    def pipeline() -> None:
        run = tasks.insert_run("alone", registry=store)
        append(run)
        half(run, return_state=True)
        half.submit(run).wait()
        tasks.close_run(run, True, registry=store)

    assert ended(pipeline(return_state=True)).is_completed()
    assert (len(calls), seen(store).rows("a"), seen(store).rows("half")) == (2, 3, 0)


def test_a_subflow_ends_its_own_runs(store: Registry) -> None:
    """What it closed stays; what it left open is rolled back when it ends."""

    @flow
    def inner(close: bool) -> None:
        run = tasks.insert_run("inner", registry=store)
        stage(store, f"kind-{close}", run)
        if close:
            tasks.close_run(run, True, registry=store)

    @flow
    def outer() -> None:
        inner(True)
        inner(False)
        assert seen(store).states() == ["COMMITTED", "ABORTED"]
        raise ValueError

    assert ended(outer(return_state=True)).is_failed()
    assert (seen(store).rows("kind-True"), seen(store).rows("kind-False")) == (3, 0)


def test_what_nobody_closed_is_rolled_back_with_a_warning(store: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """The flow completes; its run was never said to be good."""

    @flow
    def pipeline() -> None:
        stage(store, "a", tasks.insert_run("forgotten", registry=store))

    with caplog.at_level("WARNING"):
        assert ended(pipeline(return_state=True)).is_completed()
    assert seen(store).nothing()
    assert seen(store).failures() == [("NeverClosed", "error")]
    assert any("was never closed" in message for message in caplog.messages)


def test_a_retried_flow_begins_anew(store: Registry) -> None:
    """The run of the failed attempt is rolled back when the next attempt inserts its own; nothing is doubled."""
    attempts: list[str] = []

    @flow(retries=1)
    def pipeline() -> None:
        run = tasks.insert_run("twice", registry=store)
        attempts.append(run)
        dataset = tasks.begin_dataset("a", run, mode="append", registry=store)
        tasks.commit_dataset(dataset, write(store, dataset), 3, registry=store)
        if len(attempts) == 1:
            raise ConnectionError
        assert not Registry(store.url).get_run(attempts[0]).success
        tasks.close_run(run, True, registry=store)

    assert ended(pipeline(return_state=True)).is_completed()
    assert (len(set(attempts)), seen(store).rows("a")) == (2, 3)
    assert seen(store).states() == ["ABORTED", "COMMITTED"]


def test_the_hooks_are_added_once_and_to_no_copy_of_the_flow(store: Registry) -> None:
    """``with_options`` copies share their lists of hooks with the flow they are made from."""

    @flow
    def pipeline() -> None:
        for _ in range(3):
            tasks.close_run(tasks.insert_run("a", registry=store), True, registry=store)

    copy = pipeline.with_options(name="copy")
    for _ in range(2):
        pipeline()
    assert len(pipeline.on_failure_hooks) == len(pipeline.on_completion_hooks) == 1
    assert copy.on_failure_hooks == []


def test_two_flow_runs_of_one_flow_at_a_time_end_only_their_own_runs(store: Registry) -> None:
    """The hooks look runs up by flow run id: one fails while the other is at work."""

    @flow
    async def pipeline(fails: bool, first: asyncio.Event, second: asyncio.Event) -> None:
        run = tasks.insert_run("a", registry=store)
        stage(store, f"kind-{fails}", run)
        first.set()
        await second.wait()
        if fails:
            raise ValueError("this one")
        tasks.close_run(run, True, registry=store)

    async def both() -> None:
        failed, started = asyncio.Event(), asyncio.Event()
        flow_of = pipeline.with_options(validate_parameters=False)
        good = asyncio.ensure_future(flow_of(False, started, failed))
        await started.wait()
        with pytest.raises(ValueError, match="this one"):
            await flow_of(True, asyncio.Event(), started)
        failed.set()
        await good

    asyncio.run(both())
    assert (seen(store).rows("kind-False"), seen(store).rows("kind-True")) == (3, 0)


def test_without_a_name_the_tasks_mean_the_one_open_run(store: Registry) -> None:
    """As ``current_run()`` does; with two it would be a guess, and is none."""

    @flow
    def pipeline() -> None:
        run = tasks.insert_run("a", registry=store)
        assert current_run().id == run
        stage(store, "a")
        tasks.emit_event("said", "x", {"n": 1})
        tasks.register_documents([Doc(id="urn:doc:1")])
        tasks.register_doctags(
            [DoctagsAsset(doc_id="urn:doc:1", doctags_uri="s3://x", pages=1, vlm_model="m", vlm_revision="r")]
        )
        assert list(Registry(store.url).events(event_name="said")) == []
        tasks.close_run(None, True)

    pipeline()
    reader = seen(store)
    assert reader.rows("a") == 3
    assert [e.payload for e in reader.registry.events(event_name="said")] == [{"n": 1}]
    assert reader.registry.get_doctags("urn:doc:1").pages == 1


def test_in_a_decorated_flow_insert_run_is_nested(store: Registry) -> None:
    """Its run is visible only when the flow's own commits."""

    @registry_run(store)
    @flow
    def outer(good: bool) -> None:
        run = tasks.insert_run("inner")
        stage(store, f"kind-{good}", run)
        tasks.close_run(run, True)
        assert seen(store).rows(f"kind-{good}") == 0
        if not good:
            raise ValueError("late")

    outer(True)
    assert ended(outer(False, return_state=True)).is_failed()
    assert (seen(store).rows("kind-True"), seen(store).rows("kind-False")) == (3, 0)


@pytest.mark.usefixtures("forked_pools")
def test_the_tasks_work_in_a_process_pool(store: Registry) -> None:
    """Their bodies refer to nothing that cannot be pickled."""

    @registry_run(store)
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def ingest() -> None:
        dataset = tasks.begin_dataset.submit("a").result()
        tasks.commit_dataset.submit(dataset, write(store, dataset), 3).result()
        tasks.emit_event.submit("said", "x").result()

    ingest()
    assert seen(store).rows("a") == 3
    assert len(list(seen(store).registry.events(event_name="said"))) == 1


def test_inside_prefects_transaction_the_tasks_are_rolled_back_with_it(store: Registry) -> None:
    """Runs are aborted, datasets dropped, although the flow goes on."""

    @flow
    def pipeline() -> None:
        outer = tasks.insert_run("outer", registry=store)
        with pytest.raises(ValueError, match="in the block"), transaction():
            tasks.insert_run("inner", registry=store)
            stage(store, "lost", outer)
            raise ValueError("in the block")
        stage(store, "kept", outer)
        tasks.close_run(outer, True, registry=store)

    assert ended(pipeline(return_state=True)).is_completed()
    assert (seen(store).rows("lost"), seen(store).rows("kept")) == (0, 3)
    assert seen(store).states() == ["COMMITTED", "ABORTED"]


def test_housekeeping_tasks_do_what_the_registry_does(store: Registry) -> None:
    """Reaping, collecting and reverting, from a flow."""

    @registry_run(store)
    @flow
    def ingest() -> str:
        stage(store, "a")
        return current_run().id

    @flow
    def maintenance(published: str) -> tuple[int, int]:
        tasks.incident("checked", "a", "Nothing", "all well", registry=store)
        dropped = stage(store, "b", tasks.insert_run("b", registry=store))
        tasks.rollback_dataset(dropped, registry=store)
        tasks.revert(published, "a mistake", registry=store)
        report = tasks.reap(registry=store)
        return len(report.reaped), tasks.collect(dry_run=True, registry=store).objects

    published = ingest()
    reaped, _ = maintenance(published)
    assert (reaped, seen(store).rows("a")) == (0, 0)
    assert [i.message for i in seen(store).registry.incidents(event="checked")] == ["all well"]


def test_the_id_of_a_dataset_of_an_aborted_run_is_refused_everywhere(store: Registry) -> None:
    """However it was kept."""

    @flow
    def pipeline() -> str:
        run = tasks.insert_run("a", registry=store)
        dataset = tasks.begin_dataset("a", run, registry=store)
        tasks.close_run(run, False, registry=store)
        return str(dataset)

    dataset = pipeline()
    with pytest.raises(RunAborted):
        store.commit_dataset(dataset, "/somewhere/else", 1)


@task
def ask() -> str:
    return current_run().id


def test_an_asynchronous_flow_may_use_the_tasks_too(store: Registry) -> None:
    """They are synchronous tasks, which Prefect runs anywhere."""

    @flow
    async def pipeline() -> None:
        run = tasks.insert_run("a", registry=store)
        stage(store, "a", run)
        assert ask() == run
        tasks.close_run(run, True, registry=store)

    asyncio.run(pipeline())
    assert seen(store).rows("a") == 3


@pytest.mark.parametrize("how", ["raises", "cancelled"])
def test_an_asynchronous_flow_that_fails_rolls_back(store: Registry, how: str) -> None:
    """By an exception, and by the cancellation of its task."""

    staged: list[asyncio.Event] = []

    @flow
    async def pipeline() -> None:
        run = tasks.insert_run("a", registry=store)
        stage(store, "a", run)
        if how == "raises":
            raise ValueError
        staged[0].set()
        await asyncio.sleep(60)

    async def main() -> None:
        staged.append(asyncio.Event())
        running = asyncio.ensure_future(pipeline())
        if how == "cancelled":
            await staged[0].wait()
            running.cancel()
        await running

    with pytest.raises(ValueError if how == "raises" else asyncio.CancelledError):
        asyncio.run(main())
    assert seen(store).states() == ["ABORTED"]
    assert seen(store).nothing()


def begin_elsewhere(store: str) -> str:
    """The whole of it on another worker."""
    run = tasks.insert_run.fn("elsewhere", registry=store)
    dataset = tasks.begin_dataset.fn("elsewhere", run, registry=store)
    tasks.commit_dataset.fn(dataset, "s3://elsewhere/a", 3, registry=store)
    return str(run)


@pytest.mark.usefixtures("forked_pools")
@pytest.mark.parametrize("runner", ["process", "dask"])
def test_a_flow_that_fails_on_other_workers_publishes_nothing(store: Registry, runner: str) -> None:
    """Its own run is rolled back; one that insert_run began on a worker is that worker's, and reaped after it."""
    runners: dict[str, Any] = {
        "process": lambda: ProcessPoolTaskRunner(max_workers=1),
        "dask": lambda: DaskTaskRunner(
            cluster_kwargs={"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        ),
    }
    elsewhere = task(begin_elsewhere)

    @flow(task_runner=runners[runner]())
    def pipeline() -> None:
        run = tasks.insert_run("here", registry=store)
        dataset = tasks.begin_dataset.submit("a", run, registry=store).result()
        tasks.commit_dataset.submit(dataset, "s3://elsewhere/a", 3, registry=store).result()
        elsewhere.submit(store.url).result()
        boom.submit().result()

    assert ended(pipeline(return_state=True)).is_failed()
    assert seen(store).nothing()
    assert seen(store).states()[0] == "ABORTED"
    until(lambda: seen(store).registry.reap() and seen(store).states() == ["ABORTED", "ABORTED"], "the worker's run")
    assert seen(store).nothing()


@pytest.mark.parametrize("how", ["fails", "slow"])
def test_closing_publishes_what_had_returned_before_and_nothing_of_submitted_tasks(store: Registry, how: str) -> None:
    """close_run waits for nobody: what comes later is refused, and a failure that nobody looked at stays unseen."""
    go = threading.Event()

    @task
    def straggler(run: str) -> str:
        dataset = tasks.begin_dataset("late", run, registry=store)
        root = write(store, dataset)
        if how == "fails":
            raise ValueError
        assert go.wait(60)
        tasks.commit_dataset(dataset, root, 3, registry=store)
        return str(dataset)

    @flow
    def pipeline() -> Any:
        run = tasks.insert_run("a", registry=store)
        stage(store, "a", run)
        future = straggler.submit(run)
        tasks.close_run(run, True, registry=store)
        go.set()
        return future if how == "slow" else None

    state = ended(pipeline(return_state=True))
    assert state.is_completed() == (how == "fails")  # the slow one was returned, and its commit refused
    assert seen(store).states() == ["COMMITTED"]
    assert (seen(store).rows("a"), seen(store).rows("late")) == (3, 0)


def test_a_flow_that_returns_the_future_of_a_failed_task_is_rolled_back(store: Registry) -> None:
    """Prefect calls it Failed although its function returned."""

    @flow
    def pipeline() -> Any:
        stage(store, "a", tasks.insert_run("a", registry=store))
        return [boom.submit()]

    assert ended(pipeline(return_state=True)).is_failed()
    assert seen(store).states() == ["ABORTED"]
    assert seen(store).nothing()


def test_a_cached_task_that_stages_runs_again_on_a_retry_and_in_a_later_flow_run(store: Registry) -> None:
    """Else those would complete without its dataset."""
    calls: list[str] = []

    @task(persist_result=True, cache_policy=TASK_SOURCE)
    def cached() -> str:
        calls.append("cached")
        return stage(store, "a")

    @flow(retries=1)
    def pipeline() -> None:
        run = tasks.insert_run("a", registry=store)
        cached()
        if len(calls) == 1:
            raise ConnectionError
        tasks.close_run(run, True, registry=store)

    for _ in range(2):
        assert ended(pipeline(return_state=True)).is_completed()
    assert len(calls) == 3
    assert seen(store).states() == ["ABORTED", "COMMITTED", "COMMITTED"]
    assert seen(store).rows("a") == 3
