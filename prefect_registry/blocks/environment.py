"""Block documents from environment variables, for scripts that configure a workspace without anybody at a form."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from prefect_registry.blocks.base import RegistryBlock
from prefect_registry.errors import ConfigurationError

NAME_VARIABLE = "REGISTRY_BLOCK_NAME"
_MEND = "Correct it, and run this again"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

_Problem = tuple[str, str]
"""What is wrong, and why."""


def variables(cls: type[RegistryBlock]) -> dict[str, str]:
    """The variable of each field: ``REGISTRY_S3_BUCKET`` for ``bucket`` of :class:`S3Registry`."""
    kind = cls.get_block_type_slug().rpartition("-")[2].upper()
    return {f"REGISTRY_{kind}_{name.upper()}": name for name in cls.ordered_fields()}


def block_from(cls: type[RegistryBlock], environ: Mapping[str, str]) -> RegistryBlock:
    """The block that the variables describe.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, and quotes none.
    """
    given = {field: environ[name] for name, field in variables(cls).items() if environ.get(name)}
    called = {field: name for name, field in variables(cls).items()}
    return block_of(cls, given, called.__getitem__)


def block_of(cls: type[RegistryBlock], given: Mapping[str, str], called: Callable[[str], str] = str) -> RegistryBlock:
    """The block whose fields are given as texts: ``true`` for a flag, JSON for a mapping.

    Args:
        cls: Its type.
        given: Texts by the names of the fields.
        called: What a field is called where the texts come from, for errors.

    Raises:
        ConfigurationError: Names everything that is missing, unknown or wrong, and quotes no value.
    """
    data, problems = _read(cls, given, called)
    kind = cls.get_block_type_name()
    for field, info in cls.model_fields.items():
        if info.is_required() and not given.get(field):
            needed = f"{kind} needs it ({(info.description or '').rstrip('.')})"
            problems.append((f"{called(field)} must be set", needed))
    _refuse(problems)
    try:
        return cls.model_validate(data)
    except ConfigurationError as error:
        error.todo = _MEND
        raise


def check_given(cls: type[RegistryBlock], given: Mapping[str, str], called: Callable[[str], str] = str) -> None:
    """Refuse what no other field could make right: a name that is no field, a text that is not of the field's type."""
    _refuse(_read(cls, given, called)[1])


def _read(
    cls: type[RegistryBlock], given: Mapping[str, str], called: Callable[[str], str]
) -> tuple[dict[str, Any], list[_Problem]]:
    """Values by field, and what is wrong with the texts."""
    data: dict[str, Any] = {}
    problems: list[_Problem] = []
    for field, text in given.items():
        if field not in cls.model_fields:
            names = ", ".join(called(known) for known in cls.ordered_fields())
            kind = cls.get_block_type_name()
            problems.append((f"{kind} knows no {called(field)}", f"What it knows is {names}"))
            continue
        try:
            data[field] = _parsed(text, cls.model_fields[field].annotation)
        except ValueError as error:
            problems.append((f"{called(field)} {error}", "What it was given cannot be read as that"))
    return data, problems


def _refuse(problems: list[_Problem]) -> None:
    if problems:
        whats = [what for what, _ in problems]
        why = "; ".join(dict.fromkeys(why for _, why in problems))
        raise ConfigurationError("; ".join(whats), why=why, todo=_MEND, committed="no", problems=whats)


def save_from_environment(cls: type[RegistryBlock]) -> None:
    """Save the block that the environment describes under ``REGISTRY_BLOCK_NAME`` (``default``), replacing it.

    The whole of a script: prints the reference of the block, or why there is none and exits with 1.
    """
    name = os.environ.get(NAME_VARIABLE) or "default"
    try:
        block = block_from(cls, os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    block.save(name, overwrite=True)
    print(f"{block.label} is saved: {block.get_url()}")


def _parsed(text: str, annotation: Any) -> Any:
    if annotation is bool:
        if text.lower() not in (*_YES, *_NO):
            raise ValueError("must be true or false")
        return text.lower() in _YES
    if annotation in (str, SecretStr):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value
