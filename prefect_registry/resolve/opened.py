"""One ``Registry`` object per store, settings and process, so that caches and heartbeats are shared."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

MOST_KEPT = 64
"""Beyond this many stores, the one that was not used for longest is opened anew when it is asked for again."""

Key = tuple[int, str, Hashable]

_kept: OrderedDict[Key, Registry] = OrderedDict()
_opening: dict[Key, threading.Lock] = {}
_lock = threading.Lock()


def open_shared(
    url: str, storage_options: Mapping[str, Any] | None = None, keeping: Mapping[str, bool] | None = None
) -> Registry:
    """The registry at ``url``, opened at most once in this process for the same options. ``keeping`` says how it keeps
    objects: ``version_objects``, ``mutable``.

    Raises what :class:`~prefect_registry.registry.Registry` raises. A failure is not remembered.
    """
    from prefect_registry.registry import Registry

    options, kept = dict(storage_options or {}), keeping or {}
    key = (os.getpid(), url, _frozen({**options, "": kept}))
    with _lock:
        gate = _opening.setdefault(key, threading.Lock())
    with gate:
        found = _look_up(key)
        if found is None:
            found = Registry(
                url, storage_options=options, version_objects=kept.get("version_objects"), mutable=kept.get("mutable")
            )
            _keep(key, found)
    return found


def known(url: str) -> Registry | None:
    """The registry of that root that this process opened or was given last, if any."""
    with _lock:
        mine = [registry for key, registry in _kept.items() if key[0] == os.getpid() and registry.url == url]
    return mine[-1] if mine else None


def keep(registry: Registry) -> Registry:
    """Remember a registry that the caller made, so that :func:`known` finds it."""
    _keep((os.getpid(), registry.url, id(registry)), registry)
    return registry


def forget(below: str) -> None:
    """Drop the registries whose root is ``below`` or starts with it."""
    with _lock:
        for key in [key for key, registry in _kept.items() if registry.url.startswith(below)]:
            del _kept[key]
            _opening.pop(key, None)


def _look_up(key: Key) -> Registry | None:
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
        return _kept.get(key)


def _keep(key: Key, registry: Registry) -> None:
    with _lock:
        _kept[key] = registry
        _kept.move_to_end(key)
        while len(_kept) > MOST_KEPT:
            old, _ = _kept.popitem(last=False)
            _opening.pop(old, None)


def _frozen(value: Any) -> Hashable:
    """``value`` as something to compare by. What cannot be compared stands for itself alone."""
    if isinstance(value, Mapping):
        return frozenset((key, _frozen(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(inner) for inner in value)
    # 1, 1.0 and True are equal, but not the same setting.
    return (type(value).__name__, value) if isinstance(value, Hashable) else (type(value).__name__, id(value))


def _forget_locks() -> None:
    """A fork may have copied locks that another thread held."""
    global _lock
    _lock = threading.Lock()
    _opening.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
