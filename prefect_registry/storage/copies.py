"""Objects of an object store that the store copies by itself, and how it is known that it copied what was meant."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect_registry.storage import failures
from prefect_registry.storage.base import CopyOf, Progress
from prefect_registry.storage.parts import persistent
from prefect_registry.storage.transfer import verify

if TYPE_CHECKING:
    from prefect_registry.storage.remote import RemoteStorage

COPY_SECONDS = 3600.0
_LISTED_FROM = 3
_PAGE = 1000


def copy_inside(storage: RemoteStorage, source_name: str, name: str, source: CopyOf, progress: Progress | None) -> bool:
    """Copy one object. Whether the store's answer shows that the copy has the right size; else :func:`check_sizes`."""
    copy = persistent(storage, storage.copy)
    size, sha256 = storage.run(source.key, copy, source_name, name, source.size, seconds=COPY_SECONDS)
    verify(storage.url, source, size, sha256)
    if progress:
        progress(source.size)
    return size is not None or sha256 is not None


def check_sizes(storage: RemoteStorage, copied: Mapping[str, CopyOf]) -> None:
    """Raise ``IntegrityError`` unless each new key, given with what it is a copy of, has the size of that.

    Many together are looked at in a listing, a thousand in a request; few, and those among other objects, one by one.
    """
    sizes = _listed_sizes(storage, sorted(copied)) if len(copied) >= _LISTED_FROM else {}
    rest = [key for key in copied if key not in sizes]
    infos = storage.concurrently([functools.partial(storage.info, key) for key in rest])
    for key, info in zip(rest, infos, strict=True):
        if info is None:  # somebody deleted it meanwhile
            raise failures.not_found(storage.url, key)
        sizes[key] = info.size
    for key, source in copied.items():
        verify(storage.url, source, sizes[key], None)


def _listed_sizes(storage: RemoteStorage, keys: list[str]) -> dict[str, int]:
    """The sizes of as many of ``keys``, which are sorted, as a few pages of their common folder hold."""
    shared = os.path.commonprefix([keys[0], keys[-1]])  # noqa: RUF071 - it is cut at a slash
    prefix = shared[: shared.rfind("/") + 1]
    wanted, sizes = set(keys), {}
    most = 2 * len(keys) + _PAGE
    for seen, info in enumerate(storage.list(prefix, keys[0][:-1])):
        if info.key > keys[-1] or seen >= most:
            break
        if info.key in wanted:
            sizes[info.key] = info.size
    return sizes
