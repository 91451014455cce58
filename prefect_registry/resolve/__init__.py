"""Which registry a call means (DESIGN.md 8)."""

from prefect_registry.resolve.opened import keep, known, open_shared
from prefect_registry.resolve.order import (
    RegistryLike,
    aresolve_registry,
    locate,
    resolve_registry,
    set_surrounding,
)

__all__ = [
    "RegistryLike",
    "aresolve_registry",
    "keep",
    "known",
    "locate",
    "open_shared",
    "resolve_registry",
    "set_surrounding",
]
