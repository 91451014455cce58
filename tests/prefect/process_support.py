"""Starting, watching and ending the processes of ``process_flows``."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from prefect_support import HERE, Seen, Server
from process_forks import Forked, Forks

from prefect_registry.registry import Registry
from prefect_registry.resolve import resolve_registry

T = TypeVar("T")
SCRIPT = HERE / "process_flows.py"


def until(look: Callable[[], T], what: str, seconds: float = 240) -> T:
    """Wait until ``look`` gives something true: for what another process does, which tells nobody.

    It looks less and less often: most looks cost the server something, which the other process waits for too.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        found = look()
        if found:
            return found
        time.sleep(min(0.05 + waited / 10, 0.5))
    raise AssertionError(f"{what} did not happen within {seconds:.0f} seconds")


@dataclass
class Case:
    """One flow run in a process: where its store and its signals are, and what became of it."""

    server: Server
    forks: Forks
    name: str
    home: Path
    flow: str
    process: Forked | None = None
    flow_run_id: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> str:
        return str(self.more.get("store", self.home / "store"))

    @property
    def folder(self) -> Path:
        return self.home / "signals"

    def prepare(self) -> Case:
        self.folder.mkdir(parents=True)
        if "store" not in self.more:
            Registry(self.store)
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        return {"store": self.store, "folder": str(self.folder), **self.more}

    # -- starting ------------------------------------------------------------------------------------------------

    def start_directly(self, environ: dict[str, str] | None = None) -> Case:
        """``python process_flows.py``."""
        arguments = [self.flow, self.name, json.dumps(self.parameters)]
        return self._start(arguments, {"PREFECT_LOGGING_TO_API_ENABLED": "false", **(environ or {})})

    def start_by_engine(self) -> Case:
        """As a pod does: Prefect's engine, told the flow run's id."""
        arguments = ["-m", "prefect.flow_engine", f"{SCRIPT}:{self.flow}"]
        return self._start(arguments, {"PREFECT__FLOW_RUN_ID": str(self.flow_run_id)})

    def _start(self, arguments: list[str], more: dict[str, str]) -> Case:
        log = self.home / f"{time.monotonic_ns()}.log"
        self.process = self.forks.start(arguments, log, {**os.environ, **more})
        return self

    def start_deployed(self, deployment: str) -> Case:
        """A flow run of a deployment: a runner takes it."""
        found = self.server.get(f"/deployments/name/{self.flow.replace('_', '-')}/{deployment}")
        body = {"parameters": self.parameters, "state": {"type": "SCHEDULED"}}
        self.flow_run_id = self.server.post(f"/deployments/{found['id']}/create_flow_run", body)["id"]
        return self

    # -- what becomes of it --------------------------------------------------------------------------------------

    def reached(self, name: str) -> int:
        """Wait until the flow says so; its process id."""
        try:
            until(lambda: (self.folder / name).exists() or self._died(), f"{self.name}: {name}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None
        assert (self.folder / name).exists(), f"{self.name} ended before {name}:\n{self.output()}"
        return int((self.folder / name).read_text())

    def _died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def go(self) -> None:
        (self.folder / "go").touch()

    def signal(self, number: signal.Signals, where: str = "staged") -> Case:
        os.kill(self.reached(where), number)
        return self

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait()

    def flow_run(self) -> dict[str, Any]:
        if self.flow_run_id is None:
            found = self.server.post("/flow_runs/filter", {"flow_runs": {"name": {"any_": [self.name]}}})
            self.flow_run_id = found[0]["id"]
        return self.server.flow_run(self.flow_run_id)

    def final_state(self) -> str:
        """The flow run's final state, once it has one."""
        return str(
            until(
                lambda: (
                    (run := self.flow_run())["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
                    and run["state_type"]
                ),
                f"{self.name}: a final state",
            )
        )

    def seen(self) -> Seen:
        return Seen(resolve_registry(self.store) if "store" in self.more else self.store)

    def decided(self) -> list[tuple[str, str]]:
        """Class and kind of the failures, once every run is decided."""
        until(lambda: "RUNNING" not in (states := self.seen().states()) and states, f"{self.name}: a decision")
        return self.seen().failures()

    def output(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in sorted(self.home.glob("*.log")))

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
