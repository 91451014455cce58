"""Block documents as Prefect's API keeps them: found by name among several types, in one request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_registry.errors import ConfigurationError

Problem = tuple[str, str]


@dataclass(frozen=True)
class BlockDocument:
    """A saved block: type, name, and its settings with secrets in the clear (so they are kept out of the repr)."""

    slug: str
    name: str
    data: dict[str, Any] = field(repr=False)

    @property
    def reference(self) -> str:
        """``slug/name``, as people write it."""
        return f"{self.slug}/{self.name}"


def find(name: str, slugs: Iterable[str]) -> list[BlockDocument]:
    """The documents of that name among the types ``slugs``: one request, which never starts an event loop.

    Raises:
        ConfigurationError: Prefect's API cannot be asked.
    """
    from prefect.client.orchestration import get_client

    wanted = {
        "block_documents": {"name": {"any_": [name]}},
        "block_types": {"slug": {"any_": sorted(slugs)}},
        "include_secrets": True,
    }
    try:
        with get_client(sync_client=True) as client:
            answer = client.request("POST", "/block_documents/filter", json=wanted).json()
    except Exception as error:  # no answer, a refusal, no server: all mean that it cannot be asked
        raise _not_asked(name, error) from None
    return [BlockDocument(found["block_type"]["slug"], found["name"], found["data"]) for found in answer]


def read(reference: str) -> BlockDocument:
    """The document ``"slug/name"`` of any type, whether or not its package is installed here.

    Raises:
        ConfigurationError: There is none, or Prefect's API cannot be asked.
    """
    slug, _, name = reference.partition("/")
    found = find(name, [slug])
    if not found:
        raise ConfigurationError(
            f"There is no block {reference}",
            why="Prefect knows no block of that type and name in this workspace",
            todo="Create it in the Prefect UI, or correct the reference (`prefect block ls` shows what there is)",
            block=reference,
        )
    return found[0]


def reference_problems(reference: str, slugs: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with a ``credentials_block`` that may be of the types ``slugs``."""
    slug, _, name = reference.partition("/")
    if reference and (not name or slug not in slugs):
        yield "credentials_block", f"must be {' or '.join(f'{s}/<name>' for s in slugs)}, not {reference!r:.80}"


def _not_asked(name: str, error: Exception) -> ConfigurationError:
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url or "an ephemeral server"
    return ConfigurationError(
        f"Prefect's API ({url}) could not be asked for the block {name!r}",
        why=f"{type(error).__name__}: {error}",
        todo="Start the server, correct PREFECT_API_URL, or name the registry by its URL, which needs no API",
        block=name,
    )
