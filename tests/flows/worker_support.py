"""A real Prefect server with the deployments of ``prefect.yaml`` and a worker that runs them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from prefect_server import patient_database
from python_forks import forking_python

from flows.demo.environment import Prefect, prefect_server
from flows.demo.processes import Child, child

ROOT = Path(__file__).parents[2]
TICK_SECONDS = 20
FRUGAL = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "10",  # not those of the next hour, each time that ticks begin
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "20",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}
"""Settings of server and worker that save processor time and change nothing else."""
BEGUN = ("COMPLETED", "FAILED", "CRASHED")
FINAL = (*BEGUN, "CANCELLED")
T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, within: float = 180, longest_pause: float = 1.0) -> T:
    """The first answer that is not None or empty. It looks less and less often, since looking costs the others time."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < within:
        found = look()
        if found:
            return found
        time.sleep(min(0.2 + waited / 20, longest_pause))
    raise AssertionError(f"{what}: not within {within:.0f} seconds")


@dataclass
class Deployed:
    """What the tests ask of the server and the worker."""

    prefect: Prefect
    stack: ExitStack
    python: str
    client: httpx.Client
    worker: Child | None = None

    def start_worker(self) -> None:
        """Start a worker that runs the deployments."""
        arguments = ["-m", "prefect", "worker", "start", "--pool", "registry", "--type", "process", "--limit", "5"]
        started = child("worker", arguments, self.prefect.environment, self.prefect.folder, self.python)
        self.worker = self.stack.enter_context(started)

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        for _ in range(30):
            answer = self.client.request(method, f"{self.prefect.url}{path}", json=body)
            if answer.status_code != 503:  # SQLite is locked, and the server asks to be asked again
                break
            time.sleep(0.2)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, name: str, **parameters: Any) -> str:
        """Ask for a run of a deployment. Returns the id of the flow run."""
        deployment = self.api("GET", f"/deployments/name/{name}")
        run = self.api("POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    @contextmanager
    def ticking(self, name: str) -> Iterator[None]:
        """Let the schedule of a deployment tick, at other times than these it does not: each tick takes seconds of
        processor time.
        """
        deployment = self.api("GET", f"/deployments/name/{name}")["id"]
        self.api("POST", f"/deployments/{deployment}/resume_deployment")
        try:
            yield
        finally:
            self.api("POST", f"/deployments/{deployment}/pause_deployment")

    def slots(self, name: str) -> int:
        """How many runs of a deployment Prefect counts against its concurrency limit."""
        return int(self.api("GET", f"/deployments/name/{name}")["global_concurrency_limit"]["active_slots"])

    def runs(self, name: str, since: float = 0.0) -> list[dict[str, Any]]:
        """The flow runs of a deployment that have ended and were begun after a time, oldest first. Not those that never
        began, because another one was running.
        """
        wanted = {"deployments": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}
        wanted |= {"flow_runs": {"state": {"type": {"any_": list(BEGUN)}}}, "limit": 100}  # type: ignore[dict-item]
        found = self.api("POST", "/flow_runs/filter", wanted)
        return [r for r in found if r["start_time"] is not None and seconds(r["start_time"]) > since]

    def end(self, flow_run_id: str) -> dict[str, Any]:
        """Wait for the end of a flow run."""

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.api("GET", f"/flow_runs/{flow_run_id}")
            return run if run["state"]["type"] in FINAL else None

        return eventually(look, f"the end of flow run {flow_run_id}")


def seconds(time_text: str) -> float:
    """A time of Prefect's API in seconds since the epoch."""
    from datetime import datetime

    return datetime.fromisoformat(time_text).timestamp()


def adapted(store: Path, inbox: Path) -> dict[str, Any]:
    """``prefect.yaml`` with a store, an inbox and a faster schedule; and a second deployment of ``ingest`` without
    schedule and limit.
    """
    document: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    deployments = {d["name"]: d for d in document["deployments"]}
    for name in ("flights", "maintenance"):
        deployments[name]["parameters"]["registry"] = str(store)
        deployments[name]["schedules"] = []
    ingest = deployments["ingest"]
    ingest["parameters"] |= {
        "registry": str(store), "source": str(inbox), "kind": "orders", "bad_files": "leave out", "settle_seconds": 1,
    }  # fmt: skip
    by_hand = {k: v for k, v in ingest.items() if k not in ("schedules", "concurrency_limit")}
    document["deployments"].append({**by_hand, "name": "ingest-by-hand", "parameters": {"registry": str(store)}})
    ingest["schedules"] = [{"slug": "ticks", "interval": TICK_SECONDS}]
    deployments["overview"]["triggers"][0]["match"] = {"prefect.resource.id": "prefect-registry.dataset.orders"}
    return document


@contextmanager
def deployed(folder: Path, store: Path, inbox: Path) -> Iterator[Deployed]:
    """Server, work pool, deployments, worker."""
    with deployed_from(folder, adapted(store, inbox)) as running:
        yield running


@contextmanager
def deployed_from(folder: Path, document: dict[str, Any]) -> Iterator[Deployed]:
    """The same with another ``prefect.yaml``."""
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(document))
    with (
        patient_database() as settings,
        prefect_server(folder, settings | FRUGAL) as prefect,
        forking_python(prefect.environment) as python,
        httpx.Client(timeout=60) as client,
    ):
        prefect.wait()

        def cli(*arguments: str) -> None:
            command = [python, "-m", "prefect", "--no-prompt", *arguments]
            done = subprocess.run(command, env=dict(prefect.environment), cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr

        cli("work-pool", "create", "registry", "--type", "process")
        cli("deploy", "--all", "--prefect-file", str(file))
        with ExitStack() as stack:
            running = Deployed(prefect, stack, python, client)
            running.start_worker()
            yield running
