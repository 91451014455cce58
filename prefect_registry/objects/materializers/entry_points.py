"""Materializers that installed packages bring: the entry points of the group ``prefect_registry.materializers``.

An entry point is named after the class that it is for, ``acme.mesh.Mesh = acme.registry:MeshMaterializer``, so that
none is imported before an object of its class, or a record that nothing else knows, is met.
"""

from __future__ import annotations

import functools
import sys
from importlib import metadata

from prefect_registry.errors import ConfigurationError
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.families import FORMATS

GROUP = "prefect_registry.materializers"


class EntryPoints:
    """The entry points of one process, looked up once and imported one by one. Safe for threads."""

    def for_class(self, name: str) -> type[Materializer] | None:
        """The materializer for a class, by its dotted name.

        Raises:
            ConfigurationError: It is broken; names the distribution that brings it.
        """
        point = self._points().get(name)
        return None if point is None else _loaded(point)

    def named(self, name: str) -> tuple[type[Materializer] | None, list[str]]:
        """The materializer that has that name in records, and what is wrong with those that cannot be imported."""
        broken = []
        for point in self._points().values():
            try:
                found = _loaded(point)
            except ConfigurationError as error:
                broken.append(str(error))
            else:
                if found.name == name:
                    return found, broken
        return None, broken

    def _points(self) -> dict[str, metadata.EntryPoint]:
        return _installed(tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> dict[str, metadata.EntryPoint]:
    """The entry points of what is installed on a path: looking takes tens of milliseconds."""
    return {p.name.replace(":", "."): p for p in metadata.entry_points(group=GROUP)}


def _loaded(point: metadata.EntryPoint) -> type[Materializer]:
    try:
        found = point.load()
        if not (isinstance(found, type) and issubclass(found, Materializer)):
            raise TypeError(f"{point.value} is no subclass of Materializer")
        if found.name in FORMATS:
            raise TypeError(f"its name {found.name!r} is one of prefect-registry's own")
    except Exception as error:
        source = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
        raise ConfigurationError(
            f"The materializer for {point.name}, which {source} brings, cannot be used",
            why=f"{type(error).__name__}: {error}",
            todo=f"Upgrade or uninstall {source}, or register a materializer for {point.name}",
        ) from error
    return found
