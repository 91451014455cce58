"""Fresh registries for tests: whatever registry the code under test names, it gets an empty one of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_registry.names import key_of

if TYPE_CHECKING:
    from prefect_registry.registry import Registry
    from prefect_registry.resolve import RegistryLike

SCHEME = "sandbox:"
ENVIRONMENT = "PREFECT_INTEGRATIONS_REGISTRY_OVERRIDE"
_DEFAULT = "default"


class Sandbox:
    """A folder of stores, one for each registry that is named. All state is in the folder, so that it works from
    several threads and processes.

    Args:
        folder: An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def main(self) -> Registry:
        """The store that calls mean that name no registry."""
        return self._open("main")

    def resolve(self, registry: RegistryLike | None) -> Registry:
        """The sandbox's own store for what a call names. Nothing outside the sandbox is opened or looked up."""
        from prefect_registry.registry import Registry
        from prefect_registry.resolve.order import surrounding_registry

        if registry is None:
            around = surrounding_registry()
            return around if around is not None and self._holds(around) else self.main
        if isinstance(registry, Registry) and self._holds(registry):
            return registry
        name = _name_of(registry)
        return self.main if name == _DEFAULT or self._is_first(name) else self._open(key_of(name))

    def reserve(self, name: str) -> None:
        """Let the main store be that of ``name``."""
        self._is_first(name)

    def _is_first(self, name: str) -> bool:
        note = self.folder / "main.name"
        with tempfile.NamedTemporaryFile("w", dir=self.folder, encoding="utf-8", delete=False) as file:
            file.write(name)
        try:
            os.link(file.name, note)  # whole, or not at all: others read it in the same moment
        except FileExistsError:
            return note.read_text(encoding="utf-8") == name
        finally:
            os.unlink(file.name)
        return True

    def _open(self, key: str) -> Registry:
        from prefect_registry.resolve.opened import open_shared

        return open_shared(str(self.folder / "stores" / key))

    def _holds(self, registry: Registry) -> bool:
        return registry.url.removeprefix("file://").startswith(str(self.folder))


_current: ContextVar[Sandbox | None] = ContextVar("prefect_registry_sandbox", default=None)


def current_sandbox() -> Sandbox | None:
    """The sandbox around the calling code, in this process or in the one that started it; None outside."""
    sandbox = _current.get()
    if sandbox is not None:
        return sandbox
    inherited = os.environ.get(ENVIRONMENT, "")
    return Sandbox(Path(inherited.removeprefix(SCHEME))) if inherited.startswith(SCHEME) else None


@contextmanager
def registry_sandbox(name: str | None = None) -> Iterator[Registry]:
    """Give every registry that is named inside the block a fresh, empty store, deleted at the end.

    It covers names, URLs, blocks and ``Registry`` objects, calls that name none, threads, and processes that are
    started inside the block. No block is looked up and no real store is opened. For tests:

    >>> from prefect_registry.resolve import resolve_registry
    >>> with registry_sandbox() as registry:
    ...     resolve_registry("prod") is registry
    ...     resolve_registry("staging") is registry
    True
    False

    Args:
        name: The registry whose store the block gets. By default the first one that the code under test names.

    Yields:
        The store of calls that name no registry, and of ``name``.
    """
    folder = Path(tempfile.mkdtemp(prefix="registry-sandbox-")).resolve()
    sandbox = Sandbox(folder)
    if name is not None:
        sandbox.reserve(_name_of(name))
    before = os.environ.get(ENVIRONMENT)
    os.environ[ENVIRONMENT] = f"{SCHEME}{folder}"
    token = _current.set(sandbox)
    try:
        yield sandbox.main
    finally:
        _current.reset(token)
        if before is None:
            os.environ.pop(ENVIRONMENT, None)
        else:
            os.environ[ENVIRONMENT] = before
        _forget(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _forget(folder: Path) -> None:
    from prefect_registry.resolve.opened import forget

    forget(str(folder))


def _name_of(registry: RegistryLike) -> str:
    """What tells one registry from another: a block's name without its type, else the URL."""
    from prefect_registry.blocks.base import RegistryBlock
    from prefect_registry.registry import Registry
    from prefect_registry.resolve.order import is_url

    if isinstance(registry, RegistryBlock):
        return registry.document_name or registry.get_url()
    if isinstance(registry, Registry):
        return registry.url
    text = os.fspath(registry)
    return text if is_url(text) else text.rpartition("/")[2]
