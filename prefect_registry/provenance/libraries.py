"""Libraries that only some need: imported when they are used, never with the package."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from prefect_registry.errors import ConfigurationError


def library(module: str, extra: str) -> Any:
    """A module of an optional dependency, which the package's ``extra`` installs.

    Raises:
        ConfigurationError: It cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigurationError(
            f"This needs the package {package}, which cannot be imported",
            why=str(error),
            todo=f"Run pip install 'prefect-registry[{extra}]'",
        ) from error
