"""The code of a run: the file that it was begun from, in its repository."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_registry.capture.changes import Changes, changes
from prefect_registry.capture.environment import environment
from prefect_registry.capture.repository import Repository, commit_at, is_installed, repository_around, stamp

_PACKAGE = __name__.partition(".")[0]
_LONGEST = 1_000

_remembered: ContextVar[str | None] = ContextVar("prefect_registry_caller", default=None)


@dataclass(frozen=True)
class Capture:
    """What ``begin.json`` holds of the program that began a run.

    ``late`` tells what of ``code`` has become known since: it travels with the decision, if that is made here.
    """

    code: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    worker: Mapping[str, Any] = field(default_factory=dict)
    late: Callable[[], Mapping[str, Any]] | None = None


class Capturing:
    """A capture that has begun: git is being asked while the caller goes on. :meth:`finish` is its end.

    Args:
        file: The file of the code; None when there is none (a notebook, a REPL).
        name: The function in it, as ``qualname``.
    """

    def __init__(self, file: str | None, name: str | None = None) -> None:
        self._file = Path(file) if file is not None else None
        self._name = name
        self._repository = repository_around(str(self._file.parent)) if self._file is not None else None
        self._changes = _asked(self._repository, self._file)

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> Capturing:
        """The capture of a run that calls ``fn``."""
        return cls(source_of(fn), getattr(_plain(fn), "__qualname__", None))

    @classmethod
    def of_caller(cls) -> Capturing:
        """The capture of a run that is begun by the program around this call.

        That is the innermost file on the stack that is neither this package's nor installed, or in a thread of ours
        what :func:`remember_caller` has found; or else the script that this process was started with.
        """
        return cls(_caller())

    def finish(self, worker: Mapping[str, Any] | None = None) -> Capture:
        """What was captured; ``worker`` is what the caller knows of it. Waits for git a few milliseconds at most."""
        installed = environment()  # while git is working
        code = self._code()
        waits = self._changes is not None and code.get("dirty") is None
        return Capture(code, installed, dict(worker or {}), self._late if waits else None)

    def _late(self) -> dict[str, Any]:
        changed = self._changes.answer(0) if self._changes is not None else None
        return {} if changed is None else {"dirty": changed}

    def _code(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._repository is not None:
            found["commit"] = self._repository.commit
            found["dirty"] = self._changes.answer() if self._changes is not None else None
            found["repository"] = self._repository.origin
        if self._file is not None:
            path = self._path()
            found |= {"path": path, "entrypoint": f"{path}:{self._name}" if self._name else path}
        elif self._name:
            found["entrypoint"] = self._name
        return {name: _text(value) if isinstance(value, str) else value for name, value in found.items()}

    def _path(self) -> str:
        assert self._file is not None
        root = self._repository.root if self._repository is not None else None
        return (self._file.relative_to(root) if root is not None else self._file).as_posix()


def remember_caller() -> None:
    """Let this context know the program around this call, for a thread that begins a run in it."""
    _remembered.set(_caller())


def _caller() -> str | None:
    frame = sys._getframe(1)
    while frame is not None:
        name, file = frame.f_globals.get("__name__") or "", frame.f_code.co_filename
        if name.partition(".")[0] != _PACKAGE and _is_own(file):
            return os.path.realpath(file)
        frame = frame.f_back  # type: ignore[assignment]
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    own = os.path.realpath(script) if isinstance(script, str) and _is_own(script) else None
    return _remembered.get() or own


def commit_of(fn: Callable[..., Any]) -> str | None:
    """The commit that is checked out where ``fn`` was defined; None outside a repository, in a notebook, in a REPL."""
    source = source_of(fn)
    return commit_at(str(Path(source).parent)) if source is not None else None


def source_of(fn: Callable[..., Any]) -> str | None:
    """The file that ``fn`` was defined in, if there is such a file."""
    code = getattr(_plain(fn), "__code__", None)
    file = os.path.realpath(code.co_filename) if code is not None else ""
    return file if os.path.isfile(file) else None


def _plain(fn: Any) -> Any:
    """The function itself, without decorators around it."""
    fn = inspect.unwrap(fn)
    while isinstance(fn, functools.partial):
        fn = inspect.unwrap(fn.func)
    return fn


@functools.lru_cache(maxsize=1024)
def _is_own(file: str) -> bool:
    return os.path.isfile(file) and not is_installed(os.path.realpath(file))


def _asked(repository: Repository | None, file: Path | None) -> Changes | None:
    if repository is None or repository.commit is None or file is None:
        return None
    return changes(repository.root, repository.commit, file, (stamp(repository.index), stamp(file)))


def _text(value: str) -> str:
    """As it can be stored: file names need not be Unicode."""
    return value.encode("utf-8", "backslashreplace").decode()[:_LONGEST]
