"""Where the index of a store lies on this machine."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from prefect_registry.catalog.schema import INDEX_FORMAT


def cache_folder() -> Path:
    """The user's folder for what can be made again: ``PREFECT_REGISTRY_CACHE``, else the system's (XDG base
    directories, ``~/Library/Caches``, ``%LOCALAPPDATA%``).
    """
    named = os.environ.get("PREFECT_REGISTRY_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "prefect-registry"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "prefect-registry" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prefect-registry"


def index_file(registry_id: str, url: str) -> Path | None:
    """The file of a store's index: one per registry, root and form. None for a store that lives in memory."""
    if url.startswith("memory:"):
        return None
    root = hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / f"{registry_id}-{root}-{INDEX_FORMAT}.sqlite"
