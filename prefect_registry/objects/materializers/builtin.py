"""What our own materializers share: where they look up others, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.classes import Classes, dotted
from prefect_registry.objects.payload import Part, Payload, StoredPayload

SMALL_BYTES = 1 << 20
"""Files up to this are read into memory; larger ones from a file on this disk."""


class Finder(Protocol):
    """What :class:`~prefect_registry.objects.materializers.registered.Materializers` is to a materializer."""

    classes: Classes

    def find(self, value: Any, allow_pickle: bool = False) -> Materializer:
        """What saves an object."""
        ...

    def named(self, name: str, allow_pickle: bool = False, saved: str = "") -> Materializer:
        """What loads an object whose record has that name."""
        ...


@dataclass(frozen=True)
class Context:
    """What is registered here, and whether this call may pickle."""

    finder: Finder
    allow_pickle: bool = False


class BuiltIn(Materializer):
    """A materializer of ours. One that a caller made has no context until it is used."""

    def __init__(self, context: Context | None = None) -> None:
        self._context = context

    def bound(self, context: Context) -> BuiltIn:
        """This materializer, for one call."""
        return type(self)(context)

    def inline(self, value: Any) -> Any:
        """A small value as a JSON tree that stands inside a container, or ``None``: then it has files of its own."""
        return None

    def of_inline(self, tree: Any) -> Any:
        """The value of a tree that :meth:`inline` has made."""
        raise damaged(self.name, "It stands inside a container, and should have files of its own")

    @property
    def context(self) -> Context:
        """Where it is used."""
        assert self._context is not None, "it is bound before it is used"
        return self._context


def refused(value: Any, why: str, todo: str = "") -> InvalidInput:
    """The error for an object that cannot be saved so that it comes back equal and of the same type."""
    return InvalidInput(
        f"An object of {dotted(type(value))} cannot be saved",
        why=why[:1].upper() + why[1:],
        todo=todo or "Change it so that it can come back as it was, or register a materializer for its type",
        committed="no",
    )


def saved(materializer: Materializer, value: Any) -> Payload:
    """What a materializer, perhaps of somebody else's, makes of an object.

    Raises:
        InvalidInput: It refuses the object, or gives back anything but a payload.
    """
    made: object = materializer.save(value)
    if not isinstance(made, Payload):
        what = f"an object of {dotted(type(made))}, and no Payload"
    elif strange := [part for part in made.parts if not isinstance(part, Part)]:
        what = f"a Payload with an object of {dotted(type(strange[0]))} among its parts, which is no Part"
    else:
        return made
    raise InvalidInput(
        f"An object of {dotted(type(value))} cannot be saved",
        why=f"Its materializer {materializer.name!r} ({dotted(type(materializer))}) gave back {what}",
        todo="Let its save return a prefect_registry.objects.Payload of Parts, or register another materializer",
        committed="no",
    )


def lossy(value: Any, exact: Iterable[type], todo: str = "") -> str | None:
    """Why an object whose type is none of ``exact`` would change, or ``None``."""
    if type(value) in (exact := tuple(exact)):
        return None
    base = next((cls for cls in type(value).__mro__ if cls in exact), exact[0])
    return f"its type {dotted(type(value))} would come back as {dotted(base)}" + (f": {todo}" if todo else "")


def damaged(name: str, why: str) -> FormatError:
    """The error for a record that a materializer cannot read though its bytes are what was stored."""
    return FormatError(
        f"An object saved as {name!r} cannot be read",
        why=why,
        todo="Upgrade prefect-registry if a newer version has saved it; else save it anew",
    )


def fact(payload: StoredPayload, name: str, key: str, kind: type | tuple[type, ...]) -> Any:
    """One of the facts in ``payload.init``, if it is there and of that type."""
    value = payload.init.get(key)
    if not isinstance(value, kind):
        raise damaged(name, f"Its fact {key!r} is missing or has the wrong type")
    return value
