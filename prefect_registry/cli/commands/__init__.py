"""The commands: a module for each, or for a few that are close.

Every module here is found by being here. It has ``GROUP``, the heading in the help under which its commands stand,
and ``COMMANDS``, which maps their names to functions, whose docstrings are their help. Modules import at their top only
what ``--help`` can wait for: neither Prefect nor a client of a store.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

Command = Callable[..., int | None]


def all_commands() -> Iterator[tuple[str, str, Command]]:
    """Name, heading and function of each."""
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module: Any = importlib.import_module(f"{__name__}.{found.name}")
        for name, command in module.COMMANDS.items():
            yield name, module.GROUP, command
