"""The documents of store format 1 as pydantic models (DESIGN.md 3)."""

from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration, FileEntry, Mode
from prefect_registry.records.documents import Doc, DoctagsAsset
from prefect_registry.records.events import Event
from prefect_registry.records.runs import Begin, Decision, Failure, Heartbeat, Holder, Members
from prefect_registry.records.store import RegistryDocument

__all__ = [
    "Begin",
    "CellGeneration",
    "CellRef",
    "DatasetGeneration",
    "Decision",
    "Doc",
    "DoctagsAsset",
    "Event",
    "Failure",
    "FileEntry",
    "Heartbeat",
    "Holder",
    "Members",
    "Mode",
    "RegistryDocument",
]
