"""The flows as deployments of ``prefect.yaml``, on a real server and a real worker."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest
from flow_support import ids
from gated_site import gated_site
from worker_support import Deployed, deployed, eventually, seconds

from flows import nycflights
from flows.ingest import FILES_AT_ONCE
from prefect_registry import Registry
from prefect_registry.registry import RunInfo
from prefect_registry.testing.servers import Server

pytestmark = pytest.mark.prefect
TICKS = "ingest/ingest"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store, the inbox, and whatever the tests write."""
    folder = tmp_path_factory.mktemp("deployments")
    (folder / "inbox").mkdir()
    return folder


@pytest.fixture(scope="module")
def prefect(place: Path) -> Iterator[Deployed]:
    write(place / "inbox" / "unchanged.csv", 1, 2)
    write(place / "inbox" / "changed.csv", 3)
    write(place / "inbox" / "malformed.csv", 4, text="5,x\n")
    (place / "inbox" / "half.csv.gz").write_bytes(gzip.compress(b"id,n\n6,12\n")[:-6])
    with deployed(place, place / "store", place / "inbox") as running:
        with running.ticking(TICKS):
            pass
        yield running


@pytest.fixture
def ticking(prefect: Deployed) -> Iterator[None]:
    """The schedule ticks during this test."""
    with prefect.ticking(TICKS):
        yield


@pytest.fixture(scope="module")
def flights_run(prefect: Deployed) -> str:
    """A run of the main job, begun early: it works while other tests wait for their ticks."""
    return prefect.start("flights/flights")


@pytest.fixture
def store(place: Path) -> Registry:
    return Registry(place / "store")


def write(path: Path, *numbers: int, text: str = "") -> None:
    path.write_text("id,n\n" + "".join(f"{i},{i * 2}\n" for i in numbers) + text)


def run_of(store: Registry, flow_run_id: str) -> RunInfo:
    (found,) = store.runs(flow_run=flow_run_id)
    return found


def result_of(store: Registry, flow_run_id: str) -> dict[str, Any]:
    """What the flow returned, as the decision of its run records it."""
    decision = store.ledger.store.decision(run_of(store, flow_run_id).id)
    assert decision is not None
    result: dict[str, Any] = decision.result
    return result


@pytest.mark.usefixtures("ticking")
def test_ticks(prefect: Deployed, place: Path, store: Registry, flights_run: str) -> None:
    """A scheduled ingestion takes what is new; its next tick only what is new, has changed or was mended since."""
    inbox = place / "inbox"
    first = eventually(lambda: prefect.runs("ingest"), "the first tick")[0]
    assert first["state"]["type"] == "COMPLETED"
    assert ids(store, "orders") == [1, 2, 3]
    result = result_of(store, first["id"])
    assert result["files"] == {"taken": 2, "refused": 1, "left": 1}
    assert "malformed.csv, line 3: column 'n' should be int64, and is 'x'" in str(result["not_taken"])

    write(inbox / "changed.csv", 7, 8)
    write(inbox / "new.csv", 9)
    write(inbox / "malformed.csv", 4, 5)
    (inbox / "half.csv.gz").write_bytes(gzip.compress(b"id,n\n6,12\n"))
    changed = time.time()
    second = eventually(lambda: prefect.runs("ingest", since=changed), "the second tick")[0]
    assert second["state"]["type"] == "COMPLETED"
    assert result_of(store, second["id"])["files"] == {"unchanged": 1, "taken": 4}
    assert ids(store, "orders") == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.usefixtures("ticking")
def test_trigger(prefect: Deployed, place: Path) -> None:
    """What the ticks published has started the deployment that is triggered by it, with what the event says."""
    run = eventually(lambda: prefect.runs("overview"), "a run by the trigger")[0]
    assert run["state"]["type"] == "COMPLETED"
    assert run["parameters"] == {"kind": "orders", "registry": str(place / "store")}
    artifacts = prefect.api("POST", "/artifacts/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert [a["key"] for a in artifacts] == ["overview-orders"]
    assert "| id | int64 |" in artifacts[0]["data"]


def test_flights(prefect: Deployed, store: Registry, flights_run: str) -> None:
    """The main job publishes the real data, row for row, and delays that an independent computation confirms."""
    assert prefect.end(flights_run)["state"]["type"] == "COMPLETED"
    run = run_of(store, flights_run)
    decision = store.ledger.store.decision(run.id)
    assert decision is not None
    assert len(store.ledger.store.members(decision).datasets) == 17
    for kind in nycflights.FILES:
        expected = raw(kind)
        found = store.table(kind).to_pandas()
        keys = list(expected.columns)
        assert len(found) == len(expected)
        pd.testing.assert_frame_equal(sorted_rows(found[keys]), sorted_rows(expected), check_dtype=False)
    assert store.table("flights").rows == 336_776
    pd.testing.assert_frame_equal(
        store.table("delays").to_pandas().reset_index(drop=True), delays(raw("flights")), check_dtype=False
    )


def raw(kind: str) -> pd.DataFrame:
    """The file as pandas reads it."""
    frame = pd.read_csv(nycflights.path_of(kind), na_values=["NA", ""], keep_default_na=False)
    if "time_hour" in frame:
        frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True).astype("datetime64[us, UTC]")
    return frame


def sorted_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(list(frame.columns), ignore_index=True)


def delays(flights: pd.DataFrame) -> pd.DataFrame:
    """Delays for each airline and day, by other means than the flow's."""
    flights = flights.merge(raw("airlines").rename(columns={"name": "airline"}), on="carrier", how="left")
    days = flights[["year", "month", "day"]].itertuples(index=False)
    flights["date"] = [datetime.date(*day) for day in days]
    groups = flights.groupby(["carrier", "airline", "date"])
    found = groups.agg(
        flights=("flight", "size"),
        cancelled=("dep_time", lambda times: times.isna().sum()),
        mean_dep_delay=("dep_delay", "mean"),
        mean_arr_delay=("arr_delay", "mean"),
        late=("arr_delay", lambda minutes: (minutes >= 15).sum()),
    )
    return found.reset_index().sort_values(["carrier", "date"], ignore_index=True)


def test_a_month_that_fails(prefect: Deployed, store: Registry, flights_run: str) -> None:
    """When one month fails, readers see the tables as they were."""
    prefect.end(flights_run)
    before = [d.id for d in store.table("flights").datasets()]
    run = prefect.end(prefect.start("flights/flights", fail_at_month=7))
    assert run["state"]["type"] == "FAILED"
    assert "Month 7 fails" in run["state"]["message"]
    assert run_of(store, run["id"]).state == "ABORTED"
    assert [d.id for d in store.table("flights").datasets()] == before


def test_a_bad_row_fails_the_run(prefect: Deployed, place: Path, store: Registry) -> None:
    """By default a bad row fails the flow run, whose message names file and line, and publishes nothing."""
    folder = place / "bad"
    folder.mkdir()
    write(folder / "good.csv", 1)
    write(folder / "bad.csv", 2, text="3,4\n5,6,7\n")
    run = prefect.end(prefect.start("ingest/ingest-by-hand", source=str(folder), kind="bad"))
    assert run["state"]["type"] == "FAILED"
    assert "bad.csv, line 4: expected 2 columns, got 3" in run["state"]["message"]
    assert "bad" not in store.kinds()


def test_overlapping_runs(prefect: Deployed, store: Registry) -> None:
    """Two runs of a deployment, each with its hands on four files while the other has, take each file once."""
    files = {f"{number:02}.csv": f"id,n\n{number},{number * 2}\n".encode() for number in range(40)}
    with gated_site(files, at_once=2 * FILES_AT_ONCE) as site:
        asked = {
            "source": f"{site.url}/*.csv", "kind": "many", "settle_seconds": 0,
            "columns": {"id": "integer", "n": "integer"},
        }  # fmt: skip
        ids_of_runs = [prefect.start("ingest/ingest-by-hand", **asked) for _ in range(2)]
        runs = [prefect.end(run) for run in ids_of_runs]
    assert site.met_at is not None, "never were more files read at once than one run reads"
    for run in runs:
        assert run["state"]["type"] == "COMPLETED"
        assert seconds(run["start_time"]) < site.met_at < seconds(run["end_time"])
        files_of_run = result_of(store, run["id"])["files"]
        assert set(files_of_run) <= {"taken", "elsewhere", "unchanged"}
        assert files_of_run["taken"] >= FILES_AT_ONCE
        assert sum(files_of_run.values()) == 40
    assert sum(result_of(store, run["id"])["files"]["taken"] for run in runs) == 40
    assert site.reads == dict.fromkeys(files, 2)  # each by one run: for the names of its columns, and for its rows
    sources = [d.tags["source"].rpartition("/")[2] for d in store.table("many").datasets()]
    assert sorted(sources) == sorted(files)
    assert ids(store, "many") == list(range(40))


def amid_its_files(store: Registry) -> RunInfo | None:
    """A tick's run that has staged some of its files and is at work on others."""
    for run in store.runs(state="RUNNING", purpose="ingest"):
        staged = sum(1 for d in store.datasets(run_id=run.id) if d.state == "STAGED")
        if 5 <= staged <= 90:
            return run
    return None


def kill_process_of(store: Registry, run: RunInfo) -> None:
    pulse = store.ledger.leases.pulse(run.id)
    assert pulse is not None
    assert pulse.holder is not None
    os.kill(pulse.holder.pid, signal.SIGKILL)


@pytest.mark.usefixtures("ticking")
def test_killed_ticks(prefect: Deployed, place: Path, store: Registry, flights_run: str) -> None:
    """A scheduled tick killed amid its files leaves nothing visible, and the next tick begins; killed with its worker,
    the next one begins as soon as maintenance has told Prefect. That one takes each file.
    """
    prefect.end(flights_run)
    eventually(lambda: prefect.runs("ingest"), "the first tick, of what was there before")
    before = ids(store, "orders")
    numbers: list[int] = []

    def amid() -> RunInfo | None:
        """If a tick has taken all files between two looks, there are others for the next one."""
        if set(numbers) <= set(ids(store, "orders")):
            before.extend(numbers)
            numbers[:] = range(1000 + len(before), 1120 + len(before))
            for number in numbers:
                write(place / "inbox" / f"{number}.csv", number)
        return amid_its_files(store)

    first = eventually(amid, "a tick amid its files", longest_pause=0.3)
    kill_process_of(store, first)
    assert first.flow_run is not None
    crashed = prefect.end(first.flow_run)
    assert (crashed["state"]["type"], crashed["auto_scheduled"]) == ("CRASHED", True)
    # Prefect's hook, in the worker, rolls the run back: nobody has to wait for a lease, or to find out that it is dead.
    failure = eventually(lambda: store.get_run(first.id).failure, "the worker's hook")
    assert failure.kind == "crashed"
    assert ids(store, "orders") == before

    second = eventually(amid, "the next tick amid its files", longest_pause=0.3)
    assert second.id != first.id
    assert second.flow_run is not None
    assert prefect.worker is not None
    os.kill(prefect.worker.pid, signal.SIGKILL)
    kill_process_of(store, second)
    killed = time.time()
    prefect.start_worker()
    assert ids(store, "orders") == before
    assert prefect.api("GET", f"/flow_runs/{second.flow_run}")["state"]["type"] == "RUNNING"
    assert prefect.slots("ingest/ingest") == 1  # which Prefect would keep for five minutes, and cancel the ticks
    assert prefect.end(prefect.start("maintenance/maintenance"))["state"]["type"] == "COMPLETED"
    dead = prefect.end(second.flow_run)["state"]
    assert dead["type"] == "CRASHED"
    assert dead["message"] == f"It was reaped: its process is gone. Its run {second.id} was rolled back"

    # The slot was given back: there is one, and the next tick, which may be at work already, has it.
    third = eventually(lambda: prefect.runs("ingest", since=killed), "the tick after that")[0]
    assert third["state"]["type"] == "COMPLETED"
    assert result_of(store, third["id"])["files"]["taken"] == len(numbers)
    assert ids(store, "orders") == [*before, *numbers]


@pytest.mark.usefixtures("ticking")
def test_idle_ticks(prefect: Deployed, store: Registry) -> None:
    """Ticks that find nothing complete without a run of the registry."""
    idle = eventually(
        lambda: [r for r in prefect.runs("ingest") if next(store.runs(flow_run=r["id"]), None) is None], "an idle tick"
    )
    assert {run["state"]["type"] for run in idle} == {"COMPLETED"}


@pytest.mark.server
def test_from_a_bucket(prefect: Deployed, place: Path, store: Registry, seaweedfs: Server) -> None:
    """Files of a bucket are taken in with the options of a Secret block, which show up nowhere."""
    options = dict(seaweedfs.storage_options)
    save = "import os; from prefect.blocks.system import Secret; Secret(value=os.environ['OPTIONS']).save('options')"
    environment = {**prefect.prefect.environment, "OPTIONS": json.dumps(options)}
    subprocess.run([prefect.python, "-c", save], env=environment, check=True)
    fs, base = fsspec.core.url_to_fs(seaweedfs.url(), **options)
    fs.pipe_file(f"{base}/a.csv", b"id,n\n1,2\n2,4\n")
    source = f"s3://{base}/*.csv"
    run = prefect.end(prefect.start("ingest/ingest-by-hand", source=source, kind="bucket", options_block="options"))
    assert run["state"]["type"] == "COMPLETED"
    assert ids(store, "bucket") == [1, 2]
    assert options["secret"] not in json.dumps(run)
    for path in (place / "store").rglob("*.json"):
        assert options["secret"] not in path.read_text()
    logs = prefect.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert options["secret"] not in json.dumps(logs)


def test_maintenance(prefect: Deployed, place: Path, store: Registry, flights_run: str) -> None:
    """The maintenance deployment reaps a silent run whose flow run Prefect knows to have failed, leaves one alone whose
    flow run it does not, and deletes the bytes of what was rolled back, and nothing else.
    """
    failed = prefect.start("ingest/ingest-by-hand", source=str(place / "nowhere"), kind="nothing")
    assert prefect.end(failed)["state"]["type"] == "FAILED"
    silent = Registry(place / "store", heartbeats=False)
    dead = silent.insert_run("dead", flow_run=failed, lease=8)
    slow = silent.insert_run("slow", flow_run=str(uuid4()), lease=3600)
    with silent.attach(dead).dataset("dead") as ds, ds.open("file") as file:
        file.write(b"x" * 1000)
    tables = {kind: [d.id for d in store.table(kind).datasets()] for kind in store.kinds()}
    began = time.monotonic()
    run = prefect.end(prefect.start("maintenance/maintenance"))
    assert run["state"]["type"] == "COMPLETED"
    assert time.monotonic() - began > 4  # half the lease: Prefect's word is a suspicion, and the heartbeat was watched
    assert (store.get_run(dead).state, store.get_run(slow).state) == ("ABORTED", "RUNNING")
    failure = store.get_run(dead).failure
    assert failure is not None
    assert failure.kind == "reaped"
    silent.close_run(slow, False)
    swept = store.collect(dry_run=True)
    assert (swept.runs, swept.waiting) == ([], [dead])  # its process lives: its bytes are deleted when it has stopped
    assert [o.key for o in store.storage.list("catalog/checkpoints/")] == ["catalog/checkpoints/0000000000.json"]
    for kind, datasets in tables.items():
        table = store.table(kind)
        assert [d.id for d in table.datasets()] == datasets
        assert table.rows is None or table.to_table().num_rows == table.rows


def test_what_the_run_form_shows(prefect: Deployed) -> None:
    """The run form of each deployment asks for the registry and describes every parameter."""
    names = ("flights/flights", "ingest/ingest", "maintenance/maintenance", "overview/overview", "export/export",
             "publications/publications", "prune-publications/prune-publications")  # fmt: skip
    for name in names:
        schema = prefect.api("GET", f"/deployments/name/{name}")["parameter_openapi_schema"]["properties"]
        assert schema["registry"]["type"] == "string"
        assert all(field.get("description") for field in schema.values()), schema


def test_prefect_yaml_in_order(prefect: Deployed) -> None:
    """Every deployment has a concurrency limit of 1, and every schedule of ``prefect.yaml`` a slug."""
    import yaml
    from worker_support import ROOT

    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert all(d["concurrency_limit"]["limit"] == 1 for d in document["deployments"])
    schedules = [s for d in document["deployments"] for s in d.get("schedules", [])]
    assert len(schedules) == 5
    assert all(s["slug"] for s in schedules)
    assert prefect.api("GET", "/deployments/name/ingest/ingest")["global_concurrency_limit"]["limit"] == 1


def test_parquet_files_of_the_table(store: Registry, prefect: Deployed, flights_run: str) -> None:
    """Other tools read the table by its files."""
    prefect.end(flights_run)
    files = store.table("flights").files()
    assert len(files) == 12
    assert sum(pq.read_metadata(file).num_rows for file in files) == 336_776


def test_what_is_forked_in_place_of_python(prefect: Deployed, tmp_path: Path) -> None:
    """It has its own arguments, environment, folder and files, ends as it would, and is killed with what it is for."""
    said = "import os, sys; print(sys.argv, os.environ['SAID'], os.getcwd(), sys.stdin.read()); sys.exit(7)"
    environment = {**prefect.prefect.environment, "SAID": "yes"}
    command = [prefect.python, "-c", said, "an argument"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, input="input", capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{['-c', 'an argument']} yes {tmp_path} input\n", 7)
    waits = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    for number in (signal.SIGTERM, signal.SIGKILL):
        for target in ("it", "what stands for it"):
            started = subprocess.Popen([prefect.python, "-c", waits], env=environment, stdout=subprocess.PIPE)
            assert started.stdout is not None
            with started.stdout as output:
                pid = int(output.readline())
                os.kill(pid if target == "it" else started.pid, number)
                assert started.wait(60) == -number
                assert output.read() == b""  # nobody has it open any more
