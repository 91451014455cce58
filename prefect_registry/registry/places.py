"""Where a registry is that is named by a URL, a folder, a storage, or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_registry.clock import Clock
from prefect_registry.errors import InvalidInput
from prefect_registry.storage.base import Storage

Place = str | os.PathLike[str] | Storage
"""What names a place."""


def default_url() -> str:
    """The folder of the embedded registry: ``prefect-registry`` in the user's data folder (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "prefect-registry")


def one_place(url_or_backend: Place | None, backend: Place | None) -> Place:
    """Where a registry is, which has two names as an argument; without either, in the user's data folder.

    Raises:
        InvalidInput: Both are given.
    """
    if url_or_backend is not None and backend is not None:
        raise InvalidInput.of("backend", ["url_or_backend and backend are two names of one argument: give one of them"])
    given = url_or_backend if url_or_backend is not None else backend
    return given if given is not None else default_url()


def storage_at(place: Place, options: Mapping[str, Any] | None, clock: Clock) -> Storage:
    """The storage at ``place``, made patient and certain about lost answers (P10)."""
    from prefect_registry.storage.resolving import ResolvingStorage

    if isinstance(place, ResolvingStorage):
        return place
    if isinstance(place, Storage):
        return ResolvingStorage(place, clock)
    if not isinstance(place, (str, os.PathLike)):
        raise InvalidInput.of("url_or_backend", [f"a URL, path or Storage is needed, not {type(place).__name__}"])
    from prefect_registry.storage.opening import open_storage

    return ResolvingStorage(open_storage(place, options), clock)
