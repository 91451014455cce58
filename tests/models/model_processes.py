"""Processes that register one version at the same time. Run as a program, it forks them without having imported
Prefect, and prints what each was told, as JSON: ``python model_processes.py URL WORK PROCESSES``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from prefect_registry.errors import Conflict
from prefect_registry.models.client import ModelRegistry
from prefect_registry.models.types import ModelVersion, RegisteredModel
from prefect_registry.registry import Registry

sys.path.insert(0, str(Path(__file__).parent.parent))  # as a program, it finds what all tests share
from forked import side_by_side

LARGE = 60_000


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
