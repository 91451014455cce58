"""The ingestion flow looks before a run is begun, and is none the less a flow run like any other (DESIGN.md P14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flow_support import KIND, ids
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Pending

from flows.ingest import ingest
from prefect_registry import Registry
from prefect_registry.errors import InvalidInput, NotFound
from prefect_registry.runs import registry_run

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


def write(inbox: Path, name: str, number: int) -> None:
    (inbox / name).write_text(f"id,n\n{number},{number * 2}\n")


@pytest.fixture
def asked(registry: Registry, inbox: Path) -> dict[str, Any]:
    """The flow's parameters, with one file to take."""
    write(inbox, "a.csv", 1)
    return {"source": str(inbox), "kind": KIND, "registry": registry.url, "settle_seconds": 0.0}


def objects(registry: Registry) -> dict[str, int]:
    """Every object of the store, with the time at which it was written."""
    return {info.key: info.modified.timestamp() for info in registry.ledger.store.storage.list("")}  # type: ignore[misc]


def test_an_idle_tick_writes_nothing(registry: Registry, inbox: Path, asked: dict[str, Any]) -> None:
    """A tick that finds nothing to take completes, says so, and leaves the store as it was, to the last object."""
    assert ingest(**asked)["files"] == {"taken": 1}
    (inbox / "half.csv.gz").write_bytes(b"\x1f\x8b")
    assert ingest(**asked)["files"] == {"unchanged": 1, "left": 1}  # a run, in which the file is found half-written
    before = objects(registry)
    for _ in range(2):
        told = ingest(**asked)
        assert told["files"] == {"unchanged": 1, "left": 1}
        assert told["rows"] == 0
    assert objects(registry) == before
    assert [r.state for r in registry.runs()] == ["COMMITTED"] * 2
    write(inbox, "b.csv", 2)
    assert ingest(**asked)["files"] == {"unchanged": 1, "left": 1, "taken": 1}
    assert ids(registry) == [1, 2]


def test_a_flow_run_that_has_published(registry: Registry, asked: dict[str, Any]) -> None:
    """A flow run that is run again after its commit returns what it returned, although nothing is new by now."""
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(ingest, parameters=asked, state=Pending())
        first = run_flow(ingest, flow_run=flow_run, parameters=asked)
        again = client.read_flow_run(flow_run.id)
        client.set_flow_run_state(flow_run.id, Pending(), force=True)
        assert run_flow(ingest, flow_run=again, parameters=asked) == first
    assert first["files"] == {"taken": 1}  # type: ignore[index]
    assert sorted(r.state for r in registry.runs()) == ["ABORTED", "COMMITTED"]


def test_inside_another_run(registry: Registry, inbox: Path, asked: dict[str, Any]) -> None:
    """In a run it is a part of that: it sees the files which that has taken, and publishes when that does."""

    @registry_run(registry)
    @flow
    def twice(fails: bool) -> None:
        assert ingest(**asked)["files"] == {"taken": 1}
        assert ingest(**asked)["files"] == {"unchanged": 1}
        assert registry.kinds() == []
        if fails:
            raise RuntimeError("by design")

    with pytest.raises(RuntimeError, match="by design"):
        twice(True)
    assert registry.kinds() == []
    twice(False)
    assert ids(registry) == [1]


def test_what_fails_is_recorded(registry: Registry, inbox: Path, asked: dict[str, Any]) -> None:
    """A look that fails, and a bad file, are failures of a run that is recorded, and publish nothing."""
    with pytest.raises(NotFound):
        ingest(**{**asked, "source": str(inbox / "nowhere")})
    (inbox / "b.csv").write_text("id,n\n2,x\n3,y,z\n")
    with pytest.raises(InvalidInput, match=r"b\.csv, line 3"):
        ingest(**asked)
    assert [r.state for r in registry.runs()] == ["ABORTED"] * 2
    failures = [r.failure.cls for r in registry.runs() if r.failure is not None]
    assert sorted(failures) == ["InvalidInput", "NotFound"]
    assert registry.kinds() == []


def test_the_hooks_are_kept() -> None:
    """A runner finds the hooks that roll back, and the decorator's options, on the flow."""
    from prefect_registry.runs import roll_back_registry_run
    from prefect_registry.runs.options import options_of

    assert roll_back_registry_run in ingest.on_crashed_hooks
    assert roll_back_registry_run in ingest.on_cancellation_hooks
    assert options_of(ingest.fn) is not None
    assert options_of(ingest.with_options(name="other").fn) is options_of(ingest.fn)
