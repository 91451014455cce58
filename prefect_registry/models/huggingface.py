"""Models on the Hugging Face Hub, described without being downloaded (reference system 4, ``register_hf_model``)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prefect_registry.errors import InvalidInput
from prefect_registry.models.exceptions import StoreError
from prefect_registry.models.resources import Properties, PropertyValue
from prefect_registry.storage.secrets import without_credentials

log = logging.getLogger("prefect_registry.models")

UNKNOWN_AUTHOR = "unknown"
_SECONDS = 30.0
_property: TypeAdapter[bool | int | float | str] = TypeAdapter(PropertyValue)


@dataclass(frozen=True)
class HFModel:
    """What is registered of a model on the Hub.

    Attributes:
        uri: Where the Hub serves the file, at the revision that was asked for.
        metadata: ``repo``, ``source_uri``, ``model_origin``, ``model_author``, and those fields of the model card
            that a custom property can hold; a field of the card never replaces one of these four.
        commit: The commit that the revision was then; a branch goes on.
    """

    name: str
    author: str
    uri: str
    metadata: Properties = field(default_factory=dict)
    commit: str | None = None


def describe_hf_model(
    repo: str,
    path: str,
    *,
    git_ref: str = "main",
    author: str | None = None,
    model_name: str | None = None,
    endpoint: str | None = None,
) -> HFModel:
    """What the Hub tells of a file or folder of a model's repository. Nothing is downloaded.

    Args:
        repo: ``owner/name``.
        path: Within the repository.
        git_ref: A branch, a tag or a commit.
        author: The owner of the repository when None; ``unknown``, and a warning in the log, if it has none.
        model_name: The repository when None.
        endpoint: Of the Hub; ``HF_ENDPOINT`` or https://huggingface.co when None.

    Raises:
        StoreError: The package ``huggingface_hub``, the repository, the revision or the path is missing, or the Hub
            does not answer.
        InvalidInput: An argument is empty.
    """
    if problems := [f"{n} is empty" for n, v in (("repo", repo), ("path", path), ("git_ref", git_ref)) if not v]:
        raise InvalidInput.of("The model", problems)
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise StoreError(
            "Package `huggingface_hub` is not installed",
            why=str(error),
            todo="Run pip install 'prefect-registry[huggingface]'",
            committed="no",
        ) from error
    api = hub.HfApi(endpoint=endpoint)
    with _told(repo, git_ref):
        info = api.model_info(repo, revision=git_ref, timeout=_SECONDS)
        listed = [sibling.rfilename for sibling in info.siblings or ()]
        inside = f"{path.rstrip('/')}/"
        found = any(name == path or name.startswith(inside) for name in listed)
        # A listing of very many files may be cut off: only this answer is about the path itself.
        found = found or bool(api.get_paths_info(repo, path, revision=git_ref))
    if not found:
        raise StoreError(
            f"Path {path!r:.200} does not exist in {repo} at {git_ref}",
            why=f"The repository has {len(listed):,} files, such as {', '.join(listed[:3]) or 'none'}",
            todo="Pass the path of a file as the Hub shows it, relative to the repository",
            committed="no",
        )
    known = author or info.author or UNKNOWN_AUTHOR
    if known == UNKNOWN_AUTHOR and not author:
        log.warning("The Hub knows no owner of %s: its author is registered as %r. Pass author=…", repo, known)
    uri = without_credentials(hub.hf_hub_url(repo, path, revision=git_ref, endpoint=api.endpoint))
    own = {"repo": repo, "source_uri": uri, "model_origin": "huggingface_hub", "model_author": known}
    return HFModel(model_name or info.id, known, uri, {**_card(info.card_data), **own}, info.sha)


def _card(card: Any) -> Properties:
    """The fields of a model card that a property can hold; lists and the like are left out."""
    kept: Properties = {}
    for name, value in (card.to_dict() if card is not None else {}).items():
        try:
            kept[str(name)] = _property.validate_python(value)
        except ValidationError:
            continue
    return kept


@contextmanager
def _told(repo: str, git_ref: str) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    access = "For a private or gated repository set HF_TOKEN to a token that may read it"
    try:
        yield
    except GatedRepoError as error:  # a subclass of the next
        raise _failed(f"Repository {repo} may be read only by those whom its owner has let in", error, access) from None
    except RepositoryNotFoundError as error:
        raise _failed(f"Repository {repo} does not exist", error, f"Check the spelling. {access}") from None
    except RevisionNotFoundError as error:
        raise _failed(
            f"Revision {git_ref} does not exist in {repo}", error, "Pass git_ref as the Hub shows it"
        ) from None
    except HFValidationError as error:
        raise _failed(f"Repository {repo!r:.200} cannot exist", error, "Pass it as owner/name") from None
    except Exception as error:  # of the HTTP client, which depends on the version of huggingface_hub
        todo = "Check the network, HF_ENDPOINT and HF_HUB_OFFLINE, and try again"
        raise _failed(f"The Hub gave no answer about {repo}", error, todo) from None


def _failed(what: str, error: Exception, todo: str) -> StoreError:
    said = without_credentials(" ".join(str(error).split()))[:500]
    return StoreError(what, why=f"The Hub's client said: {type(error).__name__}: {said}", todo=todo, committed="no")


__all__ = ["UNKNOWN_AUTHOR", "HFModel", "describe_hf_model"]
