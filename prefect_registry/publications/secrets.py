"""Secret blocks, for headers of downloads that name one."""

from __future__ import annotations

from typing import Any, cast

from prefect.blocks.system import Secret

from prefect_registry.ingestion.errors import ConfigurationError


def secret(name: str) -> str:
    """The value of a Secret block. Raises ``ConfigurationError`` when there is no such block, or it holds no text."""
    try:
        found = cast(Any, Secret).load(name, _sync=True).get()
    except ValueError as error:
        raise ConfigurationError(
            f"There is no Secret block {name!r:.80}",
            why=str(error),
            todo="Save it where Prefect's server is, or correct the plan",
        ) from error
    if not isinstance(found, str):
        raise ConfigurationError(
            f"The Secret block {name!r:.80} holds no text", why="It has other JSON", todo="Save a text"
        )
    return found
