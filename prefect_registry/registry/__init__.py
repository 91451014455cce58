"""``Registry``: the one facade over a store; it composes ledger and domains (DESIGN.md 7, 8)."""

from prefect_registry.registry.facade import Registry, default_url
from prefect_registry.registry.handles import Run
from prefect_registry.registry.protocol import RegistryProtocol
from prefect_registry.registry.snapshot import Snapshot
from prefect_registry.registry.views import EventInfo, IncidentInfo, RunInfo

__all__ = [
    "EventInfo",
    "IncidentInfo",
    "Registry",
    "RegistryProtocol",
    "Run",
    "RunInfo",
    "Snapshot",
    "default_url",
]
