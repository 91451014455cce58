"""A flow on a saved block that commits or fails; as a program, in a process and an environment of its own."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State

from prefect_registry import current_run, registry_run
from prefect_registry.blocks import AzureRegistry


@dataclass
class Report:
    """What became of flow runs: of each its id, whether it failed, and its state in words; the registry's runs."""

    ids: list[str] = field(default_factory=list)
    failed: list[bool] = field(default_factory=list)
    told: str = ""
    runs: list[str] = field(default_factory=list)

    def add(self, state: State[Any]) -> None:
        self.ids.append(str(state.state_details.flow_run_id))
        self.failed.append(state.is_failed() or state.is_crashed())
        self.told += repr(state) + repr(state.data)

    def read(self, block: Any) -> None:
        """What is published, by way of the block."""
        registry = block.open()
        assert registry.latest("x").state == "READY"
        self.runs = [str(run.state) for run in registry.runs()]


@task
def stage(fail: bool) -> None:
    get_run_logger().info("staging")
    with current_run().dataset("x") as ds, ds.open("f", "wb") as file:
        file.write(b"1")
        if fail:
            raise RuntimeError(f"no more of {ds.root}, {ds!r} and {current_run()!r}")


def run_flow(reference: str, fail: bool) -> State[Any]:
    @registry_run(reference, purpose="secrets")
    @flow(log_prints=True)
    def publish(fail: bool) -> None:
        stage(fail)
        run = current_run()
        run.registry.emit_event("seen", "s", {"where": run.registry.url})
        print("the registry is", run.registry, run)

    found = publish(fail, return_state=True)
    assert isinstance(found, State)
    return found


def main(reference: str, report: str, *wanted: str) -> None:
    """Run the flow once for each of ``wanted``, ``commit`` or ``fail``."""
    logging.getLogger().setLevel(logging.INFO)  # its handler is Prefect's
    logging.getLogger("prefect_registry").setLevel(logging.DEBUG)
    found = Report()
    for each in wanted:
        found.add(run_flow(reference, each == "fail"))
    if not found.failed[0]:
        found.read(AzureRegistry.load(reference.partition("/")[2]))
    Path(report).write_text(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
