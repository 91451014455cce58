"""One tick of the ingestion flow without Prefect: the same calls, one file after the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flows.files.plan import make_plan, record_schema
from flows.files.reading import Reading
from flows.files.sources import Place
from flows.files.taking import Outcome, Target, take
from flows.files.types import parse_types
from prefect_registry import Registry

KIND = "orders"


def tick(
    registry: Registry,
    source: Path | str,
    *,
    columns: dict[str, str] | None = None,
    settle_seconds: float = 0.0,
    target: Target | None = None,
    **reading: Any,
) -> dict[str, Outcome]:
    """Ingest what is new, in a run of its own. Returns the outcomes by the files' names."""
    target = target or Target(KIND)
    how = Reading(types=parse_types(columns or {}), **reading)
    place = Place(str(source))
    with registry.run("ingest") as run:
        plan = make_plan(run.registry, place, target.kind, how, settle_seconds, run.id)
        outcomes = [take(run, place, s, before, target, plan.reading) for s, before in plan.todo]
        record_schema(run, target.kind, plan.schema, outcomes)
    return {o.url.rpartition("/")[2]: o for o in (*plan.done, *outcomes)}


def steps(outcomes: dict[str, Outcome]) -> dict[str, str]:
    """What became of each file."""
    return {name: outcome.step for name, outcome in outcomes.items()}


def rows(registry: Registry, kind: str = KIND) -> list[dict[str, Any]]:
    """What readers see, sorted by the column ``id``."""
    found: list[dict[str, Any]] = registry.table(kind).to_table().to_pylist()
    return sorted(found, key=lambda row: row["id"])


def ids(registry: Registry, kind: str = KIND) -> list[int]:
    """The values of the column ``id`` that readers see, sorted."""
    return [row["id"] for row in rows(registry, kind)]


def age(path: Path, seconds: float) -> None:
    """Let a file look as if it had been written so long ago."""
    info = path.stat()
    os.utime(path, (info.st_atime - seconds, info.st_mtime - seconds))
