"""Which materializer an object has, and which one a record names."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from prefect_registry.errors import ConfigurationError, InvalidInput
from prefect_registry.objects.materializers import families
from prefect_registry.objects.materializers.base import Materializer
from prefect_registry.objects.materializers.builtin import BuiltIn, Context, refused
from prefect_registry.objects.materializers.classes import Classes, dotted
from prefect_registry.objects.materializers.entry_points import EntryPoints
from prefect_registry.objects.materializers.proving import Proving

Given = type[Materializer] | Materializer | str
_PLAIN = frozenset({type(None), bool, int, float, str, list, tuple, set, frozenset, complex})
"""Types for which no library is asked."""

PICKLE = "pickle"


class Materializers:
    """The materializers of one registry: ours, those of installed packages, and those that were registered.

    Safe for threads. Pickled, it keeps what was registered; dotted names stay names, and are imported where it is used.
    """

    defaults: ClassVar[dict[type | str, Given]] = {}
    """What is registered for every registry of this process that is opened from now on."""

    def __init__(self) -> None:
        self.classes = Classes()
        self._lock = threading.RLock()
        self._targets: dict[type | str, Given] = dict(self.defaults)
        self._given: dict[str, Materializer] = {}
        self._installed = EntryPoints()

    def register(self, target: type | str, materializer: Given | None = None) -> None:
        """Say how objects of a class are saved and loaded, or, without ``materializer``, that they may be loaded.

        Args:
            target: A class, or its dotted name (which is imported now if there is no ``materializer``). Objects of its
                subclasses are saved by the same materializer, if it gives back their exact type.
            materializer: A class, an object, or the dotted name of a class, which is imported at first use. Without
                it, records may make objects of the class in the form that its family has: dataclasses, named tuples,
                enums, pydantic models, ``torch`` modules, estimators, ``transformers`` models.

        Raises:
            InvalidInput: The target is no class or dotted name, or the materializer is none, or has the name of one of
                ours.
        """
        problems = [*_target_problems(target), *_given_problems(materializer)]
        if materializer is None and isinstance(target, str):
            target, problems = _class_named(target, problems)
        if problems:
            raise InvalidInput.of("The materializer", problems)
        if materializer is None:
            assert isinstance(target, type)
            self.classes.register(target)
            return
        if isinstance(target, type) and _is_ours(materializer):
            self.classes.register(target)
        with self._lock:
            self._targets[_key(target)] = materializer

    @classmethod
    def register_default(cls, target: type | str, materializer: Given) -> None:
        """Register for every registry that this process opens from now on; what one registers itself comes first.

        Raises:
            InvalidInput: As for :meth:`register`.
        """
        if problems := [*_target_problems(target), *_given_problems(materializer)]:
            raise InvalidInput.of("The materializer", problems)
        cls.defaults = {**cls.defaults, _key(target): materializer}

    def find(self, value: Any, allow_pickle: bool = False, *, materializer: Given | None = None) -> Materializer:
        """What saves an object: ``materializer``, else what was registered for its class or a base, else ours.

        Raises:
            InvalidInput: Nothing saves it so that it comes back equal and of the same type; says why.
            ConfigurationError: The materializer cannot be imported, or a library is missing.
        """
        context = Context(self, allow_pickle)
        if materializer is not None:
            if problems := list(_given_problems(materializer)):
                raise InvalidInput.of("The materializer", problems)
            return self._remember(self._made(materializer, context))
        found = self._registered_for(type(value)) or self._ours(value, context)
        if (why := found.refuses(value)) is None:
            return found
        if allow_pickle:
            return families.implementation(PICKLE)(context)
        raise refused(value, why)

    def named(self, name: str, allow_pickle: bool = False, saved: str = "") -> Materializer:
        """What loads an object whose record has that name.

        Args:
            name: The name of the materializer, from the record.
            allow_pickle: Whether this registry and this call allow pickle.
            saved: The class of the object, from the record, for the error.

        Raises:
            ConfigurationError: No such materializer is registered here, or a library is missing.
        """
        context = Context(self, allow_pickle)
        if name in families.FORMATS:
            return families.implementation(name)(context)
        with self._lock:
            givens, met = list(reversed(self._targets.values())), self._given.get(name)
        for given in givens:
            if isinstance(given, (type, Materializer)) and given.name == name:
                return self._made(given, context)
        problems = []
        for given in (g for g in givens if isinstance(g, str)):
            try:
                made = self._made(given, context)
            except ConfigurationError as error:
                problems.append(str(error))
            else:
                if made.name == name:
                    return made
        if met is not None:
            return met
        installed, broken = self._installed.named(name)
        if installed is not None:
            return self._made(installed, context)
        raise ConfigurationError(
            f"The object{f' of {saved}' if saved else ''} was saved by the materializer {name!r}, not known here",
            why=" ".join(["Materializers are never imported because a record names them.", *problems, *broken]),
            todo=f"Install the package that brings it, or call registry.register_materializer({saved or '<class>'!r}, "
            "<its materializer>), then load again",
            materializer=name,
        )

    # How they are found ----------------------------------------------------------------------------------------------

    def _registered_for(self, cls: type) -> Materializer | None:
        with self._lock:
            targets = dict(self._targets)
        plain = cls in _PLAIN
        if plain and not targets:
            return None
        for base in cls.__mro__:
            given = targets.get(base) or targets.get(dotted(base))
            if given is None and not plain and base is not object:
                given = self._installed.for_class(dotted(base))
            if given is not None:
                made = self._remember(self._made(given, Context(self)))
                return made if base is cls or isinstance(made, BuiltIn) else Proving(made)
        return None

    def _ours(self, value: Any, context: Context) -> Materializer:
        cls = type(value)
        if cls in (dict, OrderedDict) and families.is_state_dict(value):
            return families.implementation("torch")(context)
        if cls in (bytes, bytearray):
            return families.implementation("bytes")(context)
        if isinstance(value, Path):
            return families.implementation("files")(context)
        if cls not in _PLAIN:
            known = families.handled(cls)
            for base in cls.__mro__:
                if base in known:
                    return known[base](context)
        return families.implementation("python")(context)

    def _made(self, given: Given, context: Context) -> Materializer:
        if isinstance(given, str):
            given = _imported(given)
        if isinstance(given, BuiltIn):
            return given.bound(context)
        if isinstance(given, Materializer):
            return given
        if issubclass(given, BuiltIn):
            return given(context)
        try:
            return given()
        except TypeError as error:
            raise ConfigurationError(
                f"The materializer {dotted(given)} cannot be made",
                why=str(error),
                todo="Register an object instead of the class, if it needs arguments",
            ) from error

    def _remember(self, made: Materializer) -> Materializer:
        """What this process has saved with, it can load with."""
        if not isinstance(made, BuiltIn):
            with self._lock:
                self._given[made.name] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"classes": self.classes, "targets": dict(self._targets)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # a fresh one, to which the registered ones are added
        self.classes, self._targets = state["classes"], dict(state["targets"])


def _is_ours(given: Given) -> bool:
    return isinstance(given, BuiltIn) or (isinstance(given, type) and issubclass(given, BuiltIn))


def _key(target: type | str) -> type | str:
    return target.replace(":", ".") if isinstance(target, str) else target


def _target_problems(target: object) -> Iterator[str]:
    if not isinstance(target, type) and not (isinstance(target, str) and "." in target.strip(".").replace(":", ".")):
        yield f"the target {target!r:.80} must be a class, or its dotted name such as 'acme.mesh.Mesh'"


def _given_problems(given: object) -> Iterator[str]:
    if given is None or (isinstance(given, str) and "." in given.strip(".").replace(":", ".")):
        return
    cls = given if isinstance(given, type) else type(given)
    if not issubclass(cls, Materializer):
        yield f"{given!r:.80} must be a subclass of Materializer, an object of one, or the dotted name of one"
        return
    name = getattr(given, "name", None)
    if not isinstance(name, str) or not name:
        yield f"the class {dotted(cls)} has no 'name' for the records of objects"
    elif name in families.FORMATS and not issubclass(cls, BuiltIn):
        yield f"the name {name!r} is one of ours; prefix yours, as in 'acme.{name}'"


@lru_cache(maxsize=1024)
def _imported(name: str) -> type[Materializer]:
    """The class that a caller of ours, never a record, has named."""
    found = _by_name(name)
    if problems := list(_given_problems(found)):
        raise ConfigurationError(f"The materializer {name!r} cannot be used", why="; ".join(problems))
    assert isinstance(found, type)
    return found


def _class_named(name: str, problems: list[str]) -> tuple[Any, list[str]]:
    if problems:
        return name, problems
    found = _by_name(name)
    return found, [] if isinstance(found, type) else [f"{name!r} is no class"]


def _by_name(name: str) -> Any:
    segments = name.replace(":", ".").split(".")
    last: Exception | None = None
    for n in range(len(segments) - 1, 0, -1):
        module = ".".join(segments[:n])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            last = last or error
            if error.name != module and not module.startswith(f"{error.name}."):
                break
            continue
        except Exception as error:
            last = error
            break
        try:
            for attribute in segments[n:]:
                found = getattr(found, attribute)
        except AttributeError as error:
            last = error
            break
        return found
    raise ConfigurationError(
        f"{name!r} cannot be imported",
        why=f"{type(last).__name__}: {last}",
        todo="Correct the dotted name that was given to register_materializer, or install the package",
    ) from last
