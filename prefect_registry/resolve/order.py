"""The order in which a registry is looked for, from what a call says to what the settings say."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from prefect_registry.errors import InvalidInput
from prefect_registry.ledger.ledger import innermost_run
from prefect_registry.resolve import lookup
from prefect_registry.resolve.embedded import embedded_url, open_embedded
from prefect_registry.resolve.opened import keep, known
from prefect_registry.resolve.place import Place
from prefect_registry.settings import RegistrySettings, current_settings
from prefect_registry.storage.secrets import without_credentials

if TYPE_CHECKING:
    from prefect_registry.blocks.base import RegistryBlock
    from prefect_registry.registry import Registry

RegistryLike: TypeAlias = "str | os.PathLike[str] | RegistryBlock | Registry"
"""A block's name, ``"type/name"``, a URL or folder, a block, or a registry."""

DEFAULT = "default"
"""The name of the block that a call means when nothing else says which."""

_PATH = re.compile(r"^([/~\\]|\.{1,2}([/\\]|$)|[A-Za-z]:[/\\])")
_NAME = re.compile(r"^[^/\s]+$")
_REFERENCE = re.compile(r"^[a-z0-9-]+/[^/\s]+$")

_surrounding: Callable[[], Registry | None] | None = None


def set_surrounding(hook: Callable[[], Registry | None]) -> None:
    """Let ``hook`` tell the registry of the run that surrounds the calling code, where this process does not know it:
    in a child of a process pool, on a Dask worker.
    """
    global _surrounding
    _surrounding = hook


def resolve_registry(registry: RegistryLike | None = None) -> Registry:
    """The registry that a call means.

    In this order: a surrounding ``registry_sandbox()``; ``PREFECT_REGISTRY_OVERRIDE``; ``registry`` itself; the
    registry of the surrounding run; ``PREFECT_REGISTRY_BLOCK``; the block named ``default``;
    ``PREFECT_REGISTRY_URL``; and, where somebody sits in front of it, a folder in the user's data folder. The same
    store with the same settings is the same object within a process. It never needs, nor disturbs, an event loop.

    Args:
        registry: The name of a block (``"prod"``, of any of the registry types), ``"data-registry-s3/prod"``, a URL
            or folder, a block, or a registry.

    Raises:
        ConfigurationError: It is not clear which registry is meant, or its settings are wrong.
        InvalidInput: ``registry`` is nothing of the above.
        StorageUnavailable, AccessDenied, UnsupportedStorage: The store cannot be used.
    """
    from prefect_registry.sandbox import current_sandbox

    sandbox = current_sandbox()
    return sandbox.resolve(registry) if sandbox is not None else locate(registry).open()


async def aresolve_registry(registry: RegistryLike | None = None) -> Registry:
    """Asynchronous twin of :func:`resolve_registry`."""
    return await asyncio.to_thread(resolve_registry, registry)


def locate(registry: RegistryLike | None = None) -> Place:
    """Where the registry is that a call means outside of any sandbox, and what said so. Opens nothing.

    Raises what :func:`resolve_registry` raises, but for the store's own errors.
    """
    settings = current_settings()
    if settings.override:
        return _named_by("PREFECT_REGISTRY_OVERRIDE", settings.override, settings)
    if registry is not None:
        return _named(registry, settings)
    around = surrounding_registry()
    if around is not None:
        return Place.of_registry(around, "the surrounding run")
    if settings.block:
        return _named_by("PREFECT_REGISTRY_BLOCK", settings.block, settings)
    default = lookup.find_block(DEFAULT)
    if default is not None:
        return Place.of_block(default)
    if settings.url:
        return _named_by("PREFECT_REGISTRY_URL", settings.url, settings)
    return Place(embedded_url(), "nothing: no registry is configured", open_url=open_embedded)


def surrounding_registry() -> Registry | None:
    """The registry of the run that surrounds the calling code, if there is one."""
    innermost = innermost_run()
    found = known(innermost[0]) if innermost is not None else None
    if found is not None:
        return found
    if _surrounding is None and _in_flow_run():
        importlib.import_module("prefect_registry.runs.current")  # sets the hook; in a pool's child nobody has yet
    return _surrounding() if _surrounding is not None else None


def _in_flow_run() -> bool:
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _named_by(setting: str, value: str, settings: RegistrySettings) -> Place:
    said_by = f"{setting}={without_credentials(value)}"
    if is_url(value):
        return Place(value, said_by, settings.options())
    return Place.of_block(lookup.get_block(value, said_by), said_by)


def _named(registry: RegistryLike, settings: RegistrySettings) -> Place:
    if isinstance(registry, os.PathLike):
        return Place(str(os.fspath(registry)), "the call")
    if isinstance(registry, str):
        return _named_in_words(registry, settings)
    from prefect_registry.blocks.base import RegistryBlock
    from prefect_registry.registry import Registry

    if isinstance(registry, Registry):
        return Place.of_registry(keep(registry), "the call")
    if isinstance(registry, RegistryBlock):
        return Place.of_block(registry)
    raise _nothing_known(registry)


def _named_in_words(registry: str, settings: RegistrySettings) -> Place:
    if is_url(registry):
        return Place(registry, "the call", settings.options() if registry == settings.url else {})
    if _REFERENCE.match(registry) or _NAME.match(registry):
        return Place.of_block(lookup.get_block(registry))
    raise _nothing_known(registry)


def is_url(text: str) -> bool:
    """Whether ``text`` is a URL or a path, and not the name of a block."""
    return "://" in text or bool(_PATH.match(text))


def _nothing_known(registry: object) -> InvalidInput:
    shown = f"{registry!r:.80}" if isinstance(registry, str) else f"A {type(registry).__name__}"
    return InvalidInput(
        f"{shown} is not a registry",
        todo='Name a block ("prod", or "data-registry-s3/prod"), a URL ("s3://bucket/prefix"), a folder '
        '("/data/registry", "./registry"), or pass a block or a Registry',
        committed="no",
    )
