"""The registry that a command means: where it is, who says so, and opening it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_registry.cli.output import say
from prefect_registry.errors import NotFound, RegistryError

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

_PREFIXES = ("PREFECT_REGISTRY_", "PREFECT_INTEGRATIONS_REGISTRY_")


@dataclass(frozen=True)
class Where:
    """A place that a registry is at, or may be.

    Attributes:
        url: Its root; may hold credentials.
        said_by: Who says so.
        options: What its filesystem needs; may hold secrets.
        reference: The saved block that describes it, if one does.
        embedded: Whether nobody has said anything.
        keeping: How it keeps objects, where a block says so: arguments of ``Registry``.
    """

    url: str
    said_by: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reference: str = ""
    embedded: bool = False
    keeping: Mapping[str, bool] = field(default_factory=dict)


def where(wanted: str | None) -> Where:
    """Where the registry is that the command line means. Opens nothing."""
    if wanted is not None and _settled(wanted):
        return Where(wanted, "--registry")
    from prefect_registry.resolve import locate

    place = locate(wanted)
    said_by = "--registry" if place.said_by == "the call" else place.said_by
    return Where(place.url, said_by, place.options, place.reference, place.open_url is not None, place.keeping)


def open_registry(wanted: str | None, *, create: bool = False) -> Registry:
    """The registry that the command line means.

    Args:
        wanted: What ``--registry`` says.
        create: Make it if there is none. What only looks must not: a misspelt folder would become a registry.
    """
    from prefect_registry.registry import Registry

    found = where(wanted)
    if found.embedded:
        say(f"No registry is configured, so {found.url} is used, on this machine alone. `prefect-registry init` "
            "chooses another one.")  # fmt: skip
    keeping: dict[str, Any] = dict(found.keeping)
    try:
        registry = Registry(found.url, storage_options=found.options, create=create, **keeping)
    except RegistryError as error:
        if isinstance(error, NotFound):
            error.why = "Nobody has made one there yet, or it is another place"
            error.todo = "Correct --registry; the first run makes a registry, or `prefect-registry init`"
        error.context.setdefault("said_by", found.said_by)
        error.todo = f"{error.todo.rstrip('.')} ({found.said_by})"
        raise
    registry.reference = found.reference or None
    return registry


def _settled(wanted: str) -> bool:
    """Whether ``wanted`` is a URL or a folder, and nothing on this machine can say otherwise.

    Prefect's settings could: ``PREFECT_REGISTRY_OVERRIDE`` wins over every call. Reading them takes a second, so they
    are read only where something speaks of them at all.
    """
    if "://" not in wanted and not wanted.startswith(("/", "./", "../")):
        return False
    if any(f"{prefix}{name}" in os.environ for prefix in _PREFIXES for name in ("OVERRIDE", "URL", "STORAGE_OPTIONS")):
        return False
    return not _prefect_may_say(b"registry")


def _prefect_may_say(word: bytes) -> bool:
    """Whether a file that Prefect reads its settings from may have something with ``word`` in its name."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    return (
        "PREFECT_PROFILES_PATH" in os.environ
        or _speaks(Path(".env"), b"prefect")
        or _speaks(Path("prefect.toml"), b"")
        or _speaks(Path("pyproject.toml"), b"tool.prefect")
        or _speaks(home / "profiles.toml", word)
    )


def _speaks(file: Path, word: bytes) -> bool:
    """Whether a file is there and has ``word`` in it, in small letters or large ones."""
    try:
        return word in file.read_bytes().lower()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def configured_api() -> str:
    """The URL of Prefect's API, if one is configured; empty where asking would start a server."""
    if "PREFECT_API_URL" not in os.environ and not _prefect_may_say(b"api"):
        return ""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url or ""
