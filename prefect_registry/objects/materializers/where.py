"""Where in a value something was refused: found out on the way back, so that it costs nothing when all is well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any


class Where:
    """The way from the outermost value to the one that was refused.

    Attributes:
        path: Its steps, as Python writes them: ``['a']``, ``[3]``, ``.name``.
    """

    def __init__(self) -> None:
        self.path: list[str] = []
        self._inner: Any = self

    def __str__(self) -> str:
        shown = self.path if len(self.path) <= 10 else [*self.path[:5], " … ", *self.path[-4:]]
        return "".join(shown).removeprefix(".")

    def failed(self, value: Any) -> None:
        """Told of the value that was refused first, then of each that holds it."""
        if self._inner is not self and self._inner is not value:
            step = next((step for step, held in _steps(value) if held is self._inner), None)
            if step is not None:
                self.path.insert(0, step)
        self._inner = value


def _steps(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r:.60}]", held) for key, held in value.items())
        yield from ((f"the key {key!r:.60}", key) for key in value)
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{n}]", held) for n, held in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("an element", held) for held in value)
    else:
        names = chain(getattr(value, "__dict__", ()), getattr(value, "__slots__", ()))
        yield from ((f".{name}", getattr(value, name, None)) for name in names)
