"""The texts, ids and times of provenance, and what all its models have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from prefect_registry.errors import InvalidInput
from prefect_registry.names import LONGEST_NAME_CHARACTERS
from prefect_registry.notebook import shown

M = TypeVar("M", bound=BaseModel)
Path: TypeAlias = tuple[str | int, ...]

EARLIEST_SECONDS: Final = -62_135_596_800
LATEST_SECONDS: Final = 253_402_300_799
"""The years 1 and 9999, beyond which Python has no dates."""
MOST_RECORDS: Final = 100_000
"""In one batch, and in one CSV."""
UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""Tables have no NUL that other programs could read, and UTF-8 has no half surrogates."""


def wrong(code: str, message: str, **context: Any) -> PydanticCustomError:
    """What a validator raises, so that the message stands as it is. Texts that users gave go into ``context``."""
    return PydanticCustomError(code, message, context or None)


def duplicates(values: Iterable[str]) -> list[str]:
    """Those that are there more than once, in order."""
    seen: dict[str, int] = {}
    for value in values:
        seen[value] = seen.get(value, 0) + 1
    return [value for value, count in seen.items() if count > 1]


def _text(value: str) -> str:
    if ("\0" in value) if value.isascii() else UNSTORABLE.search(value):
        raise wrong("unstorable", "it has a NUL character, or is not valid Unicode")
    return value


def _key(value: str) -> str:
    if not value:
        raise wrong("empty", "it is empty")
    if value != value.strip():
        raise wrong("spaces_at_end", "there is white space at its beginning or end")
    if len(value) > LONGEST_NAME_CHARACTERS:
        raise wrong("too_long", "it has more than {most} characters", most=LONGEST_NAME_CHARACTERS)
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise wrong("url", "it is no http or https URL")
    return value


Text: TypeAlias = Annotated[str, AfterValidator(_text)]
Key: TypeAlias = Annotated[Text, AfterValidator(_key)]
"""A name among others: not empty, up to 2,000 characters, no white space at its ends (cells of tables are stripped)."""
Id: TypeAlias = Key
"""Opaque: whatever a registry gave, or another system uses."""
Url: TypeAlias = Annotated[Text, AfterValidator(_url)]
Seconds: TypeAlias = Annotated[int, Field(strict=True, ge=EARLIEST_SECONDS, le=LATEST_SECONDS)]
"""Since 1970, UTC."""


def not_blank(value: str, message: str) -> str:
    """``value`` if it has anything but white space, else a validator's error with ``message``."""
    if not value.strip():
        raise wrong("empty", message)
    return value


class ProvenanceModel(BaseModel):
    """Nothing that there is no field for; a value that is assigned is checked as well."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    _repr_html_ = shown


def where(path: Path) -> str:
    """A path as it is written: ``inputs[0].dataset_id``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def problems_of(error: ValidationError) -> list[str]:
    """Everything that is wrong, each as ``path: what``."""
    found = error.errors(include_url=False, include_input=False)
    return [f"{where(e['loc'])}: {e['msg']}" if e["loc"] else e["msg"] for e in found]


def checked(model: type[M], value: M | Mapping[str, Any], subject: str) -> M:
    """``value`` as a new ``model``. Instances are validated anew: what is in their lists can have been changed.

    Raises:
        InvalidInput: ``problems`` has everything that is wrong with ``subject``.
    """
    given = value.model_dump(warnings=False) if isinstance(value, BaseModel) else value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InvalidInput.of(subject, problems_of(error), todo="Correct it and call again") from error
