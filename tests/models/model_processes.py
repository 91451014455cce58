"""Processes that register one version at the same time. Run as a program, it forks them without having imported
Prefect, and prints what each was told, as JSON: ``python model_processes.py URL WORK PROCESSES``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from prefect_registry.errors import Conflict
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import ModelVersion, RegisteredModel
from prefect_registry.registry import Registry

LARGE = 60_000


def side_by_side(works: list[Callable[[], Any]]) -> list[Any]:
    """Do each work in a forked child, all let go at the same moment; what they returned."""
    gate_reads, gate_writes = os.pipe()
    pipes = []
    for work in works:
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(gate_writes)
                os.read(gate_reads, 1)  # until the parent closes the gate
                with os.fdopen(writes, "w") as out:
                    json.dump(work(), out)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writes)
        pipes.append((pid, reads))
    os.close(gate_reads)
    os.close(gate_writes)
    found = []
    for pid, reads in pipes:
        with os.fdopen(reads) as pipe:
            text = pipe.read()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a child failed"
        found.append(json.loads(text))
    return found


def register(models: ModelRegistry, n: int) -> None:
    models.register_model("HAL", f"s3://{n}", version="1", card=f"# {n}", aliases=["champion"])


def register_files(models: ModelRegistry, n: int) -> None:
    models.register_model("HAL", model=bytes([n]) * LARGE, version="1", external_id="e", card=f"# {n}")


def one_external_id(models: ModelRegistry, n: int) -> None:
    models.models.upsert_registered_model(RegisteredModel(f"m{n}", external_id="e"))


def one_name(models: ModelRegistry, n: int) -> None:
    models.models.upsert_registered_model(RegisteredModel("HAL", description=str(n)))


def numbers(models: ModelRegistry, n: int) -> str:
    return models.register("HAL", f"s3://{n}").version.name


def move(models: ModelRegistry, n: int) -> None:
    """Each moves one alias, updates one version, and registers its own."""
    for version in ("a", "b"):
        while True:
            try:
                models.set_alias("HAL", "champion", version, reason=str(n))
                break
            except Conflict:
                continue
    found = models.get_model_version("HAL", "a")
    assert found is not None
    models.update(ModelVersion("a", id=found.id, custom_properties={"n": n}), reason=str(n))


def main(url: str, work: str, processes: int) -> list[Any]:
    def attempt(n: int) -> Any:
        models = ModelRegistry(Registry(url), author=f"process {n}")
        try:
            return ["done", globals()[work](models, n)]
        except Conflict as error:
            return [type(error).__name__, str(error), error.committed]

    return side_by_side([lambda n=n: attempt(n) for n in range(processes)])  # type: ignore[misc]


if __name__ == "__main__":
    told = main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    assert "prefect" not in sys.modules, "the server must stay light"
    print(json.dumps(told))
