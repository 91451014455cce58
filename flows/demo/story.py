"""What happens in the demo, act by act."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.demo import show
from flows.demo.environment import Prefect, served
from flows.demo.processes import Child
from flows.nycflights import FILES, MONTHS
from prefect_registry import Registry
from prefect_registry.artifacts import readable
from prefect_registry.registry import RunInfo

DATASETS = len(FILES) - 1 + len(MONTHS) + 1
"""Airlines, airports, planes, weather; twelve months of flights; delays."""

_RUN_SECONDS = 240.0
_PAUSE_SECONDS = 300
_WORTH_TELLING = (
    "Registry run run_",
    "Run run_",
    "was dropped",
    "Reaped run",
    "It was reaped",
    "Deleted",
    "run(s) reaped",
)


class WentWrong(RuntimeError):
    """The demo did not show what it should have shown."""


@dataclass
class Demo:
    """A Prefect server, a registry, and the process that serves the deployments."""

    prefect: Prefect
    registry: Registry
    stack: ExitStack
    server: Child | None = None

    # -- acts --------------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """The main job, to its end."""
        flow_run = self.start("flights")
        state = self.watch(flow_run, "Running the main job")
        _expect(state == "COMPLETED", f"the flow run ended as {state}")
        run = self.run_of(flow_run)
        show.datasets(self.registry)
        show.decision(self.registry, run.id)
        table = self.registry.table("flights").to_table()
        _expect(table.num_rows == 336_776, f"there are {table.num_rows:,} flights")
        show.done(f"registry.table('flights').to_table() reads {table.num_rows:,} rows, each file checked")

    def fail(self) -> None:
        """The same job, with a month that fails."""
        before = self.seen()
        flow_run = self.start("flights", fail_at_month=7)
        state = self.watch(flow_run, "Running it again")
        _expect(state == "FAILED", f"the flow run ended as {state}")
        self.quote(flow_run, until="was rolled back")
        show.decision(self.registry, self.run_of(flow_run).id)
        self.compare(before)

    def kill(self) -> RunInfo:
        """The same job, killed with everything around it when all is staged."""
        before = self.seen()
        flow_run = self.start("flights", pause_seconds=_PAUSE_SECONDS)
        run = self.wait_until_staged(flow_run)
        pulse = self.registry.ledger.leases.pulse(run.id)
        assert pulse is not None
        assert pulse.holder is not None
        assert self.server is not None
        victims = f"{pulse.holder.pid} {self.server.pid}"
        os.kill(pulse.holder.pid, signal.SIGKILL)
        self.server.kill()
        show.done(f"kill -9 {victims}: the flow's process, and the one that serves it. No hook of Prefect's ran")
        time.sleep(1.0)
        still = self.flow_run(flow_run.id).state
        show.done(f"Prefect's server believes that the flow run is {still.name if still else '?'}: nobody told it")
        self.compare(before)
        info = self.registry.get_run(run.id)
        _expect(info.state == "RUNNING", f"the run is {info.state}")
        show.done(f"The run is undecided ({info.state}); anyone may abort it, once it is sure that its owner is dead")
        return info

    def tidy(self, killed: RunInfo) -> None:
        """Reap and collect."""
        before = self.seen()
        flow_run = self.start("maintenance")
        with show.working("Running the maintenance flow") as say:
            state = self.wait(flow_run, say)
        _expect(state == "COMPLETED", f"the flow run ended as {state}")
        self.quote(flow_run, until="Deleted")
        info = self.registry.get_run(killed.id)
        _expect(info.state == "ABORTED", f"the run is {info.state}")
        show.decision(self.registry, killed.id)
        assert killed.flow_run is not None
        state_now = self.flow_run(UUID(killed.flow_run)).state
        _expect(state_now is not None and state_now.is_crashed(), f"the killed flow run is {state_now}")
        show.done("Prefect's server knows now that the killed flow run is Crashed")
        left = self.registry.collect(dry_run=True)
        _expect(left.bytes == 0, f"{left.bytes:,} bytes could still be collected")
        show.done("Every byte of the failed and of the killed run is deleted; their decisions stay as history")
        self.compare(before)

    # -- what they are made of ---------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Start the process that serves the deployments, anew after it was killed."""
        with show.working("Starting a process that serves the deployments"):
            self.server = self.stack.enter_context(served(self.prefect))
        show.done(f"Deployments flights/demo and maintenance/demo, served by process {self.server.pid}")

    def start(self, flow: str, **parameters: Any) -> FlowRun:
        """Ask the server for a run of a deployment."""
        found: Any = run_deployment(f"{flow}/demo", parameters=parameters, timeout=0, as_subflow=False, _sync=True)  # type: ignore[call-arg]
        told = ", ".join(f"{k}={v}" for k, v in parameters.items())
        show.done(f"Flow run {found.name} of {flow}/demo({told}): {self.prefect.ui}/runs/flow-run/{found.id}")
        assert isinstance(found, FlowRun)
        return found

    def flow_run(self, flow_run_id: UUID) -> FlowRun:
        """What the server knows of it now."""
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run_id)

    def watch(self, flow_run: FlowRun, text: str) -> str:
        """Wait for its end, and show how much is staged and how much of it is visible meanwhile."""
        with show.working(text) as say:
            return self.wait(flow_run, say)

    def wait(self, flow_run: FlowRun, say: show.Say) -> str:
        """Wait for the end of a flow run. Returns the type of its last state."""
        deadline = time.monotonic() + _RUN_SECONDS
        while True:
            state = self.flow_run(flow_run.id).state
            if state is not None and state.is_final():
                return str(state.type.value)
            if time.monotonic() > deadline:
                raise WentWrong(f"The flow run is {state.name if state else 'unknown'} after {_RUN_SECONDS:.0f} s")
            say(self.progress(flow_run) or (state.name or "" if state else ""))
            time.sleep(0.2)

    def wait_until_staged(self, flow_run: FlowRun) -> RunInfo:
        """Wait until everything of a flow run's run is staged, and nothing is decided."""
        deadline = time.monotonic() + _RUN_SECONDS
        with show.working("Running it once more") as say:
            while time.monotonic() < deadline:
                say(self.progress(flow_run))
                found = self.find_run(flow_run)
                if found is not None and self.staged(found.id) >= DATASETS - 1:
                    show.done(f"{DATASETS - 1} datasets are staged. Now, before the decision")
                    return found
                time.sleep(0.2)
        raise WentWrong(f"Not all datasets were staged after {_RUN_SECONDS:.0f} s")

    def progress(self, flow_run: FlowRun) -> str:
        """How much is staged."""
        run = self.find_run(flow_run)
        return f"{self.staged(run.id)} of {DATASETS} datasets staged, none of them visible" if run is not None else ""

    def staged(self, run_id: str) -> int:
        """How many datasets of a run are staged."""
        return sum(1 for d in self.registry.datasets(run_id=run_id) if d.state == "STAGED")

    def find_run(self, flow_run: FlowRun) -> RunInfo | None:
        """The registry's run of a flow run, if it has begun."""
        return next(self.registry.runs(flow_run=str(flow_run.id)), None)

    def run_of(self, flow_run: FlowRun) -> RunInfo:
        """The registry's run of a flow run."""
        found = self.find_run(flow_run)
        if found is None:
            raise WentWrong(f"Flow run {flow_run.name} has no run in {self.registry.url}")
        return found

    def seen(self) -> dict[str, list[str]]:
        """What readers see: the datasets of every table."""
        snapshot = self.registry.snapshot()
        return {kind: [d.id for d in snapshot.table(kind).datasets()] for kind in snapshot.kinds()}

    def compare(self, before: dict[str, list[str]]) -> None:
        """Readers see what they saw."""
        _expect(self.seen() == before, "readers see something else than before")
        rows = self.registry.table("flights").rows
        show.done(
            f"Readers see exactly what they saw: {rows:,} flights, the same {sum(map(len, before.values()))} datasets"
        )

    def quote(self, flow_run: FlowRun, until: str) -> None:
        """The registry's own lines in the flow run's log, once the server has the one with the words ``until``."""
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run.id]))
        deadline = time.monotonic() + 5
        found: list[str] = []
        while not any(until in line for line in found) and time.monotonic() < deadline:
            with get_client(sync_client=True) as client:
                messages = [log.message for log in client.read_logs(chosen, limit=200, offset=0)]
            found = [m for m in messages if any(words in m for words in _WORTH_TELLING)]
            time.sleep(0.3)
        for line in found:
            show.told(line)

    def totals(self) -> str:
        """How much there is in all."""
        tables = [self.registry.table(kind) for kind in self.registry.kinds()]
        return f"{sum(t.rows or 0 for t in tables):,} rows, {readable(sum(t.bytes for t in tables))}"


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise WentWrong(otherwise)
