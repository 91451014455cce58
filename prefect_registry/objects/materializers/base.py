"""What a materializer is: the interface for our own and for those of third parties."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from prefect_registry.objects.payload import Payload, StoredPayload


class Materializer(ABC):
    """Turns objects of some types into files, and back.

    An object comes back equal, and of the same type; what cannot is refused by ``save`` with ``InvalidInput`` that says
    why (SEEDS.md: type fidelity). The record of an object keeps ``name``, and nothing that is imported or run: a reader
    looks it up among the materializers that it has registered.
    """

    name: ClassVar[str]
    """Names the format in the records of objects, for ever; third parties prefix theirs (``acme.mesh``)."""

    @abstractmethod
    def save(self, value: Any) -> Payload:
        """The object as files. Changes nothing, and keeps no reference to what it returns."""

    @abstractmethod
    def load(self, payload: StoredPayload) -> Any:
        """The object that ``save`` was given."""

    def refuses(self, value: Any) -> str | None:
        """Why ``save`` would refuse the object, as far as a short look at it tells; ``None`` when nothing is known.

        Where pickle is allowed, an object that is refused here is pickled instead.
        """
        return None
