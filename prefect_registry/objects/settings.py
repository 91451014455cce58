"""Whether a registry keeps versions of objects, and whether they can be overwritten: fixed when it keeps the first one
(SEEDS.md: ``version_objects``, ``mutable``).
"""

from __future__ import annotations

import contextlib

from prefect_registry.errors import AccessDenied, InvalidInput, StorageError
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.records.cells import CellGeneration
from prefect_registry.records.objects import ObjectSettings

SETTING = "setting"
OBJECTS = "objects"


class Settings:
    """The settings of one registry: what was asked for, held against what is stored.

    Args:
        version_objects, mutable: What this opener wants; None takes what is stored, or False in a new registry.
    """

    def __init__(self, ledger: Ledger, version_objects: bool | None, mutable: bool | None) -> None:
        self._ledger = ledger
        self.asked = {"version_objects": version_objects, "mutable": mutable}
        self.known: ObjectSettings | None = None
        """What is stored, once this process has read it; it never changes."""

    def current(self) -> ObjectSettings:
        """What holds for reading: the stored settings, or what would be stored now."""
        return self.known or self._stored() or self._wanted()

    def fixed(self) -> ObjectSettings:
        """What holds for writing: stored now if they are not yet."""
        found = self.known or self._stored()
        while found is None:
            wanted = self._wanted()
            try:
                written = self._ledger.cells.first(SETTING, OBJECTS, wanted.model_dump())
            except StorageError as error:
                error.committed = "no"  # whatever became of the settings: what was to be saved is not
                raise
            found = wanted if written is not None else self._stored()
        self.known = found
        return found

    def check(self) -> None:
        """Fix what was asked for explicitly; refuse it when something else is stored.

        Whoever may not write there goes on: then the first who saves decides.

        Raises:
            InvalidInput: Names both values.
        """
        if any(value is not None for value in self.asked.values()):
            with contextlib.suppress(AccessDenied):
                self.fixed()

    def _wanted(self) -> ObjectSettings:
        return ObjectSettings(**{name: bool(value) for name, value in self.asked.items()})

    def _stored(self) -> ObjectSettings | None:
        generation: CellGeneration | None = self._ledger.cells.generation(SETTING, OBJECTS, 0)
        if generation is None:
            return None
        found = ObjectSettings.model_validate(generation.value)
        problems = [
            f"{name} is {getattr(found, name)} in this registry; {value} was asked for"
            for name, value in self.asked.items()
            if value is not None and value != getattr(found, name)
        ]
        if problems:
            raise InvalidInput.of(
                "the registry's objects", problems, todo="Leave the argument out, or open another registry"
            )
        self.known = found
        return found
