"""A real Prefect server as a process of its own, and fresh stores, for every test of the Prefect layer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import prefect.context
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect import task
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_RESULTS_LOCAL_STORAGE_PATH,
    temporary_settings,
)

from prefect_registry.registry import Registry
from prefect_registry.runs import current_run

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.prefect)


@dataclass(frozen=True)
class Server:
    """The API of the server that the test started."""

    url: str

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, body or {})

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        deadline = time.monotonic() + 120
        while True:
            try:
                response = httpx.request(method, f"{self.url}{path}", json=body, timeout=30)
            except httpx.TimeoutException:
                busy = True
            else:
                busy = response.status_code == 503  # SQLite is locked: the server asks to be asked again
            if not busy or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        response.raise_for_status()
        return response.json() if response.content else None

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        return dict(self.get(f"/flow_runs/{flow_run_id}"))

    def messages(self, flow_run_id: str) -> list[str]:
        """The lines of a flow run's log that have reached the server."""
        wanted = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.post("/logs/filter", wanted)]

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """Events about a registry run that have reached the server, oldest first."""
        wanted = {"any_resource": {"id": [f"prefect-registry.run.{run_id}"]}, "order": "ASC"}
        return list(self.post("/events/filter", {"filter": wanted, "limit": 50})["events"])

    def artifacts(self, flow_run_id: str) -> list[dict[str, Any]]:
        return list(self.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}}))


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``prefect server start`` on a free port, with a database of its own; this process and its children use it."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    own = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with open(home / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await_health(url, process)
            changed = {
                PREFECT_API_URL: url,
                PREFECT_RESULTS_LOCAL_STORAGE_PATH: home / "results",
                # Prefect joins its heartbeat thread for a second at the end of every flow run.
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            }
            with temporary_settings(changed), _for_every_thread():
                yield Server(url)
        finally:
            # What is still queued would be sent to a server that is gone, for a minute.
            EventsWorker.drain_all()
            APILogWorker.drain_all()
            process.terminate()
            process.wait(20)
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _for_every_thread() -> Iterator[None]:
    """Let threads that Prefect starts without a context use these settings too, and start no server of their own."""
    before = prefect.context.GLOBAL_SETTINGS_CONTEXT
    prefect.context.GLOBAL_SETTINGS_CONTEXT = prefect.context.SettingsContext.get()
    try:
        yield
    finally:
        prefect.context.GLOBAL_SETTINGS_CONTEXT = before


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Prefect server ended while it was starting"
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the Prefect server did not answer within two minutes")


@pytest.fixture
def store(tmp_path: Path, server: Server) -> Registry:
    """An empty registry in a folder."""
    return Registry(tmp_path / "store")


class Seen:
    """What a reader sees who opens the store anew, as another process would."""

    def __init__(self, url: str) -> None:
        self.registry = Registry(url, create=False)

    def rows(self, kind: str) -> int:
        """Rows in the files of the published table, counted by reading them."""
        return sum(pq.read_table(url).num_rows for url in self.registry.table(kind).files())

    def nothing(self) -> bool:
        """Whether no dataset of any kind is visible."""
        return self.registry.kinds() == [] and not any(d.state == "READY" for d in self.registry.datasets())

    def states(self) -> list[str]:
        """The states of all runs, oldest first."""
        return [run.state for run in self.registry.runs(newest_first=False)]

    def failures(self) -> list[tuple[str, str]]:
        """Class and kind of each aborted run's failure, oldest first."""
        runs = self.registry.runs(newest_first=False)
        return [(run.failure.cls, run.failure.kind) for run in runs if run.failure is not None]

    def incidents(self) -> list[tuple[str, str]]:
        return [(i.error_class, i.message) for i in self.registry.incidents()]


def seen(store: Registry) -> Seen:
    return Seen(store.url)


def rows_of(count: int) -> pa.Table:
    return pa.table({"x": list(range(count))})


@task
def stage(kind: str, rows: int = 3, mode: str | None = None) -> str:
    """Stage a dataset in the current run."""
    with current_run().dataset(kind, mode=mode) as dataset:  # type: ignore[arg-type]
        dataset.write_table(rows_of(rows))
    return dataset.id


@task
def boom(message: str = "boom") -> None:
    raise ValueError(message)


def ended(state: Any) -> State[Any]:
    """The final state that a flow call with ``return_state=True`` gave."""
    assert isinstance(state, State)
    assert state.is_final()
    return state
