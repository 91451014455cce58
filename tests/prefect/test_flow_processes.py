"""Real processes, really ended: by signals, kills, cancellation, timeouts; directly, served, and by a worker.

The processes that need nothing of each other are started together, and each test then looks at its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Pending
from prefect_support import HERE, Seen, Server, ended, stage
from process_forks import Forks
from process_support import SCRIPT, Case, until

from prefect_registry import tasks
from prefect_registry.blocks import S3Registry
from prefect_registry.provenance import captured
from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry
from prefect_registry.runs import registry_run, roll_back_registry_run
from prefect_registry.testing import servers
from prefect_registry.testing.proxies import Proxy

sys.path.insert(0, str(HERE))
import process_flows as flows

CANCELLING = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True}


class Lab:
    """The cases of this module by name."""

    def __init__(self, server: Server, forks: Forks, home: Path) -> None:
        self.server, self.forks, self.home = server, forks, home
        self.cases: dict[str, Case] = {}
        self.runners: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()

    def case(self, name: str, fn: str, **more: Any) -> Case:
        home = self.home / name
        home.mkdir()
        self.cases[name] = Case(self.server, self.forks, name, home, fn, more=more).prepare()
        return self.cases[name]

    def runner(self, *command: str) -> subprocess.Popen[bytes]:
        environ = {
            **os.environ, "PREFECT_RUNNER_POLL_FREQUENCY": "3", "PREFECT_WORKER_QUERY_SECONDS": "3",
            # A server that a busy machine keeps waiting answers all the same; a runner that gives up serves nothing.
            "PREFECT_API_REQUEST_TIMEOUT": "300",
        }  # fmt: skip
        with open(self.home / f"runner-{len(self.runners)}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=subprocess.STDOUT, env=environ, cwd=HERE,
                start_new_session=True,
            )  # fmt: skip
        self.runners.append(process)
        return process

    def hanging(self) -> str:
        """Prefect's API, which takes events and artifacts and never answers."""
        self.unanswered = Proxy(self.server.url.removesuffix("/api"), stall_seconds=300)
        self._stack.enter_context(self.unanswered.running())
        self.unanswered.fail_next("timeout", 1_000, lambda r: "/events" in r.path or "/artifacts" in r.path)
        return self.unanswered.endpoint

    def end(self) -> None:
        self._stack.close()
        for case in self.cases.values():
            case.end()
        for process in self.runners:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def flow_run_of(name: str, parameters: dict[str, Any]) -> str:
    """A flow run that waits for a process to run it."""
    with get_client(sync_client=True) as client:
        return str(client.create_flow_run(getattr(flows, name), parameters=parameters, state=Pending()).id)


@pytest.fixture(scope="module")
def lab(server: Server, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Everything that can run at the same time, started."""
    lab = Lab(server, forks, tmp_path_factory.mktemp("processes"))
    try:
        lab.runner(str(SCRIPT), "serve")
        server.post("/work_pools/", {"name": "lab", "type": "process"})
        _deploy_to_worker(server)
        lab.runner("-m", "prefect", "worker", "start", "--pool", "lab", "--type", "process")
        for name in ("sigterm", "sigint", "sigkill"):
            lab.case(name, "waits").start_directly()
        for name in ("sigterm-async", "sigint-async"):
            lab.case(name, "awaits").start_directly()
        lab.case("timeout", "times_out").start_directly()
        for name in ("alone-sigterm", "alone-sigint", "alone-sigkill"):
            lab.case(name, "tasks_alone").start_directly()
        lab.case("never", "never_ends").start_directly()
        lab.case("hanging", "waits").start_directly({"PREFECT_API_URL": f"{lab.hanging()}/api"}).go()
        for name, fn, more in (
            ("overtaken", "appends", {}),
            ("killed-committed", "dies_committed", {}),
            ("alone-pods", "alone_appends", {}),
            ("alone-killed-committed", "alone_appends", {"deadly": True}),
        ):
            case = lab.case(name, fn, **more)
            case.flow_run_id = flow_run_of(fn, case.parameters)
            case.start_by_engine()
        yield lab
    finally:
        lab.end()


def _deploy_to_worker(server: Server) -> None:
    for name in ("waits", "tasks_alone"):
        body = {
            "name": "worked",
            "flow_id": server.post("/flows/", {"name": name.replace("_", "-")})["id"],
            "work_pool_name": "lab",
            "entrypoint": f"{SCRIPT.name}:{name}",
            "path": str(HERE),
            "enforce_parameter_schema": False,
        }
        server.post("/deployments/", body)


# -- directly ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "failures"),
    [
        ("sigterm", signal.SIGTERM, {"TerminationSignal"}),
        # By where the main thread is: in the event loop, which cancels the flow, or in the flow's own code.
        ("sigterm-async", signal.SIGTERM, {"CancelledError", "TerminationSignal"}),
        ("sigint", signal.SIGINT, {"KeyboardInterrupt"}),
        ("sigint-async", signal.SIGINT, {"CancelledError"}),
    ],
)
def test_a_signal_rolls_back_before_the_process_ends(
    lab: Lab, name: str, number: signal.Signals, failures: set[str]
) -> None:
    """Prefect calls the flow run crashed, the registry has rolled back by then."""
    case = lab.cases[name].signal(number)
    assert case.exit_code() != 0
    [(failure, kind)] = case.seen().failures()
    assert failure in failures
    assert kind == "crashed"
    assert case.final_state() == "CRASHED"
    assert case.seen().nothing()


def test_a_process_killed_with_sigkill_leaves_nothing_visible_and_the_reaper_ends_its_run(lab: Lab) -> None:
    """Nothing of the process runs any more; that it is gone is proof enough, without waiting for the lease."""
    case = lab.cases["sigkill"].signal(signal.SIGKILL)
    assert case.exit_code() == -signal.SIGKILL
    assert case.seen().states() == ["RUNNING"]
    assert case.seen().nothing()
    report = case.seen().registry.reap()
    assert len(report.reaped) == 1
    assert case.seen().failures() == [("Reaped", "reaped")]
    assert case.seen().nothing()
    assert case.flow_run()["state_type"] == "RUNNING"  # Prefect itself never learns of it


def test_a_timeout_in_the_main_thread_interrupts_and_rolls_back(lab: Lab) -> None:
    """There Prefect's timeout is an alarm, which ends a sleep."""
    case = lab.cases["timeout"]
    assert case.exit_code() != 0
    assert case.final_state() == "FAILED"
    assert case.seen().failures() == [("FlowRunTimeoutError", "error")]
    assert case.seen().nothing()


# -- two processes on one flow run -------------------------------------------------------------------------------------


def test_of_two_pods_on_one_flow_run_the_newer_one_publishes(lab: Lab) -> None:
    """The older one is refused, says nothing of the flow run's state, and ends in order."""
    older = lab.cases["overtaken"]
    older.reached("staged")
    with get_client(sync_client=True) as client:  # a hook without proof: this process knows nothing of the older one
        roll_back_registry_run(flows.appends, client.read_flow_run(UUID(str(older.flow_run_id))), Crashed())
    assert older.seen().states() == ["RUNNING"]
    newer = Case(lab.server, lab.forks, "newer", older.home, "appends", flow_run_id=older.flow_run_id)
    assert newer.start_by_engine().exit_code() == 0, newer.output()
    assert newer.flow_run()["state_type"] == "COMPLETED"
    older.go()
    assert older.exit_code() == 0, older.output()
    assert older.flow_run()["state_type"] == "COMPLETED"
    assert (older.seen().rows("a"), older.seen().rows("b")) == (3, 0)
    assert sorted(older.seen().states()) == ["ABORTED", "COMMITTED"]


def test_a_process_that_died_after_its_decision_has_published_whole(lab: Lab) -> None:
    """The one exception to "anything but Completed publishes nothing": a retry says so, and does not run again."""
    case = lab.cases["killed-committed"]
    assert case.exit_code() == -signal.SIGKILL, case.output()
    assert case.flow_run()["state_type"] == "RUNNING"
    assert case.seen().rows("a") == 3
    again = Case(lab.server, lab.forks, "again", case.home, case.flow, flow_run_id=case.flow_run_id)
    assert again.start_by_engine().exit_code() == 0, again.output()
    assert again.flow_run()["state_type"] == "COMPLETED"
    assert case.seen().rows("a") == 3
    until(
        lambda: any(
            "has published already" in m and "committed: yes" in m for m in case.server.messages(case.flow_run_id or "")
        ),
        "the log that tells of it",
    )


# -- runners -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "deployment"),
    [("waits", "served"), ("awaits", "served"), ("tasks_alone", "served"), ("waits", "worked")],
)
def test_a_flow_run_cancelled_through_its_runner_is_rolled_back(lab: Lab, name: str, deployment: str) -> None:
    """Served flows, of both colours, the tasks alone, and a worker's flow run."""
    until(lambda: _is_deployed(lab.server, name, deployment), f"{name} is {deployment}")
    case = lab.case(f"cancelled-{name}-{deployment}", name).start_deployed(deployment)
    case.reached("staged")
    lab.server.post(f"/flow_runs/{case.flow_run_id}/set_state", CANCELLING)
    assert case.final_state() == "CANCELLED"
    [(_, kind)] = case.decided()
    assert kind == ("crashed" if name == "tasks_alone" else "cancelled")
    assert case.seen().nothing()


def test_the_runner_of_a_process_that_died_after_its_decision_says_that_it_is_committed(lab: Lab) -> None:
    """Its crash hook touches nothing, tells so in the flow run's log, and sends the events of the dead one."""
    until(lambda: _is_deployed(lab.server, "dies_committed", "served"), "it is served")
    case = lab.case("served-committed", "dies_committed").start_deployed("served")
    assert case.final_state() == "CRASHED"
    [run] = case.seen().registry.runs()
    assert case.seen().registry.get_run(run.id).state == "COMMITTED"
    assert case.seen().rows("a") == 3
    told = f"Run {run.id} had published before: committed: yes. It stays visible."
    until(lambda: told in case.server.messages(str(case.flow_run_id)), "the log that tells of it")
    until(
        lambda: "prefect-registry.dataset.committed" in [e["event"] for e in case.server.events(run.id)], "its events"
    )


@pytest.mark.parametrize(("runner", "deployment"), [("a served flow", "served"), ("a worker's flow run", "worked")])
def test_a_flow_run_killed_with_sigkill_is_rolled_back_by_its_runner(lab: Lab, runner: str, deployment: str) -> None:
    """The hook runs in the runner's process, which saw its child exit: nobody waits for the lease."""
    until(lambda: _is_deployed(lab.server, "waits", deployment), f"{runner} is deployed")
    case = lab.case(f"killed-{deployment}", "waits").start_deployed(deployment).signal(signal.SIGKILL)
    assert case.final_state() == "CRASHED"
    [(_, kind)] = case.decided()
    assert kind == "crashed"
    assert case.seen().nothing()
    assert len(until(case.seen().incidents, "the incident")) == 1


def test_a_deployed_flow_that_completes_has_published(lab: Lab) -> None:
    """By a worker, whose flow run names its registry in a parameter."""
    until(lambda: _is_deployed(lab.server, "waits", "worked"), "the worker's deployment")
    case = lab.case("completed", "waits").start_deployed("worked")
    case.go()
    assert case.final_state() == "COMPLETED"
    assert case.seen().rows("a") == 3
    [run] = case.seen().registry.runs()
    found = captured(case.seen().registry, run.id)
    assert found.worker["work_pool"] == "lab"
    assert found.worker["work_queue"] == "default"
    assert found.worker["name"].startswith("ProcessWorker ")
    assert found.prefect["deployment_name"] == "worked"
    assert found.code["entrypoint"].endswith("process_flows.py:waits")


def test_a_trigger_on_a_committed_dataset_starts_a_deployment(lab: Lab, store: Registry, tmp_path: Path) -> None:
    """As automations do: the event's resource is the kind, the deployment really runs."""
    until(lambda: _is_deployed(lab.server, "says", "served"), "says is served")
    deployment = lab.server.get("/deployments/name/says/served")["id"]
    action = {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": deployment,
        "parameters": {
            "folder": str(tmp_path),
            "what": {"__prefect_kind": "jinja", "template": "{{ event.resource.id }} {{ event.payload.rows }}"},
        },
    }
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": ["prefect-registry.dataset.committed"],
        "match": {"prefect.resource.id": "prefect-registry.dataset.triggering"},
        "threshold": 1,
        "within": 0,
    }
    lab.server.post("/automations/", {"name": "on commit", "trigger": trigger, "actions": [action]})

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("triggering", 5)

    said = tmp_path / "said"
    ingest()
    until(lambda: said.exists() and said.read_text(), "the deployment that the event starts")
    assert said.read_text() == "prefect-registry.dataset.triggering 5"


def test_a_deployment_runs_when_champion_moves(lab: Lab, store: Registry) -> None:
    """Its trigger matches the model, and the alias by its label: another alias of the model starts nothing."""
    until(lambda: _is_deployed(lab.server, "rolls_out", "served"), "rolls_out is served")

    @registry_run(store)
    @flow
    def train() -> None:
        tasks.register_model("rolling", model={"depth": 3}, version="2026-11", aliases=["challenger"])

    @flow
    def promote() -> None:
        tasks.set_model_alias("rolling", "champion", "challenger", registry=store)

    rolled_out = Path(store.url).parent / "rolled-out"
    train()
    promote()
    until(lambda: rolled_out.exists() and rolled_out.read_text(), "the deployment that the move starts")
    assert rolled_out.read_text() == "rolling 2026-11 {'depth': 3}"
    wanted = {"deployments": {"name": {"any_": ["served"]}}, "flows": {"name": {"any_": ["rolls-out"]}}}
    assert len(lab.server.post("/flow_runs/filter", wanted)) == 1


def _is_deployed(server: Server, name: str, deployment: str) -> bool:
    names = {"flows": {"name": {"any_": [name.replace("_", "-")]}}, "deployments": {"name": {"any_": [deployment]}}}
    return bool(server.post("/deployments/filter", names))


# -- the tasks alone ---------------------------------------------------------------------------------------------------


def test_the_tasks_alone_roll_back_on_sigterm(lab: Lab) -> None:
    """By the hooks that insert_run added to the running flow."""
    case = lab.cases["alone-sigterm"].signal(signal.SIGTERM)
    case.exit_code()
    assert case.final_state() == "CRASHED"
    assert [kind for _, kind in case.seen().failures()] == ["crashed"]
    assert case.seen().nothing()


def test_the_tasks_alone_are_reaped_after_sigkill(lab: Lab) -> None:
    """No hook runs then."""
    case = lab.cases["alone-sigkill"].signal(signal.SIGKILL)
    case.exit_code()
    assert case.seen().nothing()
    assert len(case.seen().registry.reap().reaped) == 1
    assert case.seen().nothing()


def test_the_tasks_alone_roll_back_on_sigint(lab: Lab) -> None:
    """As on SIGTERM."""
    case = lab.cases["alone-sigint"].signal(signal.SIGINT)
    case.exit_code()
    assert case.final_state() == "CRASHED"
    assert case.seen().failures() == [("Crashed", "crashed")]
    assert case.seen().nothing()


def test_the_tasks_alone_killed_under_a_worker_are_reaped(lab: Lab) -> None:
    """The runner knows no hook of theirs; the dead process is proof for the reaper."""
    until(lambda: _is_deployed(lab.server, "tasks_alone", "worked"), "it is deployed")
    case = lab.case("alone-killed-worked", "tasks_alone").start_deployed("worked").signal(signal.SIGKILL)
    assert case.final_state() == "CRASHED"
    assert case.seen().nothing()
    assert len(case.seen().registry.reap().reaped) == 1
    assert case.seen().failures() == [("Reaped", "reaped")]
    assert case.seen().nothing()


def test_two_pods_with_the_tasks_alone_publish_both(lab: Lab) -> None:
    """A flow run publishes at most once only with the decorator (P14)."""
    older = lab.cases["alone-pods"]
    older.reached("staged")
    newer = Case(
        lab.server, lab.forks, "newer-alone", older.home, older.flow, flow_run_id=older.flow_run_id
    ).start_by_engine()
    until(lambda: len(list(older.folder.glob("staged-*"))) == 2, "the newer one has staged")
    older.go()
    assert (older.exit_code(), newer.exit_code()) == (0, 0), older.output()
    assert older.seen().states() == ["COMMITTED", "COMMITTED"]
    assert len(older.seen().registry.table("a")) == 2


def test_the_tasks_alone_killed_after_their_decision_publish_again_when_retried(lab: Lab) -> None:
    """The same: nothing tells the retry, which is a run of its own, that it has published before."""
    case = lab.cases["alone-killed-committed"]
    case.go()
    assert case.exit_code() == -signal.SIGKILL, case.output()
    again = Case(
        lab.server, lab.forks, "again-alone", case.home, case.flow, flow_run_id=case.flow_run_id, more=case.more
    )
    assert again.start_by_engine().exit_code() == 0, again.output()
    assert case.seen().states() == ["COMMITTED", "COMMITTED"]
    assert len(case.seen().registry.table("a")) == 2


# -- a task that never ends --------------------------------------------------------------------------------------------


def test_sigterm_ends_the_wait_for_a_task_that_never_ends(lab: Lab) -> None:
    """registry_run waits for what was submitted; the run is rolled back while that goes on."""
    case = lab.cases["never"].signal(signal.SIGTERM)
    assert case.decided() == [("TerminationSignal", "crashed")]
    assert case.seen().nothing()
    case.go()  # Prefect's task runner waits for its threads, and only then records the flow run's end
    assert case.exit_code() != 0
    assert case.final_state() == "CRASHED"
    assert case.seen().nothing()


def test_cancellation_ends_the_wait_for_a_task_that_never_ends(lab: Lab) -> None:
    """Through a runner, which kills the process in the end."""
    until(lambda: _is_deployed(lab.server, "never_ends", "served"), "it is served")
    case = lab.case("never-cancelled", "never_ends").start_deployed("served")
    case.reached("staged")
    lab.server.post(f"/flow_runs/{case.flow_run_id}/set_state", CANCELLING)
    assert [kind for _, kind in case.decided()] == ["cancelled"]
    assert case.seen().nothing()
    case.go()
    assert case.final_state() == "CANCELLED"
    assert case.seen().nothing()


# -- a server of Prefect's that takes no events and artifacts ----------------------------------------------------------


def test_events_and_artifacts_that_hang_neither_fail_nor_hang_a_flow(lab: Lab) -> None:
    """The flow run is Completed and the flow returns in bounded time; Prefect's queue is its own matter."""
    case = lab.cases["hanging"]
    case.reached("returned")
    assert case.final_state() == "COMPLETED"
    assert case.seen().rows("a") == 3
    asked = {path.split("/api/")[1].split("/")[0] for _, path in lab.unanswered.requests}
    assert {"events", "artifacts"} <= asked


# -- on S3, through a block --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def block(server: Server, seaweedfs: servers.Server) -> str:
    """How flows name a registry on SeaweedFS: a saved block."""
    options, name = seaweedfs.storage_options, f"s3-{time.time_ns()}"
    S3Registry(
        bucket=seaweedfs.bucket, prefix=name, endpoint_url=seaweedfs.endpoint, region="us-east-1", path_style=True,
        access_key_id=options["key"], secret_access_key=options["secret"],
    ).save(name)  # fmt: skip
    return f"data-registry-s3/{name}"


def test_on_s3_a_process_killed_or_dead_after_its_decision_is_as_on_a_disk(lab: Lab, block: str) -> None:
    """Served: the one is rolled back by its runner, the other has published whole, and its retry says so."""
    until(lambda: _is_deployed(lab.server, "dies_committed", "served"), "it is served")
    killed = lab.case("s3-killed", "waits", store=block).start_deployed("served")
    dead = lab.case("s3-committed", "dies_committed", store=block)
    dead.flow_run_id = flow_run_of("dies_committed", dead.parameters)
    dead.start_by_engine()
    killed.signal(signal.SIGKILL)
    assert killed.final_state() == "CRASHED"
    assert dead.exit_code() == -signal.SIGKILL, dead.output()
    states = until(lambda: s if "RUNNING" not in (s := killed.seen().states()) else [], "both are decided")
    assert sorted(states) == ["ABORTED", "COMMITTED"]
    again = Case(lab.server, lab.forks, "s3-again", dead.home, dead.flow, flow_run_id=dead.flow_run_id, more=dead.more)
    assert again.start_by_engine().exit_code() == 0, again.output()
    assert dead.flow_run()["state_type"] == "COMPLETED"
    assert dead.seen().rows("a") == 3


def test_on_s3_an_exception_publishes_nothing_and_a_retry_once(block: str) -> None:
    """Each attempt is a run of its own."""
    reader, attempts = Seen(resolve_registry(block)), list[int]()
    before = len(reader.states())

    @registry_run(block)
    @flow(retries=1)
    def ingest(good: bool) -> None:
        stage("retried", mode="append")
        attempts.append(1)
        if not good or len(attempts) % 2:
            raise ValueError

    assert ended(ingest(False, return_state=True)).is_failed()
    assert len(reader.registry.table("retried")) == 0
    assert ended(ingest(True, return_state=True)).is_completed()
    assert reader.states()[before:] == ["ABORTED", "ABORTED", "ABORTED", "COMMITTED"]
    assert reader.rows("retried") == 3


# -- last: the runner itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "deployment"), [(0, "served"), (1, "worked")])
def test_when_the_runner_is_killed_too_the_reaper_ends_the_run(lab: Lab, number: int, deployment: str) -> None:
    """No hook anywhere, Prefect says RUNNING for ever; the dead process is proof."""
    until(lambda: _is_deployed(lab.server, "waits", deployment), f"it is {deployment}")
    case = lab.case(f"runner-killed-{deployment}", "waits").start_deployed(deployment)
    child = case.reached("staged")
    os.killpg(lab.runners[number].pid, signal.SIGKILL)
    lab.runners[number].wait()
    os.kill(child, signal.SIGKILL) if _is_alive(child) else None
    until(lambda: not _is_alive(child), "the child's end")
    assert case.seen().nothing()
    assert len(case.seen().registry.reap().reaped) == 1
    assert case.seen().failures() == [("Reaped", "reaped")]
    assert case.flow_run()["state_type"] == "RUNNING"


def _is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
