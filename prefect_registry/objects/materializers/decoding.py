"""From the tree of a JSON text back to Python's values (the format ``python``)."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

from prefect_registry.errors import RegistryError
from prefect_registry.objects.materializers import moments
from prefect_registry.objects.materializers.builtin import BuiltIn, Context, damaged
from prefect_registry.objects.materializers.nested import NestedPayload
from prefect_registry.objects.materializers.structured import STRUCTURES
from prefect_registry.objects.payload import StoredPayload


class Decoder:
    """Decodes one value. Makes objects only of classes that this process has registered or saved."""

    def __init__(self, context: Context, payload: StoredPayload | None) -> None:
        self._context, self._payload = context, payload

    def decode(self, tree: Any) -> Any:
        """The value of a tree.

        Raises:
            FormatError: It is no tree of ours.
        """
        try:
            return self._decode(tree)
        except RegistryError:
            raise
        except RecursionError:
            raise damaged("python", "It is nested too deeply") from None
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise damaged("python", f"{type(error).__name__}: {error}") from error

    def _decode(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return [self._decode(v) for v in tree]
        if not isinstance(tree, dict):
            return tree
        if len(tree) == 1:
            ((tag, content),) = tree.items()
            if tag.startswith("$"):
                return self._tagged(tag, content)
        if any(key.startswith("$") for key in tree):
            raise ValueError("a tag stands beside other keys")
        return {key: self._decode(v) for key, v in tree.items()}

    def _tagged(self, tag: str, content: Any) -> Any:
        if tag in moments.READERS:
            return moments.READERS[tag](content)
        if tag in STRUCTURES:
            key, *rest = content
            return STRUCTURES[tag].decode(self._decode, self._context.finder.classes.get(key), *rest)
        if tag in _READERS:
            return _READERS[tag](self, content)
        raise ValueError(f"the type {tag!r} is not known to this version")

    def pairs(self, content: Any) -> list[Any]:
        """Keys with their values."""
        return [(self._decode(k), self._decode(v)) for k, v in content]

    def values(self, content: Any) -> list[Any]:
        """Elements."""
        return [self._decode(v) for v in content]

    def scalar(self, content: Any) -> Any:
        """A small object of a library."""
        name, tree = content
        materializer = self._context.finder.named(name, self._context.allow_pickle)
        if not isinstance(materializer, BuiltIn):
            raise ValueError(f"{name!r} keeps nothing inside of containers")
        return materializer.of_inline(tree)

    def part(self, content: Any) -> Any:
        """An object that has files of its own."""
        if self._payload is None:
            raise ValueError("an object with files of its own where none can be")
        materializer = self._context.finder.named(content["name"], self._context.allow_pickle)
        return materializer.load(NestedPayload(self._payload, f"parts/{int(content['at'])}/", content["init"]))


def _float(text: str) -> float:
    value: float
    (value,) = struct.unpack(">d", bytes.fromhex(text)) if len(text) == 16 else (float(text),)
    return value


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


_READERS: dict[str, Callable[[Decoder, Any], Any]] = {
    "$int": lambda d, v: int(v, 16),
    "$float": lambda d, v: _float(v),
    "$str": lambda d, v: moments.read_text({"$str": v}),
    "$complex": lambda d, v: complex(d._decode(v[0]), d._decode(v[1])),
    "$bytes": lambda d, v: _bytes(v),
    "$bytearray": lambda d, v: bytearray(_bytes(v)),
    "$range": lambda d, v: range(*d.values(v)),
    "$tuple": lambda d, v: tuple(d.values(v)),
    "$dict": lambda d, v: dict(d.pairs(v)),
    "$set": lambda d, v: set(d.values(v)),
    "$frozenset": lambda d, v: frozenset(d.values(v)),
    "$ordered_dict": lambda d, v: OrderedDict(d.pairs(v)),
    "$counter": lambda d, v: Counter(dict(d.pairs(v))),
    "$deque": lambda d, v: deque(d.values(v[1]), v[0]),
    "$scalar": Decoder.scalar,
    "$part": Decoder.part,
}
