"""How one opener of a registry keeps its objects."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect_registry.ledger.ledger import Ledger
from prefect_registry.objects.cache import LIMIT_BYTES
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.reading import Reading
from prefect_registry.objects.service import Objects
from prefect_registry.objects.settings import Settings


@dataclass(frozen=True)
class Keeping:
    """What ``Registry`` was opened with, as far as objects are concerned; travels with it to other processes."""

    version_objects: bool | None = None
    mutable: bool | None = None
    use_cache: bool = True
    cache_bytes: int = LIMIT_BYTES
    allow_pickle: bool = False
    materializers: Materializers = field(default_factory=Materializers)

    def objects(self, ledger: Ledger) -> Objects:
        """The objects of the registry on that ledger."""
        settings = Settings(ledger, self.version_objects, self.mutable)
        return Objects(
            ledger,
            settings,
            Reading(ledger.store, self.use_cache, self.cache_bytes),
            self.materializers,
            self.allow_pickle,
        )
