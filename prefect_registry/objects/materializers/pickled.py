"""The one module that unpickles: only for a registry and a call that both allow it.

A pickle is a program. Whoever can write to the store could run what they like in the process of whoever loads it.
"""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, refused
from prefect_registry.objects.payload import Part, Payload, StoredPayload

PROTOCOL = 5


class PickleMaterializer(BuiltIn):
    """Any object that can be pickled, as ``object.pickle``."""

    name = "pickle"

    def save(self, value: Any) -> Payload:
        """One file.

        Raises:
            InvalidInput: Pickle is not allowed, or the object cannot be pickled.
        """
        self._check_allowed("saved")

        def write(file: BinaryIO) -> None:
            try:
                pickle.dump(value, file, protocol=PROTOCOL)
            except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
                raise refused(value, f"It cannot be pickled: {error}") from error

        return Payload([Part("object.pickle", write)])

    def load(self, payload: StoredPayload) -> Any:
        """The object.

        Raises:
            InvalidInput: Pickle is not allowed.
            FormatError: It cannot be unpickled here.
        """
        self._check_allowed("loaded")
        try:
            with payload.local("object.pickle").open("rb") as file:
                return pickle.load(file)
        except (pickle.UnpicklingError, ImportError, AttributeError, EOFError) as error:
            raise damaged(self.name, f"{type(error).__name__}: {error}") from error

    def _check_allowed(self, what: str) -> None:
        if not self.context.allow_pickle:
            raise InvalidInput(
                f"An object in the format 'pickle' is not {what}",
                why="A pickle runs code of whoever wrote it, and it is not allowed for this registry and this call",
                todo="If you trust everybody who can write to the store, open the registry with allow_pickle=True and "
                "pass allow_pickle=True here, too",
                committed="no",
            )
