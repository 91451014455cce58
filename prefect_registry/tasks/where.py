"""Which run a task belongs to."""

from __future__ import annotations

from prefect_registry.resolve import RegistryLike, resolve_registry
from prefect_registry.runs import current


def current_run_id(run_id: str | None, registry: RegistryLike | None) -> str:
    """The run of that id, or else the current one. Raises ``NoActiveRun`` when there is none."""
    return run_id if run_id is not None else current.current_run(registry).id


def run_id_or_none(run_id: str | None, registry: RegistryLike | None) -> str | None:
    """The run of that id, or else the current one, if that is one of the same registry; or none."""
    if run_id is not None:
        return run_id
    found = current.nearest_run()
    return found.id if found is not None and found.registry.url == resolve_registry(registry).url else None
