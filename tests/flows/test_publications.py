"""Publications on a real server: their schedule, their worker, their manager, the deployment that retrieves the data of
one, and the web server from which another one downloads and exports them.
"""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from worker_support import ROOT, Deployed, deployed_from, eventually

from prefect_registry import Registry
from prefect_registry.ingestion import Export, Ingestion, Job, Status
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
  - id: prices
    title: Prices
    public: true
    retrieval_frequency: WEEKLY
    plan:
      - type: http
        options:
          url: http://HOST/prices.csv
          hosts: [HOST]
          schemes: [http]
          kind: prices
          format: csv
      - type: export
        options: {kind: prices, formats: [csv, jsonl], date_field: day}
    gates:
      prices: [{gate: unique, columns: [day]}]
"""
PRICES = {
    number: "day,price\n" + "".join(f"20{20 + y}-01-01,{number}.{y + 1}\n" for y in range(2)) for number in (1, 2)
}


class Site(http.server.ThreadingHTTPServer):
    """Serves the prices of one job after the other."""

    daemon_threads = True
    prices = PRICES[1]

    class Handler(http.server.BaseHTTPRequestHandler):
        server: Site

        def do_GET(self) -> None:
            body = self.server.prices.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("publications") / "store"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def ingestion(store: Path, site: Site) -> Ingestion:
    found = Ingestion(Registry(store))
    for each in load_definitions(DEFINITIONS.replace("HOST", f"127.0.0.1:{site.server_port}")):
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


def completed(ingestion: Ingestion, publication: str, number: int) -> Job:
    """Wait until that job is complete."""

    def look() -> Job | None:
        jobs = [j for j in ingestion.jobs(publication) if j.number == number]
        return jobs[0] if jobs and jobs[0].status == Status.COMPLETED else None

    return eventually(look, f"the end of job {number}", within=240)


def seen(ingestion: Ingestion) -> tuple[list[Any], list[Any]]:
    registry = ingestion.registry
    return registry.table("observations").to_table().to_pylist(), registry.table("summary").to_table().to_pylist()


def check_prices(ingestion: Ingestion, number: int, folder: Path) -> None:
    """What was downloaded and what was exported of it are those of the same job."""
    job = completed(ingestion, "prices", number)
    assert job.successful, [(t.name, t.note) for t in job.tasks]
    rows = ingestion.registry.table("prices").to_table().to_pylist()
    assert [(str(row["day"]), row["price"]) for row in rows] == [
        ("2020-01-01", float(f"{number}.1")),
        ("2021-01-01", float(f"{number}.2")),
    ]
    shown = Export(ingestion.publication("prices"))
    assert (shown.status, [each["year"] for each in shown.files["csv"]["by_year"]]) == ("COMPLETED", [2020, 2021])
    ingestion.registry.latest("prices-export").download("full.csv.gz", folder / f"{number}.csv.gz")
    assert gzip.decompress((folder / f"{number}.csv.gz").read_bytes()).decode().replace('"', "") == PRICES[number]


@pytest.mark.timeout(600)
def test_publications_twice(prefect: Deployed, ingestion: Ingestion, site: Site, tmp_path: Path) -> None:
    """The schedule makes the first job of each and finishes it; one more is made by hand. Readers see one whole job."""
    for number in (1, 2):
        job = completed(ingestion, "observations", number)
        assert job.successful, [(t.name, t.note) for t in job.tasks]
        id = f"observations/{number}"
        assert seen(ingestion) == ([{"job": id}] * 2, [{"job": id, "rows": 2}])
        assert ingestion.publication("observations").active_job == id
        assert job.context["rows"] == 3
        (flow_run,) = [prefect.api("GET", f"/flow_runs/{r}") for r in job.context["flow_runs"].values()]
        assert flow_run["state"]["type"] == "COMPLETED"
        assert flow_run["idempotency_key"] == job.tasks[0].key
        check_prices(ingestion, number, tmp_path)
        if number == 1:
            site.prices = PRICES[2]
            assert ingestion.create_job("observations") is not None
            assert ingestion.create_job("prices") is not None
    runs = prefect.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["collect"]}}})
    assert len(runs) == 2

    def shown() -> bool:
        wanted = {"artifacts": {"key": {"any_": ["publications"]}}, "sort": "CREATED_DESC", "limit": 1}
        (table,) = prefect.api("POST", "/artifacts/filter", wanted)
        return "observations/2" in str(table["data"])

    def told() -> bool:
        wanted = {"filter": {"event": {"prefix": ["prefect-registry.job."]}}}
        events = [e["event"] for e in prefect.api("POST", "/events/filter", wanted)["events"]]
        return events.count("prefect-registry.job.completed") == 4

    assert eventually(shown, "the table of publications")
    assert eventually(told, "the events")
