"""A publication on a real server: its schedule, its worker, its manager and the deployment that retrieves its data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from worker_support import ROOT, Deployed, deployed_from, eventually

from prefect_registry import Registry
from prefect_registry.ingestion import Ingestion, Job, Status
from prefect_registry.ingestion.definitions import load_definitions

pytestmark = pytest.mark.prefect
TICK_SECONDS = 8

DEFINITIONS = """\
publications:
  - id: observations
    title: Observations
    public: true
    retrieval_frequency: WEEKLY
    plan:
      - type: deployment
        name: collect
        options:
          deployment: collect/collect
          run_parameter: run
          job_parameter: job
      - type: callable
        name: summarize
        options: {function: "tests.flows.publication_flows:summarize"}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("publications") / "store"


@pytest.fixture(scope="module")
def ingestion(store: Path) -> Ingestion:
    found = Ingestion(Registry(store))
    for each in load_definitions(DEFINITIONS):
        found.put(each)
    return found


@pytest.fixture(scope="module")
def prefect(store: Path, ingestion: Ingestion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (manager,) = (d for d in document["deployments"] if d["name"] == "publications")
    manager["parameters"]["registry"] = str(store)
    manager["schedules"] = [{"slug": "ticks", "interval": TICK_SECONDS}]
    collect = {
        "name": "collect",
        "entrypoint": "tests/flows/publication_flows.py:collect",
        "parameters": {"registry": str(store), "run": "", "job": ""},
        "work_pool": {"name": "registry"},
    }
    document["deployments"] = [manager, collect]
    with deployed_from(tmp_path_factory.mktemp("prefect"), document) as running:
        yield running


def completed(ingestion: Ingestion, number: int) -> Job:
    """Wait until that job is complete."""

    def look() -> Job | None:
        jobs = [j for j in ingestion.jobs("observations") if j.number == number]
        return jobs[0] if jobs and jobs[0].status == Status.COMPLETED else None

    return eventually(look, f"the end of job {number}", within=240)


def seen(ingestion: Ingestion) -> tuple[list[Any], list[Any]]:
    registry = ingestion.registry
    return registry.table("observations").to_table().to_pylist(), registry.table("summary").to_table().to_pylist()


@pytest.mark.timeout(600)
def test_a_publication_twice(prefect: Deployed, ingestion: Ingestion) -> None:
    """The schedule makes the first job and finishes it; one more is made by hand. Readers see one whole job."""
    for number in (1, 2):
        job = completed(ingestion, number)
        assert job.successful, [(t.name, t.note) for t in job.tasks]
        id = f"observations/{number}"
        assert seen(ingestion) == ([{"job": id}] * 2, [{"job": id, "rows": 2}])
        assert ingestion.publication("observations").active_job == id
        assert job.context["rows"] == 3
        (flow_run,) = [prefect.api("GET", f"/flow_runs/{r}") for r in job.context["flow_runs"].values()]
        assert flow_run["state"]["type"] == "COMPLETED"
        assert flow_run["idempotency_key"] == job.tasks[0].key
        if number == 1:
            assert ingestion.create_job("observations") is not None
    runs = prefect.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["collect"]}}})
    assert len(runs) == 2

    def shown() -> bool:
        wanted = {"artifacts": {"key": {"any_": ["publications"]}}, "sort": "CREATED_DESC", "limit": 1}
        (table,) = prefect.api("POST", "/artifacts/filter", wanted)
        return "observations/2" in str(table["data"])

    def told() -> bool:
        wanted = {"filter": {"event": {"prefix": ["prefect-registry.job."]}}}
        events = [e["event"] for e in prefect.api("POST", "/events/filter", wanted)["events"]]
        return events.count("prefect-registry.job.completed") == 2

    assert eventually(shown, "the table of publications")
    assert eventually(told, "the events")
