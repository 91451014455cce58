"""What every document of the store has in common, and the limits that hold for all (DESIGN.md 3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic_core import PydanticSerializationError

from prefect_registry.clock import iso
from prefect_registry.credentials import without_url_secrets
from prefect_registry.errors import FormatError, InvalidInput

LARGEST_DOCUMENT_BYTES = 1 << 20
LARGEST_VALUE_BYTES = 900_000
"""What one JSON value of a user may take of a document."""
DEEPEST = 32
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1

Moment = Annotated[datetime, PlainSerializer(iso, return_type=str)]
Json = Any
"""A JSON value: None, bool, 64-bit int, finite float, str, list of these, dict of str to these."""

D = TypeVar("D", bound="Document")


class Record(BaseModel):
    """A part of a document. Unknown fields are kept and never interpreted, so that newer writers lose nothing."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, protected_namespaces=())


class Document(Record):
    """One immutable JSON object in the store: ``schema`` says what it is, ``write_id`` which logical write made it."""

    SCHEMA: ClassVar[str] = ""

    schema_: str = Field(default="", alias="schema")
    write_id: str

    def model_post_init(self, context: Any, /) -> None:
        """New documents get the ``schema`` of their class."""
        if not self.schema_:
            object.__setattr__(self, "schema_", self.SCHEMA)

    def encode(self) -> bytes:
        """The document as UTF-8 JSON of at most 1 MiB, else :class:`InvalidInput`."""
        try:
            data = orjson.dumps(self.model_dump(by_alias=True))
        except (orjson.JSONEncodeError, PydanticSerializationError) as error:
            raise InvalidInput(
                f"a {self.SCHEMA} document cannot be stored",
                why=f"It holds something that JSON does not have: {first_problem(error)}",
                todo="Give JSON values: str, int, float, bool, None, list, dict",
                committed="no",
            ) from error
        if len(data) > LARGEST_DOCUMENT_BYTES:
            raise InvalidInput(
                f"a {self.SCHEMA} document has {len(data):,} bytes",
                why=f"A document holds at most {LARGEST_DOCUMENT_BYTES:,} bytes",
                todo="Store large values as files and refer to them",
                committed="no",
            )
        return data

    @classmethod
    def decode(cls: type[D], data: bytes, key: str) -> D:
        """The document in ``data``; ``key`` is for the error message. Raises ``FormatError``."""
        try:
            value = orjson.loads(data)
            found = value.get("schema") if isinstance(value, dict) else None
            if found == cls.SCHEMA:
                return cls.model_validate(value)
        except (orjson.JSONDecodeError, ValidationError, TypeError) as error:
            raise FormatError(
                f"{key} is not a {cls.SCHEMA} document",
                why=f"{type(error).__name__}: {first_problem(error)}",
                todo="It was damaged, or written by something else; nothing was changed",
                key=key,
            ) from error
        family, _, version = cls.SCHEMA.partition("/")
        newer = isinstance(found, str) and found.partition("/")[0] == family
        raise FormatError(
            f"{key} is {found!r:.80}, not a {cls.SCHEMA!r} document",
            why=f"This version of prefect-registry reads version {version} of {family}" if newer else "",
            todo="Upgrade prefect-registry" if newer else "It was damaged, or written by something else",
            key=key,
        )


def first_problem(error: Exception) -> str:
    """In a line, what is wrong with a document: of a validation the first field that is, by its path."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).partition("\n")[0][:200]


def json_problems(value: object, where: str, depth: int = 2) -> Iterator[str]:
    """Why ``value`` cannot be stored as JSON and come back equal; nothing yielded means it can.

    NaN and infinities have no JSON form; integers must fit 64 bits; keys must be strings; depth at most 32 with the
    document around it; nothing may contain itself.
    """
    return _json_problems(value, where, depth, frozenset())


def _json_problems(value: object, where: str, depth: int, around: frozenset[int]) -> Iterator[str]:
    if id(value) in around:
        yield f"{where} contains itself"
    elif depth > DEEPEST:
        yield f"{where} is nested deeper than {DEEPEST} levels"
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, str):
        if _broken(value):
            yield f"{where} is not valid Unicode"
    elif isinstance(value, int):
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            yield f"{where} is an integer of more than 64 bits"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{where} is {value}, which JSON does not have"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where} has the key {key!r:.60}, which is {type(key).__name__}, not str"
            elif _broken(key):
                yield f"{where} has the key {key!r:.60}, which is not valid Unicode"
            else:
                yield from _json_problems(item, f"{where}.{key:.60}", depth + 1, around | {id(value)})
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _json_problems(item, f"{where}[{i}]", depth + 1, around | {id(value)})
    else:
        yield f"{where} is {type(value).__name__}, which JSON does not have"


def _broken(text: str) -> bool:
    """Whether a text has lone surrogates, which UTF-8 has no form for."""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)


def printable(text: str, most_characters: int | None = None) -> str:
    """A free text as it can be stored: lone surrogates (from undecodable file names) escaped, cut to a length.

    For texts that tell of a failure: they must be recorded, whatever is in them.
    """
    return text.encode("utf-8", "backslashreplace").decode()[:most_characters]


def as_reason(reason: object, most_characters: int) -> str | None:
    """What a caller gave as the reason of a change, as it can be stored. Raises ``InvalidInput`` of what is no text."""
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise InvalidInput.of("reason", [f"reason must be a string, not {type(reason).__name__}"])
    return printable(reason, most_characters)


def text_of(error: BaseException) -> str:
    """The text of an exception as it can be stored, for everybody to read; also of one that cannot tell it."""
    try:
        return printable(without_url_secrets(str(error)))
    except Exception as second:
        return f"<its text cannot be had: {type(second).__name__}>"


def as_json(value: object) -> Json:
    """``value`` as plain dict, list, str, int and float, where it has subclasses of them (enums, numpy's float64).

    Call :func:`json_problems` first.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # not str(): an enum's own __str__ gives its name
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {str.__str__(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    return value


def json_object_problems(value: object, where: str) -> list[str]:
    """Why ``value`` cannot be stored as a JSON object of at most 900,000 bytes. None is an empty one."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        return [f"{where} must be a mapping, not {type(value).__name__}"]
    problems = list(json_problems(value, where))
    size = 0 if problems else len(orjson.dumps(as_json(value)))
    return (
        problems
        if size <= LARGEST_VALUE_BYTES
        else [f"{where} has {size:,} bytes; at most {LARGEST_VALUE_BYTES:,} fit"]
    )


def checked_json_object(value: object, where: str) -> dict[str, Json]:
    """``value`` ready to be stored, else :class:`InvalidInput` with every problem. None is an empty object."""
    problems = json_object_problems(value, where)
    if problems:
        raise InvalidInput.of(
            where, problems, todo="Give a mapping of JSON values: str, int, float, bool, None, list, dict"
        )
    return {} if value is None else as_json(value)
