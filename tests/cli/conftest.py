"""What the tests of the command line share."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefect_registry.cli.app import run
from prefect_registry.records import Doc
from prefect_registry.registry import Registry
from prefect_registry.resolve import lookup
from prefect_registry.storage import probe


@dataclass
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line in this process, as if from a script: without a terminal."""

    def call(*arguments: str) -> Said:
        lookup.forget()
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PREFECT_REGISTRY_", "PREFECT_INTEGRATIONS_REGISTRY_", "REGISTRY_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _short_races(monkeypatch: pytest.MonkeyPatch) -> None:
    """`init` and `doctor` let creates race for two seconds, to find a store that lets two of them win. The stores of
    these tests are known; tests/storage shows what the races find.
    """
    monkeypatch.setattr(probe, "_RACING_SECONDS", 0.0)


@pytest.fixture
def name() -> str:
    """A name of a block that nobody has used."""
    return f"i-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class History:
    """A registry in which things have happened, and the ids of some of them."""

    url: str
    flights: str
    flights_before: str
    report: str
    nightly: str
    reporting: str
    failed: str
    open_run: str
    event: str
    incident: str


def _happened(url: str) -> History:
    registry = Registry(url)
    with registry.run("nightly", config={"year": 2025}) as first, first.dataset("flights", tags={"by": "hand"}) as old:
        old.write_table(pa.table({"n": range(5), "delay": range(5)}), path="a.parquet")
        old.write_table(pa.table({"n": range(3), "delay": range(3)}), path="b.parquet")
    with registry.run("nightly", revision="abc") as second, second.dataset("flights", tags={"by": "job"}) as new:
        new.write_table(pa.table({"n": range(10), "delay": [0.5] * 10, "carrier": ["x"] * 10}), path="a.parquet")
        new.write_table(pa.table({"n": range(1)}), path="c.parquet")
    with registry.run("reporting") as third:
        registry.table("flights").to_table(["n"])
        event = third.emit_event("ReportWritten", new.id, {"pages": 3})
        third.register_documents([Doc(id="urn:doc:1", title="On delays")])
        with third.dataset("report") as report, report.open("pages/one.txt", "w") as file:
            file.write("hello")
    with pytest.raises(ValueError, match="no way"), registry.run("nightly") as failed:
        with failed.dataset("flights") as lost:
            lost.write_table(pa.table({"n": range(1000)}))
        raise ValueError("no way")
    (incident,) = registry.incidents(run_id=failed.id)
    open_run = registry.insert_run("endless")
    return History(url, new.id, old.id, report.id, second.id, third.id, failed.id, open_run, event, incident.id)


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """For tests that only look."""
    return _happened(str(tmp_path_factory.mktemp("history") / "registry"))


@pytest.fixture
def own_history(tmp_path: Path) -> History:
    """For tests that change it."""
    return _happened(str(tmp_path / "registry"))
