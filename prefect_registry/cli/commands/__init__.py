"""The commands: a module for each, or for a few that are close.

Every module here is found by being here. It has ``GROUP``, the heading in the help under which its commands stand,
and ``COMMANDS``, which maps their names to functions, whose docstrings are their help. A name of two words is that of a
command below another one, of which one of the modules tells in ``PARENTS``. Modules import at their top only what
``--help`` can wait for: neither Prefect nor a client of a store.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

Command = Callable[..., int | None]


def all_commands() -> Iterator[tuple[str, str, Command]]:
    """Name, heading and function of each."""
    for module in _modules():
        for name, command in module.COMMANDS.items():
            yield name, module.GROUP, command


def all_parents() -> Iterator[tuple[str, str, str]]:
    """Name, heading and help of the commands that others stand below."""
    for module in _modules():
        for name, text in getattr(module, "PARENTS", {}).items():
            yield name, module.GROUP, text


def _modules() -> Iterator[Any]:
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{__name__}.{found.name}")
