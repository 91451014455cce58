"""The registry that a client of reference system 2 is opened on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_registry.registry import Registry


def opened(registry: Any) -> Registry:
    """A registry by its name, URL, folder or block; or the one that is given.

    Names and blocks are Prefect's, so the Prefect layer is asked for them: it is named here, not imported.
    """
    if hasattr(registry, "ledger") and hasattr(registry, "registry_id"):
        return registry  # type: ignore[no-any-return]
    return importlib.import_module("prefect_registry.resolve").resolve_registry(registry)  # type: ignore[no-any-return]
