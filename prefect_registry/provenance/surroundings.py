"""What is known of how a run was done: its parameters, and what was recorded of code and environment when it began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_registry.ids import parse_run_id
from prefect_registry.provenance.holding import Holding, parsed
from prefect_registry.records.provenance import ModelRunValue
from prefect_registry.records.types import MODEL_RUN


@dataclass(frozen=True)
class Surroundings:
    """How a run was done; empty where nothing was recorded.

    Attributes:
        model: The model that it ran.
        code: Commit, repository, entry point …
        packages: Versions by name.
        environment: Python, platform …
    """

    purpose: str
    model: str | None
    parameters: Mapping[str, Any]
    code: Mapping[str, Any]
    packages: Mapping[str, Any]
    environment: Mapping[str, Any]


def surroundings_of(holding: Holding, run_id: str) -> Surroundings:
    """How a run was done. Raises ``NotFound``."""
    begin = holding.ledger.runs.known(parse_run_id(run_id))
    end = holding.ledger.store.decision(run_id)
    generation = holding.latest(MODEL_RUN, run_id, run_id)
    model_run = parsed(ModelRunValue, generation) if generation is not None and not generation.deleted else None
    code = {**begin.code, **(end.code if end is not None else {})}  # git may have told only when it was decided
    if begin.revision is not None:
        code.setdefault("revision", begin.revision)
    environment = dict(begin.environment)
    packages = _mapping(environment.pop("packages", None))
    parameters, model = dict(begin.config), begin.model_id
    if model_run is not None:
        record = model_run.record
        parameters |= {f"annotation {key}": value for key, value in _mapping(record.get("annotations")).items()}
        for side in ("inputs", "outputs"):
            for each in record.get(side) or ():
                for key, path in _mapping(each.get("resources")).items():
                    parameters[f"{side} {each.get('dataset_template_id')} {key}"] = path
        if record.get("model_version") is not None:
            parameters["model_version"] = record["model_version"]
        model = model_run.model or model
    return Surroundings(begin.purpose, model, parameters, code, packages, environment)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
