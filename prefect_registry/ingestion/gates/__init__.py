"""Quality gates: what staged rows must be like before they are published."""

from prefect_registry.ingestion.gates.checks import GateFailure, evaluate
from prefect_registry.ingestion.gates.definitions import (
    CustomGate,
    FreshnessGate,
    Gate,
    NullsGate,
    RangeGate,
    RowsGate,
    SchemaGate,
    UniqueGate,
    gates_from,
)

__all__ = [
    "CustomGate",
    "FreshnessGate",
    "Gate",
    "GateFailure",
    "NullsGate",
    "RangeGate",
    "RowsGate",
    "SchemaGate",
    "UniqueGate",
    "evaluate",
    "gates_from",
]
