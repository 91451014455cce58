"""Block documents from environment variables, for scripts that configure a workspace without anybody at a form."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from prefect_registry.blocks.base import RegistryBlock
from prefect_registry.errors import ConfigurationError

NAME_VARIABLE = "REGISTRY_BLOCK_NAME"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def variables(cls: type[RegistryBlock]) -> dict[str, str]:
    """The variable of each field: ``REGISTRY_S3_BUCKET`` for ``bucket`` of :class:`S3Registry`."""
    kind = cls.get_block_type_slug().rpartition("-")[2].upper()
    return {f"REGISTRY_{kind}_{name.upper()}": name for name in cls.model_fields}


def block_from(cls: type[RegistryBlock], environ: Mapping[str, str]) -> RegistryBlock:
    """The block that the variables describe.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, and quotes none.
    """
    given = {field: environ[name] for name, field in variables(cls).items() if environ.get(name)}
    return block_of(cls, given, {field: name for name, field in variables(cls).items()})


def block_of(
    cls: type[RegistryBlock], given: Mapping[str, str], called: Mapping[str, str] | None = None
) -> RegistryBlock:
    """The block whose fields are given as texts: ``true`` for a flag, JSON for a mapping.

    Args:
        cls: Its type.
        given: Texts by the names of the fields.
        called: What the fields are called where the texts come from, for errors.
    """
    names = {field: (called or {}).get(field, field) for field in cls.model_fields}
    unknown = [field for field in given if field not in names]
    problems = [f"{field} is no field of {cls.get_block_type_name()}: {', '.join(names)}" for field in unknown]
    problems += [
        f"{names[field]} must be set"
        for field, info in cls.model_fields.items()
        if info.is_required() and not given.get(field)
    ]
    data: dict[str, Any] = {}
    for field in given.keys() & names.keys():
        try:
            data[field] = _parsed(given[field], cls.model_fields[field].annotation)
        except ValueError as error:
            problems.append(f"{names[field]} {error}")
    if problems:
        raise ConfigurationError("; ".join(problems), todo="Correct it, and run this again", problems=problems)
    return cls.model_validate(data)


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
