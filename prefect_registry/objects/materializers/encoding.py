"""From Python's values to a tree that JSON can hold, without losing a type (the format ``python``).

None, bool, 64-bit int, finite float, str, list and dict with texts as keys stand for themselves. All else is an object
with one key that starts with ``$``: ``{"$tuple": [1, 2]}``. A dict in which a key starts with ``$``, or is no text, is
``{"$dict": [[key, value], …]}``.
"""

from __future__ import annotations

import json
import math
import struct
from base64 import b64encode
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

from prefect_registry.errors import InvalidInput
from prefect_registry.objects.materializers import families, moments
from prefect_registry.objects.materializers.builtin import BuiltIn, Context, refused, saved
from prefect_registry.objects.materializers.classes import dotted
from prefect_registry.objects.materializers.structured import Structure, structure_of
from prefect_registry.objects.materializers.where import Where
from prefect_registry.objects.payload import Part, Payload

DEEPEST = 100
MOST_VALUES = 10_000_000
MOST_NESTED = 10_000
_INT64 = range(-(2**63), 2**63)


def unknown(value: Any) -> str | None:
    """Why the value's type has no form here, or ``None`` if it has one."""
    cls = type(value)
    if cls in _EXACT or cls in moments.FORMS or structure_of(value) is not None:
        return None
    base = next((b for b in cls.__mro__[:-1] if b in _EXACT or b in moments.FORMS), None)
    if base is not None:
        return f"its type {dotted(cls)} would come back as {dotted(base)}"
    return (
        f"nothing that is registered here knows the type {dotted(cls)}; register a materializer for it, make it a "
        "dataclass or a pydantic model, or, if nobody else can write to the store, allow pickle for the registry and "
        "for this call (allow_pickle=True)"
    )


class Encoder:
    """Encodes one value; what is no Python value becomes a payload of its own below ``parts/``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[int, Any] = {}
        self._structures: dict[type, tuple[Structure, str]] = {}
        self._values = 0
        self._where = Where()
        self.parts: list[Part] = []
        self.payloads: list[Payload] = []

    def text(self, value: Any) -> bytes:
        """The JSON text of a value."""
        try:
            return dumps(self.encode(value))
        except InvalidInput as error:
            if self._where.path:
                error.what += f" (it is {self._where} of the value)"
                error.args = (error.what,)
            raise
        except RecursionError:
            raise refused(value, f"It is nested more than {DEEPEST} levels deep, or the stack is nearly full") from None

    def changes(self) -> Iterator[str]:
        """What has changed of the files that nested payloads name."""
        for payload in self.payloads:
            yield from payload.changes()

    def encode(self, value: Any) -> Any:
        """The tree of a value."""
        cls = type(value)
        if cls is str:
            return moments.text_form(value)
        if cls is bool or value is None:
            return value
        if cls is int:
            return value if value in _INT64 else {"$int": hex(value)}
        if cls is float:
            return value if math.isfinite(value) else {"$float": _special(value)}
        try:
            form = _EXACT.get(cls)
            if form is not None:
                return self._within(value, form)
            return moments.FORMS[cls](value) if cls in moments.FORMS else self._other(value)
        except InvalidInput:
            self._where.failed(value)
            raise

    def _count(self, value: Any) -> None:
        self._values += 1 + len(value)
        if self._values > MOST_VALUES:
            raise refused(value, f"It holds more than {MOST_VALUES:,} values", "Save an array or a table")

    def _within(self, value: Any, encode: Callable[[Encoder, Any], Any]) -> Any:
        key = id(value)
        if key in self._open:
            raise refused(value, "It holds itself, directly or through others", "Save a value without a cycle")
        if len(self._open) >= DEEPEST:
            raise refused(value, f"It is nested more than {DEEPEST} levels deep", "Save a flatter value")
        self._open[key] = value
        try:
            return encode(self, value)
        finally:
            del self._open[key]

    def _other(self, value: Any) -> Any:
        if type(value) not in self._structures:
            found = self._context.finder.find(value, self._context.allow_pickle)
            structure = structure_of(value)
            if found.name != "python" or structure is None:
                tree = found.inline(value) if isinstance(found, BuiltIn) else None
                if tree is not None:
                    return {"$scalar": [found.name, tree]}
                return self.nested(value, found.name, saved(found, value))
            self._structures[type(value)] = structure, self._context.finder.classes.meet(type(value))
        form, key = self._structures[type(value)]
        return self._within(value, lambda encoder, v: form.encode(encoder.encode, key, v))

    def nested(self, value: Any, name: str, payload: Payload) -> Any:
        """A payload in this one: its files below a folder of its own."""
        number = len(self.payloads)
        if number >= MOST_NESTED:
            raise refused(value, f"More than {MOST_NESTED:,} objects that have files of their own lie in one container")
        self.payloads.append(payload)
        self.parts.extend(Part(f"parts/{number}/{part.path}", part.source) for part in payload.parts)
        return {"$part": {"at": number, "name": name, "init": dict(payload.init)}}

    # Containers ------------------------------------------------------------------------------------------------------

    def list(self, value: Any) -> Any:
        """Elements in order."""
        self._count(value)
        return [self.encode(v) for v in value]

    def dict(self, value: Any) -> Any:
        """Keys in order."""
        if families.is_state_dict(value):
            found = self._context.finder.find(value, self._context.allow_pickle)
            return self.nested(value, found.name, saved(found, value))
        if all(type(k) is str and not k.startswith("$") and moments.is_unicode(k) for k in value):
            self._count(value)
            return {k: self.encode(v) for k, v in value.items()}
        return {"$dict": self.pairs(value)}

    def pairs(self, value: Any) -> Any:
        """Keys and values."""
        self._count(value)
        return [[self.encode(k), self.encode(v)] for k, v in value.items()]

    def sorted(self, value: Any) -> Any:
        """Elements of a set, in the order of their texts."""
        self._count(value)
        return sorted((self.encode(v) for v in value), key=dumps)

    def ordered_dict(self, value: Any) -> Any:
        """An ``OrderedDict``, whose attributes would be lost."""
        if families.is_state_dict(value):
            return self.dict(value)
        return {"$ordered_dict": self.without_attributes(value)}

    def without_attributes(self, value: Any) -> Any:
        """Keys and values of a dict that may have attributes, which would be lost."""
        if vars(value):
            raise refused(value, f"Its attributes {', '.join(sorted(vars(value)))} would be lost")
        return self.pairs(value)


def dumps(tree: Any) -> bytes:
    """The one text of a tree."""
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _base64(data: Any) -> str:
    return b64encode(data).decode()


def _special(value: float) -> str:
    if value != value:
        bits = struct.pack(">d", value).hex()
        return "nan" if bits == "7ff8000000000000" else bits
    return "inf" if value > 0 else "-inf"


_EXACT: dict[type, Callable[[Encoder, Any], Any]] = {
    type(None): lambda e, v: e.encode(v),
    bool: lambda e, v: e.encode(v),
    int: lambda e, v: e.encode(v),
    float: lambda e, v: e.encode(v),
    str: lambda e, v: e.encode(v),
    complex: lambda e, v: {"$complex": [e.encode(v.real), e.encode(v.imag)]},
    bytes: lambda e, v: {"$bytes": _base64(v)},
    bytearray: lambda e, v: {"$bytearray": _base64(v)},
    range: lambda e, v: {"$range": [e.encode(n) for n in (v.start, v.stop, v.step)]},
    list: Encoder.list,
    tuple: lambda e, v: {"$tuple": e.list(v)},
    dict: Encoder.dict,
    set: lambda e, v: {"$set": e.sorted(v)},
    frozenset: lambda e, v: {"$frozenset": e.sorted(v)},
    OrderedDict: Encoder.ordered_dict,
    Counter: lambda e, v: {"$counter": e.without_attributes(v)},
    deque: lambda e, v: {"$deque": [v.maxlen, e.list(v)]},
}
