"""What a run tells: lines in the flow run's log, Prefect events after the decision, artifacts that a person wants."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.states import Crashed
from prefect_support import Server, ended, rows_of, seen, stage
from process_support import until

from prefect_registry import artifacts, tasks
from prefect_registry.blocks import LocalRegistry
from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry
from prefect_registry.runs import current_run, registry_run, roll_back_registry_run


def events_of(server: Server, store: Registry, count: int) -> list[dict[str, Any]]:
    """The events about the store's outermost run, once ``count`` of them have arrived."""
    run = next(r for r in seen(store).registry.runs(newest_first=False) if r.parent is None)
    return until(lambda: found if len(found := server.events(run.id)) >= count else [], f"{count} events")


def told_of(server: Server, store: Registry) -> list[dict[str, Any]]:
    """All events about the store's newest run: those that were emitted before another one that has arrived."""
    run, last = next(seen(store).registry.runs()).id, uuid.uuid4()
    resource = {"prefect.resource.id": f"prefect-registry.run.{run}"}
    emit_event("prefect-registry-tests.last", resource, id=last)
    until(lambda: str(last) in [e["id"] for e in server.events(run)], "the last event")
    return [e for e in server.events(run) if not e["event"].endswith(".last")]


def test_log_lines_at_open_and_close_say_what_and_how_to_look(store: Registry, server: Server) -> None:
    """Run id, datasets, rows, bytes, store: in the flow run's own log, on the server."""

    @registry_run(store)
    @flow
    def ingest() -> str:
        stage("a", 1_500)
        stage("b")
        return current_run().id

    state = ended(ingest(return_state=True))
    run_id, flow_run = state.result(), str(state.state_details.flow_run_id)
    lines = until(lambda: [m for m in server.messages(flow_run) if run_id in m and "committed" in m], "the last line")
    opened = next(m for m in server.messages(flow_run) if run_id in m)
    assert store.url in opened
    assert "nothing of it is visible yet" in opened
    assert "2 dataset(s) visible now: a, b; 1,503 rows" in lines[0]
    assert f"in {store.url}" in lines[0]
    assert f".get_run('{run_id}')" in lines[0]


def test_the_log_says_what_was_rolled_back_and_why(store: Registry, server: Server) -> None:
    """In the flow run's log."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        raise ValueError("month 7 is missing")

    state = ended(ingest(return_state=True))
    flow_run = str(state.state_details.flow_run_id)
    told = until(lambda: [m for m in server.messages(flow_run) if "was rolled back" in m], "the line")
    assert "nothing of it is visible: ValueError: month 7 is missing" in told[0]


def test_events_follow_the_decision(store: Registry, server: Server) -> None:
    """One for the run and one for each dataset, with what a trigger needs."""

    @registry_run(store)
    @flow
    def ingest() -> list[str]:
        return [stage("flights"), stage("Wéather", 5, "append")]

    flights, _ = ingest()
    found = events_of(server, store, 3)
    assert sorted(e["event"] for e in found) == [
        "prefect-registry.dataset.committed",
        "prefect-registry.dataset.committed",
        "prefect-registry.run.committed",
    ]
    told = next(e for e in found if e["payload"].get("kind") == "flights")
    assert told["resource"]["prefect.resource.id"] == "prefect-registry.dataset.flights"
    payload = told["payload"]
    assert (payload["dataset_id"], payload["rows"], payload["mode"]) == (flights, 3, "replace")
    assert payload["run_id"] == f"run_{flights.split('_')[1]}"
    assert payload["url"] == store.get_dataset(flights).root
    assert {r["prefect.resource.role"] for r in told["related"]} >= {"flow-run", "registry-run"}


@pytest.mark.parametrize("count", [1, 101])
def test_a_triggered_flow_is_told_the_block_whose_credentials_it_needs(
    tmp_path: Path, server: Server, count: int
) -> None:
    """``registry`` is the reference of the block that the registry was opened from, ``url`` stays a URL; log and page
    show the same way."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    LocalRegistry(path=str(tmp_path / "store")).save(name)

    @registry_run(name)
    @flow
    def ingest() -> None:
        for _ in range(count):
            stage.fn("a", 1, "append")

    state = ended(ingest(return_state=True))
    reference, store = f"data-registry-local/{name}", Registry(tmp_path / "store")
    [told] = [e["payload"] for e in events_of(server, store, 2) if "kind" in e["payload"]]
    assert told["registry"] == reference
    assert told["url"] == (store.latest("a").root if count == 1 else store.url)
    assert resolve_registry(told["registry"]).table("a").rows == count
    flow_run = str(state.state_details.flow_run_id)
    page = next(a["data"] for a in server.artifacts(flow_run) if a["type"] == "markdown")
    assert f"registry = resolve_registry('{reference}')" in page
    line = f"Look: resolve_registry('{reference}').table('a')"
    assert until(lambda: [m for m in server.messages(flow_run) if line in m], "the line")


@pytest.mark.parametrize("count", [100, 103])
def test_many_datasets_share_an_event_for_each_kind(store: Registry, server: Server, count: int) -> None:
    """More than a hundred in one run; up to a hundred have one each."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        for n in range(count):
            stage.fn("many" if n % 2 else "other", 1, "append")

    ingest()
    found = told_of(server, store)
    told = [e["payload"] for e in found if e["event"] == "prefect-registry.dataset.committed"]
    assert len(found) == len(told) + 1
    if count == 100:
        assert len({p["dataset_id"] for p in told}) == 100
    else:
        assert {p["kind"]: (p["datasets"], p["rows"]) for p in told} == {"many": (51, 51), "other": (52, 52)}


def test_nothing_is_told_before_the_decision_and_nothing_twice(tmp_path: Path, server: Server) -> None:
    """Events have the ids of what they tell: a hook that tells again of a committed run adds none."""
    early: list[Any] = []
    store = Registry(tmp_path / "store")

    def check(run: Any) -> None:
        EventsWorker.drain_all()
        time.sleep(1)
        early.extend(server.events(run.id))

    @registry_run(store, check=check)
    @flow
    def ingest() -> None:
        stage("a")
        stage("b")

    state = ended(ingest(return_state=True))
    once = told_of(server, store)
    with get_client(sync_client=True) as client:
        roll_back_registry_run(ingest, client.read_flow_run(state.state_details.flow_run_id), Crashed())
    assert early == []
    assert len(once) == 3
    assert [e["id"] for e in told_of(server, store)] == [e["id"] for e in once]


def test_a_failed_run_tells_of_no_dataset(store: Registry, server: Server) -> None:
    """Of the rollback and of the incident, and of nothing else, although two datasets were staged."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        stage("b")
        raise ValueError

    ended(ingest(return_state=True))
    told = sorted(e["event"] for e in told_of(server, store))
    assert told == ["prefect-registry.incident.raised", "prefect-registry.run.rolled-back"]


def test_a_rollback_tells_of_run_and_incident(store: Registry, server: Server) -> None:
    """Class and message of the error."""

    @registry_run(store)
    @flow
    def ingest(token: str = "hunter22") -> None:
        stage("a")
        raise ValueError("refused: hunter22")

    ended(ingest(return_state=True))
    found = {e["event"]: e["payload"] for e in events_of(server, store, 2)}
    assert found["prefect-registry.run.rolled-back"]["error_class"] == "ValueError"
    assert found["prefect-registry.incident.raised"]["message"] == "refused: ********"


def test_a_nested_runs_datasets_are_told_of_when_they_become_visible(store: Registry, server: Server) -> None:
    """With the outer run's decision, once."""

    @registry_run
    @flow
    def inner() -> None:
        stage("inner")

    @registry_run(store)
    @flow
    def outer() -> None:
        inner()
        stage("outer")

    outer()
    kinds = [e["payload"]["kind"] for e in events_of(server, store, 3) if "kind" in e["payload"]]
    assert sorted(kinds) == ["inner", "outer"]


def test_a_dataset_published_by_itself_is_told_of_at_once(store: Registry, server: Server) -> None:
    """Although the flow fails later (P13)."""

    @registry_run(store, publish="on_commit")
    @flow
    def ingest() -> None:
        stage("a")
        raise ValueError

    ended(ingest(return_state=True))
    assert "a" in [e["payload"].get("kind") for e in events_of(server, store, 3)]


def test_a_committed_run_leaves_a_table_and_a_page(store: Registry, server: Server) -> None:
    """Under keys made of the flow's name, so that each has a history."""

    @registry_run(store, purpose="ingest {year}")
    @flow(name="Ingest Flights")
    def ingest(year: int) -> None:
        stage("flights", 1_500)
        stage("airports")

    state = ended(ingest(2013, return_state=True))
    found = {a["key"]: a for a in server.artifacts(str(state.state_details.flow_run_id))}
    assert set(found) == {"registry-ingest-flights-datasets", "registry-ingest-flights-run"}
    table = json.loads(found["registry-ingest-flights-datasets"]["data"])
    assert [(row["kind"], row["rows"], row["mode"]) for row in table] == [
        ("airports", 3, "replace"),
        ("flights", 1_500, "replace"),
    ]
    page = found["registry-ingest-flights-run"]["data"]
    assert "## ingest 2013: published" in page
    assert "| flights | 1 | 1,500 |" in page
    assert "2 datasets, 1,503 rows" in page
    assert "registry.table('flights').to_table()" in page


def test_a_run_without_datasets_leaves_no_artifact(store: Registry, server: Server) -> None:
    """There would be nothing to look at."""

    @registry_run(store)
    @flow
    def ingest() -> None: ...

    state = ended(ingest(return_state=True))
    assert server.artifacts(str(state.state_details.flow_run_id)) == []


def test_nothing_is_told_where_there_is_no_flow_run(store: Registry, server: Server) -> None:
    """A plain program may have no Prefect server at all."""
    with registry_run(store, purpose="plain") as run, run.dataset("a") as dataset:
        dataset.write_table(rows_of(1))
    with pytest.raises(ZeroDivisionError), registry_run(store):
        _ = 1 / 0
    assert seen(store).states() == ["COMMITTED", "ABORTED"]
    assert [event for run in seen(store).registry.runs() for event in server.events(run.id)] == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (12_340_000, "12.3 MB"), (5 * 10**15, "5,000.0 TB")],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    """Decimal units, as stores bill them."""
    assert artifacts.readable(size) == text


def test_names_cannot_mark_up_the_page(store: Registry, server: Server) -> None:
    """A kind is text, whatever is in it."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("<b>x|y</b>")

    state = ended(ingest(return_state=True))
    page = next(a["data"] for a in server.artifacts(str(state.state_details.flow_run_id)) if a["type"] == "markdown")
    assert r"| \<b\>x\|y\</b\> |" in page


def test_the_tasks_alone_leave_events_and_artifacts_for_each_run(store: Registry, server: Server) -> None:
    """A flow without the decorator: two runs are closed, one is dropped, and one is left open and rolled back."""

    @flow
    def pipeline() -> list[str]:
        runs = [tasks.insert_run(purpose, registry=store) for purpose in ("dense", "sparse", "dropped", "left open")]
        for run in runs:
            dataset = tasks.begin_dataset("a", run, mode="append", registry=store)
            tasks.commit_dataset(dataset, "s3://elsewhere/a", 3, registry=store)
        for run in runs[:3]:
            tasks.close_run(run, run != runs[2], registry=store)
        return runs

    state = ended(pipeline(return_state=True))
    runs = [run.id for run in store.runs(newest_first=False)]

    def names(run: str) -> list[str]:
        return sorted(event["event"] for event in server.events(run))

    committed = ["prefect-registry.dataset.committed", "prefect-registry.run.committed"]
    assert until(lambda: names(runs[0]) == names(runs[1]) == committed, "events of both runs")
    assert until(lambda: names(runs[2]) == ["prefect-registry.run.rolled-back"], "the event of the dropped run")
    assert until(lambda: "prefect-registry.run.rolled-back" in names(runs[3]), "the event of the run left open")
    keys = {a["key"] for a in server.artifacts(str(state.state_details.flow_run_id))}
    assert keys == {"registry-dense-run", "registry-dense-datasets", "registry-sparse-run", "registry-sparse-datasets"}
