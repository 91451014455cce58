"""The facade as a mapping of names to objects (reference system 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prefect_registry.asynchronous import iterator_twin, twin
from prefect_registry.errors import InvalidInput, NotFound, VersionConflict, nothing_published
from prefect_registry.objects.batches import BatchResult
from prefect_registry.objects.versions import Wanted
from prefect_registry.registry.objects import RegistryObjects

_MISSING: Any = object()


class RegistryMapping(RegistryObjects):
    """``registry["name"]``, ``registry["name@2.1"]``: saves, loads and deletes objects.

    A registry is no ``collections.abc.Mapping``: it is true when it is empty, and equal only to itself.
    """

    def __getitem__(self, key: str | list[str]) -> Any:
        """The object of that name. Raises ``RegistryObjectNotFound``, which is a ``KeyError``; damage is no such."""
        return self.load(key)

    @nothing_published
    def __setitem__(self, key: str | list[str], value: Any) -> None:
        """Save an object; in a mutable registry over what is there."""
        overwrite = self.parts.objects.settings.fixed().mutable
        saved = self.save(key, value, on_conflict="overwrite" if overwrite else None)
        if isinstance(saved, BatchResult):
            saved.raise_for_errors()

    def __delitem__(self, key: str | list[str]) -> None:
        """Delete a version, or all of an object's; of a list of keys, all that are there.

        Raises ``RegistryObjectNotFound``, which is a ``KeyError``.
        """
        deleted = self.delete(key)
        if isinstance(deleted, BatchResult):
            deleted.raise_for_errors()

    def __contains__(self, key: object) -> bool:
        try:
            wanted = Wanted.of(key)
        except InvalidInput:  # nothing can have that name
            return False
        return self.parts.objects.find(wanted, self._wanted(None)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_objects())

    def __len__(self) -> int:
        return len(self.list_objects())

    def __bool__(self) -> bool:
        return True

    def keys(self) -> list[str]:
        """The names of all objects."""
        return self.list_objects()

    def values(self) -> Iterator[Any]:
        """Every object's latest version, loaded one after the other."""
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every object's name and latest version, loaded one after the other; what is deleted meanwhile is left out."""
        for name in self.list_objects():
            found = self.get(name, _MISSING)
            if found is not _MISSING:
                yield name, found

    def get(self, key: str, default: Any = None) -> Any:
        """The object of that name, or ``default`` when there is none."""
        try:
            return self.load(key)
        except NotFound:
            return default

    @nothing_published
    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Load and delete. Without ``default``, raises ``RegistryObjectNotFound``."""
        try:
            name = self.resolve(key)
        except NotFound:
            if default is _MISSING:
                raise
            return default
        value = self.load(name)
        self.delete(key)
        return value

    @nothing_published
    def setdefault(self, key: str, default: Any = None) -> Any:
        """The object of that name; saved as ``default`` when there is none."""
        found = self.get(key, _MISSING)
        if found is not _MISSING:
            return found
        try:
            self.save(key, default)
        except VersionConflict:  # somebody has saved one meanwhile
            return self.load(key)
        return default

    @nothing_published
    def update(
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] | RegistryObjects = (), /, **objects: Any
    ) -> None:
        """Save every object of a mapping or of pairs; of another registry, copy every version, under its own number.

        Aliases are not copied. What was saved before an error stays.
        """
        if isinstance(other, RegistryObjects):
            for name, versions in other.list_objects_and_versions().items():
                for version in versions:
                    self.download(other, name, version)  # type: ignore[arg-type]
        else:
            for name, value in dict(other).items():
                self[name] = value
        for name, value in objects.items():
            self[name] = value

    @nothing_published
    def clear(self) -> None:
        """Delete every object, by one decision. :meth:`restore` takes it back until retention releases it."""
        self.parts.objects.delete_all(self.list_objects(), self._wanted(None))

    akeys = twin(keys)
    avalues = iterator_twin(values)
    aitems = iterator_twin(items)
    aget = twin(get)
    apop = twin(pop)
    asetdefault = twin(setdefault)
    aupdate = twin(update)
    aclear = twin(clear)
