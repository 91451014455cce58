"""The settings of this package as a file that Prefect and shells read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

REQUIRED = ("block", "url", "storage_options")
"""Where the registry is: one of block and URL must be set, but for tests."""


def settings_file(url: str, required_only: bool) -> str:
    """Settings as ``NAME=value`` lines, each below what it means; defaults, and what is a secret, are comments.

    The settings are Prefect's, so the Prefect layer is asked for them: it is named here, not imported.

    Args:
        url: Of the registry that is asked; the line for the URL has it.
        required_only: Only what tells where a registry is.
    """
    module = importlib.import_module("prefect_registry.settings")
    lines = ["# Settings of prefect-registry. Lines that are comments show defaults.", ""]
    for name, field in module.RegistrySettings.model_fields.items():
        if not required_only or name in REQUIRED:
            lines += _lines(f"{module.PREFIX}{name.upper()}", field, url if name == "url" else None)
    return "\n".join(lines)


def _lines(variable: str, field: Any, value: str | None) -> Iterator[str]:
    yield f"# {field.description or ''}".rstrip()
    if value is not None:
        yield f"{variable}={_quoted(value)}"
    else:
        yield f"# {variable}={_quoted(_default(field))}"
    yield ""


def _default(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined or default is None:
        return ""
    return "" if isinstance(default, SecretStr) else str(default)


def _quoted(value: str) -> str:
    plain = all(c.isalnum() or c in "-_./:@%+,=" for c in value)
    return value if plain else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
