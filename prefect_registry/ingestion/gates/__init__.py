"""Quality gates: what staged rows must be like before they are published."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from prefect_registry.ingestion.gates.checks import GateFailure, evaluate

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


def __getattr__(name: str) -> Any:
    """What needs pyarrow is imported when it is used: most ticks judge nothing."""
    if name in ("GateFailure", "evaluate"):
        from prefect_registry.ingestion.gates import checks

        return getattr(checks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
