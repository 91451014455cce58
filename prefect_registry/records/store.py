"""``registry.json``: what makes a folder a registry (DESIGN.md 3)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from prefect_registry.records.base import Document, Moment

FORMAT = 1
KNOWN_FEATURES: frozenset[str] = frozenset()


class RegistryDocument(Document):
    """The store's own identity. A reader that meets an unknown ``format`` or feature refuses."""

    SCHEMA: ClassVar[str] = "registry/1"

    format: int
    registry_id: str
    created_at: Moment
    features: list[str] = Field(default_factory=list)
