"""``Registry``: the one facade over a store; it composes ledger and domains (DESIGN.md 7, 8)."""

from prefect_registry.catalog.results import EventInfo, IncidentInfo, RunInfo
from prefect_registry.registry.facade import Registry
from prefect_registry.registry.handles import Run
from prefect_registry.registry.places import default_url
from prefect_registry.registry.protocol import RegistryProtocol
from prefect_registry.registry.snapshot import Snapshot

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
