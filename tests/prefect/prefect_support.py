"""What the tests of the Prefect layer share: the server's API, a fresh reader, tasks that stage and that fail."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.client.schemas.objects import State

from prefect_registry.registry import Registry
from prefect_registry.runs import current_run

HERE = Path(__file__).parent


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
        page = self.post("/events/filter", {"filter": wanted, "limit": 50})
        found = list(page["events"])
        while page["next_page"]:
            page = self.get(page["next_page"].removeprefix(self.url))
            found += page["events"]
        return found

    def artifacts(self, flow_run_id: str) -> list[dict[str, Any]]:
        return list(self.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}}))


class Seen:
    """What a reader sees who opens the store anew, as another process would."""

    def __init__(self, place: str | Registry) -> None:
        self.registry = place if isinstance(place, Registry) else Registry(place, create=False)

    def rows(self, kind: str) -> int:
        """Rows in the files of the published table, counted by reading them."""
        table = self.registry.table(kind)
        if "://" in self.registry.url:
            return int(table.to_table().num_rows)
        return sum(pq.read_table(url).num_rows for url in table.files())

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
