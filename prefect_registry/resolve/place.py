"""Where a registry is and what said so, before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect_registry.errors import RegistryError
from prefect_registry.resolve.opened import open_shared

if TYPE_CHECKING:
    from prefect_registry.blocks.base import RegistryBlock
    from prefect_registry.registry import Registry


@dataclass(frozen=True)
class Place:
    """A store that is or may become a registry.

    Attributes:
        url: Its root.
        said_by: What named it, for people: a setting, a block, the call.
        options: What its filesystem needs; may hold secrets.
        open_url: Opens it, when that is more than opening the URL with the options.
        keeping: How it keeps objects, where that is said: arguments of ``Registry``.
        reference: The saved block that describes it, if one does.
    """

    url: str
    said_by: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    open_url: Callable[[], Registry] | None = field(default=None, repr=False)
    reference: str = ""
    keeping: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of_block(cls, block: RegistryBlock, said_by: str = "") -> Place:
        """The place that a block describes. Reads its credentials block, if it has one."""
        block_says = f"block {block.label}"
        said_by = f"{said_by}, {block_says}" if said_by else block_says
        return cls(
            block.get_url(), said_by, block.get_storage_options(), reference=block.reference, keeping=block.keeping
        )

    @classmethod
    def of_registry(cls, registry: Registry, said_by: str) -> Place:
        """The place of a registry that is open."""
        return cls(registry.url, said_by, registry.storage.storage_options(), lambda: registry)

    def _open_shared(self) -> Registry:
        return open_shared(self.url, self.options, self.keeping)

    def open(self) -> Registry:
        """The registry. One and the same object in this process for the same place.

        What the store's error leaves open it adds: where it is configured which store this is.
        """
        try:
            registry = self.open_url() if self.open_url is not None else self._open_shared()
        except RegistryError as error:
            error.context.setdefault("said_by", self.said_by)
            error.todo = f"{error.todo.rstrip('.')} ({self.said_by})" if error.todo else f"Look at {self.said_by}"
            raise
        if self.reference:
            registry.reference = self.reference
        return registry
