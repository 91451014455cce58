"""Objects of classes that people define: enums, named tuples, dataclasses and pydantic models.

A record names the class and what its fields hold. Nothing here imports a class: the reader's registered ones are used.
"""

from __future__ import annotations

import dataclasses
import sys
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime, time
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property, lru_cache
from types import MemberDescriptorType
from typing import Any, ClassVar

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.builtin import refused
from prefect_registry.objects.materializers.classes import dotted

Code = Callable[[Any], Any]


class Structure(ABC):
    """How objects of one kind of classes are written and read."""

    tag: ClassVar[str]

    @abstractmethod
    def is_of(self, value: Any) -> bool:
        """Whether the object is of this kind."""

    @abstractmethod
    def encode(self, encode: Code, key: str, value: Any) -> Any:
        """Its tree; ``encode`` makes those of its fields."""

    @abstractmethod
    def decode(self, decode: Code, cls: type, *content: Any) -> Any:
        """The object; ``decode`` makes what its fields hold."""


class _Enums(Structure):
    tag = "$enum"

    def is_of(self, value: Any) -> bool:
        return isinstance(value, Enum)

    def encode(self, encode: Code, key: str, value: Enum) -> Any:
        cls, name = type(value), value._name_  # a class may give its members other ``name`` and ``value``
        if cls.__members__.get(name) is value:
            return {self.tag: [key, encode(name)]}
        if not isinstance(value, Flag) or not _is_made_of_flags(value):
            raise refused(value, f"It is none of the members of {dotted(cls)}, nor made of them")
        return {self.tag: [key, None, encode(value._value_)]}

    def decode(self, decode: Code, cls: type, *content: Any) -> Any:
        name, *value = decode(content[0]), *content[1:]
        if not issubclass(cls, Enum) or (name is not None and name not in cls.__members__):
            raise _changed(cls, f"it has no member {name!r}")
        if name is not None:
            return cls.__members__[name]
        try:
            return cls(decode(value[0]))
        except ValueError as error:
            raise _changed(cls, str(error)) from error


def _is_made_of_flags(value: Flag) -> bool:
    try:
        back = type(value)(value._value_)
    except ValueError:
        return False
    return type(back) is type(value) and bool(back._value_ == value._value_)


class _NamedTuples(Structure):
    tag = "$namedtuple"

    def is_of(self, value: Any) -> bool:
        return isinstance(value, tuple) and isinstance(getattr(type(value), "_fields", None), tuple)

    def encode(self, encode: Code, key: str, value: Any) -> Any:
        if lost := getattr(value, "__dict__", None):
            raise refused(value, f"Its attributes {', '.join(sorted(lost))} would be lost")
        if len(value) != len(value._fields):
            raise refused(value, f"It has {len(value)} values for {len(value._fields)} fields")
        return {self.tag: [key, [[name, encode(v)] for name, v in zip(value._fields, value, strict=True)]]}

    def decode(self, decode: Code, cls: type, *content: Any) -> Any:
        fields: dict[str, Any] = dict(content[0])
        names = getattr(cls, "_fields", ())
        if not issubclass(cls, tuple) or tuple(fields) != names:
            raise _changed(cls, f"its fields were {', '.join(fields)}, and are {', '.join(names)}")
        return tuple.__new__(cls, [decode(v) for v in fields.values()])


class _Dataclasses(Structure):
    tag = "$dataclass"

    def is_of(self, value: Any) -> bool:
        return dataclasses.is_dataclass(value) and not isinstance(value, type)

    def encode(self, encode: Code, key: str, value: Any) -> Any:
        cls = type(value)
        if getattr(cls, "__new__", None) is not object.__new__:
            raise refused(value, "It is also a value of another kind, which would be lost, or makes its objects itself")
        names = [field.name for field in dataclasses.fields(value)]
        unset = [name for name in names if not hasattr(value, name)]
        lost = _attributes(value) - set(names)
        if unset or lost:
            why = [f"Its fields {', '.join(unset)} have no value"] * bool(unset)
            why += [f"Its attributes {', '.join(sorted(lost))} are no fields and would be lost"] * bool(lost)
            raise refused(value, "; ".join(why), "Declare them as fields")
        return {self.tag: [key, [[name, encode(getattr(value, name))] for name in names]]}

    def decode(self, decode: Code, cls: type, *content: Any) -> Any:
        if not dataclasses.is_dataclass(cls):
            raise _changed(cls, "it is no dataclass any more")
        stored: dict[str, Any] = dict(content[0])
        made = object.__new__(cls)
        for field in dataclasses.fields(cls):
            if field.name in stored:
                value = decode(stored.pop(field.name))
            elif field.default is not dataclasses.MISSING:
                value = field.default
            elif field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            else:
                raise _changed(cls, f"it has a new field {field.name!r} without a default")
            object.__setattr__(made, field.name, value)
        if stored:
            raise _changed(cls, f"it has no fields {', '.join(stored)} any more")
        return made


class _Models(Structure):
    tag = "$pydantic"

    def is_of(self, value: Any) -> bool:
        pydantic = sys.modules.get("pydantic")
        return pydantic is not None and isinstance(value, pydantic.BaseModel)

    def encode(self, encode: Code, key: str, value: Any) -> Any:
        cls = type(value)
        state = _state(value)
        if lost := _attributes(value) - set(cls.model_fields) - _own_slots(sys.modules["pydantic"].BaseModel):
            raise refused(value, f"Its attributes {', '.join(sorted(lost))} are no fields and would be lost")
        try:
            back = _validated(cls, *state)
        except RecursionError:
            raise
        except Exception as error:  # validators are anyone's
            raise refused(value, f"It does not validate any more: {type(error).__name__}: {error}") from error
        if differing := [name for name, one, other in _pairs(value, back) if not same(one, other)]:
            raise refused(
                value,
                f"Validated again, it would differ in {', '.join(differing)}",
                "Let validators accept what they have made, and change fields only to values that validate",
            )
        return {self.tag: [key, *(encode(part) for part in state)]}

    def decode(self, decode: Code, cls: type, *content: Any) -> Any:
        fields, extra, private, given = (decode(part) for part in content)
        try:
            return _validated(cls, fields, extra, private, given)
        except RecursionError:
            raise
        except Exception as error:  # validators are anyone's
            raise _changed(cls, f"what was saved does not validate: {type(error).__name__}: {error}") from error


def _state(model: Any) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None, list[str]]:
    fields = {name: vars(model)[name] for name in type(model).model_fields if name in vars(model)}
    private = model.__pydantic_private__
    return fields, model.__pydantic_extra__, private, sorted(model.model_fields_set)


def _validated(cls: Any, fields: Any, extra: Any, private: Any, given: list[str]) -> Any:
    config = cls.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    if "root" in fields and cls.__pydantic_root_model__:
        made = cls.model_validate(fields["root"])
    elif not by_name and any(_is_a_way(field) for field in cls.model_fields.values()):
        made = cls.model_validate({**(extra or {}), **fields}, by_alias=False, by_name=True)
    else:
        keys = {name: name if by_name else _alias(name, cls.model_fields.get(name)) for name in fields}
        made = cls.model_validate({**(extra or {}), **{keys[name]: value for name, value in fields.items()}})
    object.__setattr__(made, "__pydantic_fields_set__", set(given))
    if private is not None:
        object.__setattr__(made, "__pydantic_private__", dict(private))
    return made


def _is_a_way(field: Any) -> bool:
    """Whether a field is given by no name but by a way into what is validated (``AliasPath``)."""
    alias = getattr(field, "validation_alias", None)
    return alias is not None and not any(isinstance(choice, str) for choice in getattr(alias, "choices", [alias]))


def _alias(name: str, field: Any) -> str:
    alias = getattr(field, "validation_alias", None)
    for choice in getattr(alias, "choices", [alias]):
        if isinstance(choice, str):
            return choice
    return name


def _pairs(one: Any, other: Any) -> list[tuple[str, Any, Any]]:
    left, right = _state(one), _state(other)
    fields = [(name, left[0].get(name), right[0].get(name)) for name in {**left[0], **right[0]}]
    return [*fields, ("extra fields", left[1], right[1])]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types throughout."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in (list, tuple, deque):
        alike = len(one) == len(other) and getattr(one, "maxlen", None) == getattr(other, "maxlen", None)
        return alike and all(map(same, one, other))
    if type(one) in (dict, OrderedDict):
        return same([*one.items()], [*other.items()])
    if type(one) in (set, frozenset):
        return one == other and _twins(one, other)
    if type(one) is float and one != one:
        return bool(other != other)
    if type(one) in (float, complex, Decimal, datetime, time):  # -0.0, 1.0 and 1.00, and zones
        return repr(one) == repr(other)
    try:
        return bool(one == other)
    except Exception:  # arrays have many answers, or none; and __eq__ is anyone's
        return False


def _twins(one: Any, other: Any) -> bool:
    """Whether each element of equal sets has one of the same types in the other: 1, 1.0 and True are equal."""
    others = {element: element for element in other}
    return all(same(element, others[element]) for element in one)


def _attributes(value: Any) -> set[str]:
    """The names of what an object holds, in its ``__dict__`` or in slots, but for what is only cached."""
    cls: Any = type(value)
    held = {n for n in getattr(value, "__dict__", {}) if not isinstance(getattr(cls, n, None), cached_property)}
    return held | {name for name, slot in _slots(cls) if _is_set(slot, value)}


@lru_cache(maxsize=1024)
def _slots(cls: type[Any]) -> tuple[tuple[str, MemberDescriptorType], ...]:
    return tuple((n, s) for c in cls.__mro__ for n, s in vars(c).items() if isinstance(s, MemberDescriptorType))


def _own_slots(cls: type) -> set[str]:
    return {name for name, _ in _slots(cls)}


def _is_set(slot: MemberDescriptorType, value: Any) -> bool:
    try:
        slot.__get__(value, type(value))
    except AttributeError:
        return False
    return True


def _changed(cls: type, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"An object of {dotted(cls)} cannot be made from what was saved",
        why=f"The class has changed: {why}",
        todo="Register the class as it was when the object was saved, or give new fields defaults",
    )


_ALL = (_Enums(), _NamedTuples(), _Dataclasses(), _Models())
STRUCTURES = {structure.tag: structure for structure in _ALL}


def structure_of(value: Any) -> Structure | None:
    """The structure of an object, or ``None``."""
    return next((structure for structure in _ALL if structure.is_of(value)), None)
