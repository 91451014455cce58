"""How an event is emitted: where it comes from, its id, and what it is related to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from prefect.context import FlowRunContext
from prefect.events import emit_event

from prefect_registry.events.names import RUN_COMMITTED, RUN_ROLLED_BACK
from prefect_registry.registry import Run

MOST_SINGLE = 100
"""Up to so many datasets of a run have an event each; of more, each kind has one. The same of objects, by the prefix of
their names, and of versions of models, by the model. No run has more events of objects, nor of aliases, nor of models.
"""

_NAMESPACE = UUID("6f0f5b0e-7f0c-5d86-9a55-3f2f1f0e4c11")
log = logging.getLogger("prefect_registry.events")


@dataclass(frozen=True)
class Origin:
    """Where something happened.

    Attributes:
        registry: What opens the registry: a saved block, or its URL.
        registry_id: Of the registry, or its URL where nobody has asked.
        run_id: None outside any run.
    """

    url: str
    registry: str
    registry_id: str
    run_id: str | None

    @classmethod
    def of(cls, run: Run) -> Origin:
        """The run's."""
        return cls(run.registry.url, how_to_open(run), run.registry.registry_id, run.id)

    @property
    def told(self) -> dict[str, Any]:
        """What a payload says of it."""
        return {"run_id": self.run_id, "url": self.url, "registry": self.registry}


def how_to_open(run: Run) -> str:
    """What a flow passes to :func:`resolve_registry`: the saved block, which has the credentials, or else the URL."""
    return run.registry.reference or run.registry.url


def emit(
    event: str, what: str, resource: Mapping[str, str], payload: Mapping[str, Any], origin: Origin, flow_run: str
) -> None:
    """Best effort: what goes wrong is logged for the curious, and nobody else."""
    try:
        emit_event(
            event=event,
            resource=dict(resource),
            related=list(_related(event, origin.run_id, flow_run)),
            payload=dict(payload),
            id=uuid5(_NAMESPACE, f"{event} {origin.registry_id} {what}"),
        )
    except Exception:  # an event is a courtesy: too large, no server, a worker that is stopping
        log.debug("The event %s of %s was not emitted", event, what, exc_info=True)


def _related(event: str, run_id: str | None, flow_run: str) -> Iterator[dict[str, str]]:
    if event not in (RUN_COMMITTED, RUN_ROLLED_BACK) and run_id is not None:
        yield {
            "prefect.resource.id": f"prefect-registry.run.{run_id}",
            "prefect.resource.role": "registry-run",
            "prefect.resource.name": run_id,
        }
    if FlowRunContext.get() is None:  # else Prefect adds it, with flow, deployment and tags
        yield {"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}
