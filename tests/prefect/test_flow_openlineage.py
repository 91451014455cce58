"""OpenLineage events of flow runs: while they happen, to real endpoints and files, and never in a run's way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openlineage_endpoint import Endpoint, serving
from openlineage_schemas import validate
from prefect import flow
from prefect_support import Server, ended, rows_of, seen, stage
from process_support import until

from prefect_registry import tasks
from prefect_registry.provenance.standards.openlineage import uuid_of
from prefect_registry.registry import Registry
from prefect_registry.runs import acurrent_run, current_run, registry_run
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.counting import CountingStorage

PLANTED = "hunter22-s3cr3t"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An endpoint that the settings name."""
    with serving() as server:
        monkeypatch.setenv("OPENLINEAGE_URL", server.url)
        monkeypatch.setenv("OPENLINEAGE_API_KEY", "hush")
        yield server


def told(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Types of events and names of jobs, in order; each follows the schemas, and came with the key."""
    for path, key, event in endpoint.taken:
        validate(event)
        assert (path, key) == ("/api/v1/lineage", "Bearer hush")
    return [(event["eventType"], event["job"]["name"]) for event in endpoint.events]


def names(datasets: list[dict[str, Any]]) -> set[str]:
    return {dataset["name"].rpartition("/store/")[2] for dataset in datasets}


def test_a_run_tells_when_it_begins_and_when_it_is_published(store: Registry, endpoint: Endpoint) -> None:
    """START while the flow runs; COMPLETE with inputs, outputs, columns, versions, parameters, code, parent."""
    with store.run("given") as given:
        with given.dataset("raw") as raw:
            raw.write_table(rows_of(3))
        given.save("rate", 7, version="1")

    @registry_run
    @flow
    def inner() -> str:
        stage("inside")
        return current_run().id

    @registry_run(store)
    @flow
    def fit(year: int, password: str) -> tuple[str, str]:
        until(lambda: endpoint.taken, "the first event", 20)
        run = current_run()
        run.load("rate")
        run.table("raw").to_table()
        with run.dataset("clean") as clean:
            clean.write_table(rows_of(2))
        return run.id, inner()

    outer, nested = fit(2013, password=PLANTED)
    assert told(endpoint) == [("START", "fit"), ("START", "inner"), ("COMPLETE", "fit"), ("COMPLETE", "inner")]
    start, inside, complete, last = endpoint.events
    assert start["run"]["runId"] == complete["run"]["runId"] == str(uuid_of(outer))
    assert (start["inputs"], start["outputs"]) == ([], [])
    assert names(complete["inputs"]) == {"objects/rate", "tables/raw"}
    assert names(complete["outputs"]) == {"tables/clean"}
    facets = complete["outputs"][0]["facets"]
    assert [(f["name"], f["type"]) for f in facets["schema"]["fields"]] == [("x", "int64")]
    assert facets["version"]["datasetVersion"] == seen(store).registry.latest("clean").id
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 2
    for event in (start, complete):
        given_facets = event["run"]["facets"]
        values = {p["key"]: p["value"] for p in given_facets["executionParameters"]["parameters"]}
        assert values == {"year": "2013", "password": "********"}
        assert given_facets["processing_engine"]["name"] == "Prefect"
        assert event["job"]["facets"].get("sourceCodeLocation", {"type": "git"})["type"] == "git"
    assert inside["run"]["facets"]["parent"]["run"]["runId"] == str(uuid_of(outer))
    assert (last["run"]["runId"], names(last["outputs"])) == (str(uuid_of(nested)), {"tables/inside"})
    assert PLANTED not in json.dumps(endpoint.events)


@pytest.mark.parametrize("form", ["sync", "async", "block", "tasks", "script"])
def test_every_way_to_open_a_run_tells_of_it(store: Registry, endpoint: Endpoint, form: str) -> None:
    """Also outside of any flow."""

    @registry_run(store)
    @flow
    def sync() -> None:
        stage("a")

    @registry_run(store, purpose="async")
    @flow(name="async")
    async def asynchronous() -> None:
        (await acurrent_run()).save("x", 1)

    @flow
    def block() -> None:
        with registry_run(store):
            stage("a")

    @flow(name="tasks")
    def alone() -> None:
        tasks.close_run(tasks.insert_run("alone", registry=store), True, registry=store)

    def script() -> None:
        with registry_run(store, purpose="script"):
            pass

    if form == "async":
        asyncio.run(asynchronous())
    else:
        {"sync": sync, "block": block, "tasks": alone, "script": script}[form]()
    assert told(endpoint) == [("START", form), ("COMPLETE", form)]


def test_failures_and_refusals_say_why(store: Registry, endpoint: Endpoint) -> None:
    """FAIL for an error, with its message and without secrets; ABORT for what was given up on purpose."""

    @registry_run
    @flow
    def inner() -> None:
        stage("inside")

    @registry_run(store)
    @flow
    def fails(token: str) -> None:
        inner()
        raise ValueError(f"refused: {token}")

    @registry_run(store, publish="never")
    @flow
    def rehearsal() -> None:
        stage("a")

    ended(fails(PLANTED, return_state=True))
    rehearsal()
    assert told(endpoint) == [
        ("START", "fails"), ("START", "inner"), ("FAIL", "fails"), ("FAIL", "inner"),
        ("START", "rehearsal"), ("ABORT", "rehearsal"),
    ]  # fmt: skip
    failed, with_it = endpoint.events[2:4]
    assert failed["run"]["facets"]["errorMessage"]["message"] == "ValueError: refused: ********"
    assert "around it was rolled back" in with_it["run"]["facets"]["errorMessage"]["message"]
    assert failed["outputs"] == with_it["outputs"] == []


def test_datasets_that_are_published_by_themselves_are_outputs(store: Registry, endpoint: Endpoint) -> None:
    """Although each has a run of its own, of which nothing is told."""

    @registry_run(store, publish="on_commit")
    @flow
    def ingest() -> None:
        stage("a")
        stage("b")

    ingest()
    assert told(endpoint) == [("START", "ingest"), ("COMPLETE", "ingest")]
    assert names(endpoint.events[1]["outputs"]) == {"tables/a", "tables/b"}


def test_each_attempt_of_a_retried_flow_is_a_run(store: Registry, endpoint: Endpoint) -> None:
    """The first fails, the second completes."""
    attempts: list[str] = []

    @registry_run(store)
    @flow(retries=1)
    def ingest() -> None:
        attempts.append(current_run().id)
        stage("a")
        if len(attempts) == 1:
            raise ConnectionError("once")

    ingest()
    assert sorted(told(endpoint)) == [
        ("COMPLETE", "ingest"),
        ("FAIL", "ingest"),
        ("START", "ingest"),
        ("START", "ingest"),
    ]
    by_run = {(e["run"]["runId"], e["eventType"]) for e in endpoint.events}
    first, second = (str(uuid_of(run)) for run in attempts)
    assert by_run == {(first, "START"), (first, "FAIL"), (second, "START"), (second, "COMPLETE")}


def test_a_file_gets_a_line_for_each_event(
    store: Registry, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the namespace that the settings name."""
    path = tmp_path / "events.ndjson"
    monkeypatch.setenv("PREFECT_REGISTRY_OPENLINEAGE_FILE", str(path))
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "flights")

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")

    ingest()
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(e["eventType"], e["job"]["namespace"]) for e in events] == [("START", "flights"), ("COMPLETE", "flights")]
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    ingest()
    assert len(path.read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize("how", ["fails", "hangs", "is away"])
def test_an_endpoint_in_trouble_is_a_warning(
    store: Registry, server: Server, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The run is published, its flow run completes within a bounded time, and its log says what was not sent."""
    monkeypatch.setenv("PREFECT_REGISTRY_OPENLINEAGE_SECONDS", "0.5")
    if how == "fails":
        endpoint.statuses = [503] * 4
    elif how == "hangs":
        endpoint.answers.clear()
    else:
        monkeypatch.setenv("OPENLINEAGE_URL", "http://ada:hush@127.0.0.1:9")

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")

    begun = time.monotonic()
    state = ended(ingest(return_state=True))
    assert state.is_completed()
    assert time.monotonic() - begun < 30
    assert (seen(store).rows("a"), seen(store).states()) == (3, ["COMMITTED"])
    flow_run = str(state.state_details.flow_run_id)
    assert server.flow_run(flow_run)["state_type"] == "COMPLETED"
    lines = until(lambda: [m for m in server.messages(flow_run) if "OpenLineage" in m], "the warning")
    assert "not sent" in lines[0]
    assert "hush" not in "".join(lines)


@pytest.mark.parametrize("fails", [False, True])
def test_no_event_costs_a_call_before_the_decision(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, server: Server, fails: bool
) -> None:
    """A run asks the store for as much with events as without, until it is decided."""

    class Recording(MemoryStorage):
        def __init__(self) -> None:
            super().__init__()
            self.decided_after: list[int] = []

        def create(self, key: str, data: bytes) -> Any:
            if key.endswith("/end.json"):
                self.decided_after.append(counting.calls.total)
            return super().create(key, data)

    def calls() -> int:
        nonlocal counting
        storage = Recording()
        counting = CountingStorage(storage)
        registry = Registry(counting, heartbeats=False)

        @registry_run(registry)
        @flow
        def ingest() -> None:
            with current_run().dataset("a") as made:
                made.write_table(rows_of(3))
            if wanted:
                until(lambda: endpoint.taken, "the first event", 20)
            if fails:
                raise ValueError("in vain")

        begun = counting.calls.total
        ended(ingest(return_state=True))
        [decided] = storage.decided_after
        return decided - begun

    counting: Any = None
    wanted = True
    with_events = calls()
    assert [kind for kind, _ in told(endpoint)] == ["START", "FAIL" if fails else "COMPLETE"]
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    wanted = False
    assert with_events == calls()
