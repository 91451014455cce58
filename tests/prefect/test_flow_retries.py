"""Attempts: of tasks, which never double what they staged; of flows, of which one publishes (P14)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE
from prefect.states import Failed
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.transactions import transaction
from prefect_support import ended, rows_of, seen, stage

from prefect_registry.records import Doc, DoctagsAsset
from prefect_registry.registry import Registry, Run
from prefect_registry.runs import current_run, registry_run


class Flaky:
    """Raises for the first ``failures`` calls."""

    def __init__(self, failures: int = 1) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"call {self.calls}")


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("how", ["call", "submit"])
def test_a_retried_task_does_not_double_what_it_staged(store: Registry, colour: str, how: str) -> None:
    """What the failed attempts staged is dropped; the last one's is published once."""
    flaky = Flaky(2)

    @task(retries=2)
    def append() -> None:
        with current_run().dataset("a", mode="append") as dataset:
            dataset.write_table(rows_of(3))
        flaky()

    @task(retries=2)
    async def aappend() -> None:
        async with current_run().adataset("a", mode="append") as dataset:
            dataset.write_table(rows_of(3))
        flaky()

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("b")
        (append() if how == "call" else append.submit()) if colour == "sync" else aappend.submit()

    assert ended(ingest(return_state=True)).is_completed()
    assert (flaky.calls, seen(store).rows("a"), seen(store).rows("b")) == (3, 3, 3)


def test_a_flaky_task_inside_a_task_does_not_cost_the_outer_one_its_data(store: Registry) -> None:
    """Prefect rolls back the transactions around a failed attempt, although their tasks go on."""
    flaky, starts = Flaky(), Flaky()

    @task(retries=1)
    def inner() -> None:
        with current_run().dataset("inner") as dataset:
            dataset.write_table(rows_of(2))
        flaky()

    @task
    def neighbour() -> None:
        stage.fn("neighbour")

    @task(retries=1)
    def outer() -> None:
        neighbour()
        with current_run().dataset("outer", mode="append") as dataset:
            dataset.write_table(rows_of(5))
        inner()
        starts()

    @registry_run(store)
    @flow
    def ingest() -> None:
        outer()

    assert ended(ingest(return_state=True)).is_completed()
    reader = seen(store)
    assert (starts.calls, reader.rows("outer"), reader.rows("inner"), reader.rows("neighbour")) == (2, 5, 2, 3)


@pytest.mark.parametrize("how", ["subflow", "block"])
def test_a_retried_task_does_not_double_what_a_run_inside_it_has_published_into_the_outer_one(
    store: Registry, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That run is decided when the attempt fails: it is taken back in the run around it, which is not."""
    flaky, shown = Flaky(2), list[int]()

    @registry_run(store)
    @flow
    def nested() -> None:
        stage("nested")

    @task(retries=2)
    def append() -> None:
        if how == "subflow":
            nested()
        else:
            with registry_run(store):
                stage("nested")
        flaky()

    def look(run: Run) -> None:
        shown.append(run.table("nested").rows or 0)

    @registry_run(store, check=look)
    @flow
    def ingest() -> None:
        append()

    assert ended(ingest(return_state=True)).is_completed()
    reader = seen(store)
    assert (flaky.calls, shown, reader.rows("nested")) == (3, [3], 3)
    assert "1 dataset(s) visible now: nested; 3 rows" in caplog.text
    published = next(run for run in reader.registry.runs() if run.parent is None)
    report = reader.registry.revert(published.id)
    assert seen(store).rows("nested") == 0
    reader.registry.revert(report.run_id)
    assert seen(store).rows("nested") == 3
    assert not reader.registry.fsck().findings


def test_a_task_that_stages_after_an_inner_failure_is_protected_too(store: Registry) -> None:
    """The outer task's transaction is rolled back already when it begins its dataset."""
    flaky, starts = Flaky(), Flaky()

    @task(retries=1)
    def inner() -> None:
        flaky()

    @task(retries=1)
    def outer() -> None:
        inner()
        with current_run().dataset("outer", mode="append") as dataset:
            dataset.write_table(rows_of(5))
        starts()

    @registry_run(store)
    @flow
    def ingest() -> None:
        outer()

    assert ended(ingest(return_state=True)).is_completed()
    assert seen(store).rows("outer") == 5


def test_prefects_transaction_around_tasks_takes_their_datasets_with_it(store: Registry) -> None:
    """Who uses ``transaction()`` gets what it promises: the block's datasets are dropped when it is rolled back."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("before")
        with pytest.raises(ValueError, match="in the block"), transaction():
            stage("inside")
            raise ValueError("in the block")

    assert ended(ingest(return_state=True)).is_completed()
    assert (seen(store).rows("before"), seen(store).rows("inside")) == (3, 0)


def test_each_attempt_of_a_flow_is_a_run_and_one_publishes(store: Registry) -> None:
    """The failed attempts stay aborted; the flow run's cell names all of them."""
    flaky = Flaky(2)

    @registry_run(store)
    @flow(retries=2)
    def ingest() -> int:
        with current_run().dataset("a", mode="append") as dataset:
            dataset.write_table(rows_of(3))
        flaky()
        return flaky.calls

    assert ingest() == 3
    reader = seen(store)
    assert reader.rows("a") == 3
    assert reader.states() == ["ABORTED", "ABORTED", "COMMITTED"]
    assert len({run.flow_run for run in reader.registry.runs()}) == 1


def test_a_flow_whose_retries_are_used_up_publishes_nothing(store: Registry) -> None:
    """Every attempt is rolled back."""
    flaky = Flaky(5)

    @registry_run(store)
    @flow(retries=1)
    def ingest() -> None:
        stage("a")
        flaky()

    assert ended(ingest(return_state=True)).is_failed()
    assert (seen(store).nothing(), seen(store).states()) == (True, ["ABORTED", "ABORTED"])


class Counted:
    """A persisted, cached task that stages, one that does not, and a flow that fails once after both."""

    def __init__(self, store: Registry, failures: int, runner: Any = None) -> None:
        self.calls: Counter[str] = Counter()
        self.flaky = Flaky(failures)
        count = self.calls

        @task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)
        def staging(store_url: str) -> str:
            count["staging"] += 1
            return stage.fn("a")

        @task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)
        def expensive(store_url: str) -> int:
            count["expensive"] += 1
            return 7

        @registry_run(store)
        @flow(retries=1)
        def ingest() -> int:
            staging(store.url)
            staging.submit(store.url + "/submitted").wait()
            assert expensive(store.url) == 7
            self.flaky()
            return 1

        self.flow = ingest


def test_a_cached_task_that_staged_runs_again_on_a_flow_retry(store: Registry) -> None:
    """Else the retry would complete without its dataset. A task that stages nothing keeps its cached result."""
    counted = Counted(store, 1)
    assert counted.flow() == 1
    assert counted.calls == {"staging": 4, "expensive": 1}
    assert seen(store).rows("a") == 6


def test_a_cached_task_that_staged_runs_again_in_a_later_flow_run(store: Registry) -> None:
    """Each flow run publishes what it says it does."""
    counted = Counted(store, 0)
    counted.flow()
    counted.flow()
    assert counted.calls == {"staging": 4, "expensive": 1}
    assert [len(run.registry.table("a")) for run in [seen(store)]] == [2]


TAGS = DoctagsAsset(doc_id="a", doctags_uri="s3://x", pages=1, vlm_model="m", vlm_revision="r")
WRITES: dict[str, Callable[[Run], object]] = {
    "document": lambda run: run.register_documents([Doc(id="a")]),
    "documents": lambda run: run.register_documents([Doc(id="a"), Doc(id="b")]),
    "doctags": lambda run: run.register_doctags([TAGS], allow_unknown_documents=True),
    "event": lambda run: run.emit_event("said", "a", {}),
    "object": lambda run: run.save("a", 1),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_cached_task_that_wrote_anything_into_the_run_runs_again_on_a_flow_retry(store: Registry, what: str) -> None:
    """By the run's handle: what it wrote went with the attempt that was rolled back."""
    calls, flaky = Counter[str](), Flaky()

    @task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)
    def writing(url: str) -> int:
        calls["writing"] += 1
        WRITES[what](current_run())
        return 1

    @registry_run(store)
    @flow(retries=1)
    def ingest() -> None:
        writing(store.url)
        flaky()

    assert ended(ingest(return_state=True)).is_completed()
    assert calls["writing"] == 2
    reader = seen(store).registry
    told = [d.id for d in reader.documents()], len(list(reader.doctags())), len(list(reader.events(event_name="said")))
    expected = {"document": (["a"], 0, 0), "documents": (["a", "b"], 0, 0), "doctags": ([], 1, 0), "event": ([], 0, 1)}
    assert told == expected.get(what, ([], 0, 0))
    assert reader.has_object("a") == (what == "object")


def test_a_cached_task_that_writes_outside_the_run_keeps_its_result(store: Registry, tmp_path: Path) -> None:
    """That is published already, whatever becomes of the run."""
    calls, flaky, elsewhere = Counter[str](), Flaky(), Registry(tmp_path / "elsewhere")

    @task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)
    def writing(url: str) -> int:
        calls["writing"] += 1
        elsewhere.register_documents([Doc(id="a"), Doc(id="b")])
        return 1

    @registry_run(store)
    @flow(retries=1)
    def ingest() -> None:
        writing(store.url)
        flaky()

    assert ended(ingest(return_state=True)).is_completed()
    assert calls["writing"] == 1


@pytest.mark.parametrize("how", ["call", "submit", "failed state"])
def test_an_event_of_a_failed_attempt_never_happened(
    store: Registry, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One of a retried task is there once, that of a task whose failure the flow handles not at all. What has to be
    known in any case is immediate.
    """
    flaky = Flaky(2)

    @task(retries=2)
    def retried() -> None:
        current_run().emit_event("said", "retried", {})
        current_run().emit_event("said at once", "retried", {}, immediate=True)
        flaky()

    @task
    def failing() -> Any:
        current_run().emit_event("said", "failing", {})
        if how == "failed state":
            return Failed(message="no")
        raise ValueError("no")

    @registry_run(store, on_unawaited_failure="ignore")
    @flow
    def ingest() -> str:
        current_run().emit_event("said", "flow", {})
        retried.submit().result() if how == "submit" else retried()
        failing.submit().wait() if how == "submit" else failing(return_state=True)
        return "handled"

    assert ended(ingest(return_state=True)).is_completed()
    events = [e for e in seen(store).registry.events() if e.event_name != "RunClosed"]
    assert sorted((e.event_name, e.subject_id) for e in events) == [
        ("said", "flow"), ("said", "retried"), *[("said at once", "retried")] * 3,
    ]  # fmt: skip
    assert caplog.text.count("was dropped: its task") == 3


@pytest.mark.parametrize("how", ["call", "submit"])
def test_documents_of_a_failed_attempt_were_never_registered(
    store: Registry, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What they replaced is there again, for the run and for everybody; a long list of them has one line in the log."""
    store.register_documents([Doc(id="old", title="before")])
    store.register_doctags([TAGS], allow_unknown_documents=True)
    flaky = Flaky()

    @task(retries=1)
    def retried() -> None:
        current_run().register_documents([Doc(id="retried", title=f"attempt {flaky.calls}")])
        flaky()

    @task
    def failing() -> None:
        run = current_run()
        run.register_documents([Doc(id="new"), Doc(id="old", title="after")])
        run.register_documents([Doc(id="old", title="and again")])
        run.register_documents([Doc(id=f"many {n}") for n in range(30)])
        run.register_doctags([TAGS.model_copy(update={"pages": 2})], allow_unknown_documents=True)
        run.register_doctags([TAGS.model_copy(update={"doc_id": "new"})])
        assert run.registry.get_document("old", run_id=run.id).title == "and again"
        raise ValueError("no")

    def titles(registry: Registry) -> dict[str, str]:
        return {doc.id: doc.title for doc in registry.documents()}

    @registry_run(store, on_unawaited_failure="ignore")
    @flow
    def ingest() -> tuple[str, int]:
        retried.submit().result() if how == "submit" else retried()
        failing.submit().wait() if how == "submit" else failing(return_state=True)
        run = current_run()
        return (
            run.registry.get_document("old", run_id=run.id).title,
            run.registry.get_doctags("a", run_id=run.id).pages,
        )

    assert ingest() == ("before", 1)
    registry = seen(store).registry
    assert titles(registry) == {"old": "before", "retried": "attempt 1"}
    assert [tags.model_dump() for tags in registry.doctags()] == [TAGS.model_dump()]
    assert {doc.id: doc.title for doc in registry.catalog.documents()} == titles(registry)
    assert registry.fsck(verify="all").of("error", "warning") == []
    assert caplog.text.count("35 things that were staged are dropped: its task attempt failed") == 1
    assert caplog.text.count("was dropped: its task") == 1

    (run,) = (r for r in registry.catalog.runs() if r.purpose == "ingest")
    registry.revert(run.id)
    assert titles(registry) == {"old": "before"}


@task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)
def stage_in_pool(folder: str) -> str:
    (Path(folder) / f"call-{len(list(Path(folder).glob('call-*')))}").touch()
    return stage.fn("a")


@pytest.mark.usefixtures("forked_pools")
def test_a_cached_task_in_a_process_pool_runs_again_too(store: Registry, tmp_path: Path) -> None:
    """The switch is thrown in the child that runs the task."""
    calls = tmp_path / "calls"
    calls.mkdir()

    @registry_run(store)
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def ingest() -> None:
        stage_in_pool.submit(str(calls)).result()

    ingest()
    ingest()
    assert len(list(calls.iterdir())) == 2
    assert seen(store).states() == ["COMMITTED", "COMMITTED"]


def test_a_persisted_subflow_runs_again_when_the_flow_around_it_is_retried(store: Registry) -> None:
    """Its data went with the attempt that was rolled back, decorated or not."""
    flaky = Flaky()

    @flow(persist_result=True)
    def plain() -> str:
        return stage("plain")

    @registry_run(store)
    @flow(persist_result=True)
    def decorated() -> str:
        return stage("decorated")

    @registry_run(store)
    @flow(retries=1)
    def ingest() -> None:
        plain()
        decorated()
        flaky()

    assert ended(ingest(return_state=True)).is_completed()
    assert (seen(store).rows("plain"), seen(store).rows("decorated")) == (3, 3)


def test_a_flow_run_that_has_published_is_not_run_again(store: Registry) -> None:
    """An attempt after a commit returns the recorded result: the body does not run."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Pending

    calls: list[int] = []

    @registry_run(store)
    @flow
    def ingest(n: int) -> dict[str, int]:
        calls.append(n)
        stage("a")
        return {"n": n}

    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(ingest, parameters={"n": 4}, state=Pending())
        assert run_flow(ingest, flow_run=flow_run, parameters={"n": 4}) == {"n": 4}
        again = client.read_flow_run(flow_run.id)
        client.set_flow_run_state(flow_run.id, Pending(), force=True)
        assert run_flow(ingest, flow_run=again, parameters={"n": 4}) == {"n": 4}
    assert calls == [4]
    assert seen(store).states() == ["COMMITTED", "ABORTED"]


def test_a_result_that_is_no_json_is_not_recorded(store: Registry) -> None:
    """Then None is returned, and the log says why (P14)."""

    @registry_run(store)
    @flow
    def ingest() -> Any:
        stage("a")
        return threading.Event

    assert ingest() is threading.Event
    run = next(seen(store).registry.runs())
    decision = store.ledger.store.decision(run.id)
    assert decision is not None
    assert not decision.has_result
