"""A registry as the place where Prefect keeps results: ``@flow(result_storage="data-registry-s3/prod")``."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from prefect.filesystems import WritableFileSystem
from typing_extensions import override

from prefect_registry.asynchronous import twin
from prefect_registry.errors import InvalidInput
from prefect_registry.ledger import paths
from prefect_registry.names import key_of, name_problems
from prefect_registry.storage.base import Upload

if TYPE_CHECKING:
    from prefect_registry.registry import Registry


class _Opened(Protocol):
    def get_registry(self) -> Registry: ...


class ResultStorage(WritableFileSystem):
    """What Prefect asks of a block that keeps results. Prefect names them; a name is never a path of the store.

    A result is written whole or not at all, at once, and stays when its flow fails: a retry needs it. What a run
    publishes is saved or written through the run.
    """

    @abstractmethod
    def get_url(self) -> str:
        """The root of the registry."""

    @override
    def read_path(self, /, path: str, **_: Any) -> bytes:  # type: ignore[override]  # Prefect passes _sync=True
        """The content that Prefect has stored under that name. Raises ``NotFound``."""
        return self._registry().storage.get(result_key(path))

    @override
    def write_path(self, /, path: str, content: bytes, **_: Any) -> str:  # type: ignore[override]
        """Store a content under a name that Prefect has chosen; replaces what is there. Returns the name."""
        self._registry().storage.upload([Upload(result_key(path), bytes(content))])
        return path

    aread_path: ClassVar = twin(read_path)
    awrite_path: ClassVar = twin(write_path)

    def _registry(self) -> Registry:
        return cast(_Opened, self).get_registry()


def result_key(path: str) -> str:
    """The key of a result of that name."""
    problems = list(name_problems(path, "the name of a result"))
    if problems:
        raise InvalidInput.of("the result", problems)
    return f"{paths.RESULTS}{key_of(path)}"
