"""A flow's parameters as a run records them: JSON, small, and without secrets (DESIGN.md 8, 9)."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from string import Formatter
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from prefect_registry.credentials import MASK, is_secret_name, without_url_secrets
from prefect_registry.errors import InvalidInput
from prefect_registry.records.base import LARGEST_INTEGER, SMALLEST_INTEGER, Json
from prefect_registry.registry import Registry

LONGEST_TEXT = 1_000
MOST_ITEMS = 100
DEEPEST = 6
MOST_BYTES = 16 * 1024
_PLAIN = (str, int, float, bool, date, datetime, time)


def bound_parameters(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, defaults included. Empty when they do not fit: the call itself will say so."""
    try:
        bound = inspect.signature(fn).bind(*args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name not in ("self", "cls")}


# -- what is recorded ------------------------------------------------------------------------------------------------


def recorded(parameters: Mapping[str, Any]) -> dict[str, Json]:
    """Parameters for the run's ``config``: at most 16 KiB of JSON, the largest values left out first."""
    values = {name: described(value, name) for name, value in parameters.items()}
    sizes = {name: len(orjson.dumps(value)) for name, value in values.items()}
    for name in sorted(sizes, key=lambda n: sizes[n], reverse=True):
        if sum(sizes.values()) <= MOST_BYTES:
            break
        values[name] = f"<{type(parameters[name]).__name__} of {sizes[name]:,} bytes as JSON>"
        sizes[name] = len(values[name])
    return values


def described(value: Any, name: str = "", depth: int = 0) -> Json:
    """``value`` as JSON without secrets: what is no plain value becomes ``<its type>``."""
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(value, name):
        return MASK
    if isinstance(value, Enum):
        return described(value.value, name, depth)
    if isinstance(value, (str, PurePath, UUID, Decimal, date, time, timedelta)):
        return _text(str(value))
    if isinstance(value, int):
        return value if SMALLEST_INTEGER <= value <= LARGEST_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value):,} bytes>"
    reference = _block_reference(value)
    if reference is not None:
        return reference
    if depth >= DEEPEST:
        return f"<{type(value).__name__}>"
    return _described_container(value, name, depth)


def _described_container(value: Any, name: str, depth: int) -> Json:
    if isinstance(value, BaseModel):
        fields = {field: getattr(value, field) for field in type(value).model_fields}
        return described(fields, name, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return described({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, name, depth)
    if isinstance(value, Mapping):
        if len(value) > MOST_ITEMS:
            return f"<{type(value).__name__} of {len(value):,} items>"
        inside = name if is_secret_name(name) else ""
        return {str(k): described(v, inside or str(k), depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        if len(value) > MOST_ITEMS:
            return f"<{type(value).__name__} of {len(value):,} items>"
        return [described(v, name, depth + 1) for v in value]
    if isinstance(value, Registry):
        return f"<Registry {_text(value.url)}>"
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _text(text: str) -> str:
    text = without_url_secrets(text).encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text):,} characters)"


def _is_secret(value: Any, name: str) -> bool:
    if hasattr(type(value), "get_secret_value"):
        return True
    return is_secret_name(name) and isinstance(value, (str, bytes, int, float))


def _block_reference(value: Any) -> str | None:
    """``<block aws-credentials/prod>`` for a Prefect block, whatever it holds."""
    slug = getattr(type(value), "get_block_type_slug", None)
    if slug is None:
        return None
    return f"<block {slug()}/{getattr(value, '_block_document_name', None) or 'not saved'}>"


# -- secrets in texts that others wrote -----------------------------------------------------------------------------


def secrets_in(parameters: Mapping[str, Any]) -> frozenset[str]:
    """The secret values among the parameters, so that they can be taken out of messages."""
    return frozenset(s for name, value in parameters.items() for s in _secrets(value, name, 0) if len(s) >= 4)


def _secrets(value: Any, name: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST or value is None or isinstance(value, bool):
        return
    if hasattr(type(value), "get_secret_value"):
        inner = value.get_secret_value()
        yield from [inner] if isinstance(inner, str) else _secrets(inner, "secret", depth + 1)
    elif isinstance(value, bytes):
        if _is_secret(value, name):
            yield value.decode("utf-8", "replace")
    elif isinstance(value, (str, int, float)):
        if _is_secret(value, name):
            yield str(value)
    elif isinstance(value, BaseModel):
        fields = {field: getattr(value, field) for field in type(value).model_fields}
        yield from _secrets(fields, name, depth)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _secrets({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, name, depth)
    elif isinstance(value, Mapping):
        for key, item in list(value.items())[:MOST_ITEMS]:
            yield from _secrets(item, name if is_secret_name(name) else str(key), depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in list(value)[:MOST_ITEMS]:
            yield from _secrets(item, name, depth + 1)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """``text`` without the secrets, and without user names, passwords and signatures in URLs."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return without_url_secrets(text)


# -- templates -------------------------------------------------------------------------------------------------------


def template_problems(template: str, fn: Callable[..., Any], noun: str) -> Iterator[str]:
    """What is wrong with a template such as ``"ingest {year}"`` for that function."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        yield f"{noun} {template!r:.80} is no template: {error}"
        return
    known = set(inspect.signature(fn).parameters)
    for field in fields:
        if field not in known:
            yield (
                f"{noun} {template!r:.80} names {{{field}}}, which is no parameter"
                f" (there are: {', '.join(sorted(known)) or 'none'}; a brace itself is written twice)"
            )


def render(template: str, parameters: Mapping[str, Any]) -> str:
    """A template with the parameters put in; secrets are masked there too."""
    values = {
        name: value if isinstance(value, _PLAIN) and not _is_secret(value, name) else described(value, name)
        for name, value in parameters.items()
    }
    try:
        return template.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InvalidInput.of("registry_run", [f"{template!r:.80} cannot be filled in: {error!r}"]) from error
