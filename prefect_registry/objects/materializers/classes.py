"""The classes that this process may make objects of: named in records, and never imported from one."""

from __future__ import annotations

import threading
from typing import Any

from prefect_registry.errors import ConfigurationError, InvalidInput

LOCAL = "<locals>"


def class_key(cls: type) -> str:
    """How records name a class: ``module:qualified name``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def dotted(cls: type) -> str:
    """How people name a class: ``module.qualified name``."""
    return f"{cls.__module__}.{cls.__qualname__}"


class Classes:
    """Classes by the key that records name them with. Safe for threads.

    Those that were registered are kept when this is pickled; those that were only met while saving are not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: dict[str, type] = {}
        self._met: dict[str, type] = {}

    def register(self, cls: type) -> None:
        """Allow that records make objects of ``cls``."""
        with self._lock:
            self._registered[class_key(cls)] = cls

    def meet(self, cls: type) -> str:
        """The key of a class of which an object is saved; it may be loaded in this process from now on.

        Raises:
            InvalidInput: The class is defined inside a function and was not registered: another one may have its key.
        """
        key = class_key(cls)
        with self._lock:
            if key in self._registered:
                if LOCAL not in key:  # a module was loaded again, or a cell of a notebook run again
                    self._registered[key] = cls
                if self._registered[key] is cls:
                    return key
            if LOCAL in key:
                raise InvalidInput(
                    f"An object of {dotted(cls)} cannot be saved",
                    why="The class is defined inside a function, so that no other process could name it",
                    todo="Define it at the top of a module, or call register_materializer with the class, here and "
                    "wherever it is loaded",
                    committed="no",
                )
            self._met[key] = cls
        return key

    def get(self, key: str) -> type:
        """The class that a record names.

        Raises:
            ConfigurationError: This process has not registered it.
        """
        with self._lock:
            found = self._registered.get(key) or self._met.get(key)
        if found is None:
            name = key.rpartition(".")[2].rpartition(":")[2]
            raise ConfigurationError(
                f"The object is, or holds, an object of the class {key!r}, which is not registered here",
                why="Classes are never imported because a record names them",
                todo=f"Import the class and call registry.register_materializer({name}), then load again",
                named=key,
            )
        return found

    def registered(self) -> dict[str, type]:
        """The classes that were registered, by key."""
        with self._lock:
            return dict(self._registered)

    def __getstate__(self) -> dict[str, Any]:
        return {"registered": self.registered()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self._registered, self._met = dict(state["registered"]), {}
