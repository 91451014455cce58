"""The interpreter and what is installed for it."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Mapping
from typing import Any

from prefect_registry.capture.packages import installed_packages


def environment() -> dict[str, Any]:
    """``python``, ``implementation``, ``platform`` and ``packages`` (versions by name) of this process."""
    return {**_interpreter(), "packages": installed_packages()}


@functools.cache
def _interpreter() -> Mapping[str, str]:
    system = platform.uname()
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{system.system} {system.release} {system.machine}",
    }
