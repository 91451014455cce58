"""From the name of a block to the block, in one request to Prefect's API, remembered for a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prefect_registry.errors import ConfigurationError
from prefect_registry.settings import current_settings

if TYPE_CHECKING:
    from prefect_registry.blocks.base import RegistryBlock
    from prefect_registry.blocks.documents import BlockDocument

MOST_REMEMBERED = 256
ABSENT_SECONDS = 5.0
"""How long it is remembered that there is no block of a name: somebody may be creating it just now."""

_Key = tuple[Any, ...]
_remembered: OrderedDict[_Key, tuple[float, list[BlockDocument]]] = OrderedDict()
_lock = threading.Lock()


def registry_types() -> dict[str, type[RegistryBlock]]:
    """Our block types by slug, and those that this process derived from them."""
    import prefect_registry.blocks  # noqa: F401 - imports every type
    from prefect_registry.blocks.base import RegistryBlock

    return {cls.get_block_type_slug(): cls for cls in _derived(RegistryBlock)}  # type: ignore[type-abstract]


def _derived(cls: type[RegistryBlock]) -> Iterator[type[RegistryBlock]]:
    for derived in cls.__subclasses__():
        yield derived
        yield from _derived(derived)


def get_block(name: str, said_by: str = "") -> RegistryBlock:
    """The registry block that ``name`` or ``"type/name"`` refers to.

    Args:
        name: The reference.
        said_by: Where it comes from, for the error, if not from the call.

    Raises:
        ConfigurationError: There is none, or there are several, or its settings are wrong, or Prefect's API cannot be
            asked.
    """
    block = find_block(name)
    if block is not None:
        return block
    slug, _, wanted = name.rpartition("/")
    raise ConfigurationError(
        f"There is no registry block {name!r}" + (f" ({said_by})" if said_by else ""),
        why=f"Prefect knows no block {wanted!r} of type {slug or ', '.join(sorted(registry_types()))} here",
        todo="Run `prefect-registry init`, or create it in the Prefect UI (a folder is written ./name or /path)",
        block=name,
    )


def find_block(name: str) -> RegistryBlock | None:
    """Like :func:`get_block`, and None if there is none."""
    types = registry_types()
    slug, _, wanted = name.rpartition("/")
    if slug and slug not in types:
        raise ConfigurationError(
            f"{name!r} is not the reference of a registry block",
            why=f"{slug!r} is none of the types {', '.join(sorted(types))}",
            todo="Correct the type, or write ./ in front of the path of a folder",
            block=name,
        )
    documents = _looked_up(wanted, frozenset([slug] if slug else types))
    if len(documents) > 1:
        references = [document.reference for document in documents]
        raise ConfigurationError(
            f"{len(documents)} registry blocks are named {wanted!r}: {', '.join(references)}",
            why="The name alone does not tell which is meant",
            todo=f"Write the type too, as in {references[0]!r}, or rename one of them",
            blocks=references,
        )
    return types[documents[0].slug].of_document(documents[0]) if documents else None


def forget() -> None:
    """Look every block up again from now on."""
    with _lock:
        _remembered.clear()


def _looked_up(name: str, slugs: frozenset[str]) -> list[BlockDocument]:
    from prefect_registry.blocks.documents import find  # here, for a run on a folder or a URL needs no blocks

    key = (name, slugs, *_context())
    with _lock:
        until, documents = _remembered.get(key, (0.0, []))
    if time.monotonic() < until:
        return documents
    documents = find(name, slugs)
    seconds = current_settings().lookup_seconds
    with _lock:
        _remembered[key] = (time.monotonic() + (seconds if documents else min(seconds, ABSENT_SECONDS)), documents)
        _remembered.move_to_end(key)
        while len(_remembered) > MOST_REMEMBERED:
            _remembered.popitem(last=False)
    return documents


def _context() -> tuple[Any, ...]:
    """What a look-up is good for: one server, and one flow run, so that the next one sees an edited block."""
    from prefect.context import FlowRunContext
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    run = FlowRunContext.get()
    flow_run = run.flow_run.id if run is not None and run.flow_run is not None else None
    return settings.api.url, str(settings.home), flow_run
