"""From a version to the bytes that make its object again, wherever they lie."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect_registry.errors import IntegrityError
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.objects.cache import LIMIT_BYTES, ObjectCache, objects_folder
from prefect_registry.objects.draft import Draft
from prefect_registry.objects.finding import Found
from prefect_registry.objects.stored import FilesPayload, InlinePayload, payload_of
from prefect_registry.records.datasets import FileEntry
from prefect_registry.records.objects import ObjectValue
from prefect_registry.records.store import RegistryDocument
from prefect_registry.storage.base import Stored


class Reading:
    """Reads the files of versions, of a store that is far away through a cache.

    Args:
        use_cache: Keep fetched files on this machine.
        cache_bytes: How many bytes of them.
    """

    def __init__(self, store: Store, use_cache: bool, cache_bytes: int = LIMIT_BYTES) -> None:
        self._store = store
        self._use_cache = use_cache and "://" in store.storage.url and not store.storage.url.startswith("memory:")
        self._cache_bytes = cache_bytes

    @cached_property
    def cache(self) -> ObjectCache | None:
        """The cache of this registry's files; None for a store on this machine, which needs none."""
        if not self._use_cache:
            return None
        registry_id = self._store.read(paths.REGISTRY, RegistryDocument).registry_id
        return ObjectCache(self._store.storage, registry_id, limit_bytes=self._cache_bytes)

    def payload(self, found: Found, files: Callable[[], Sequence[FileEntry]], **options: Any) -> FilesPayload:
        """The files of a version. ``options`` are those of :class:`FilesPayload`; ``files`` lists those that are not in
        the record.
        """
        options |= {"subject": found.id, "init": found.value.init}
        if not found.value.root:
            return self._inline(found, options)
        listed = {f.path: Stored(found.value.root + f.path, f.size, f.sha256) for f in files()}
        return payload_of(self._store.storage, listed, cache=self.cache, **options)

    def _inline(self, found: Found, options: dict[str, Any]) -> FilesPayload:
        listed = {f.path: Stored(f.path, f.size, f.sha256) for f in found.value.inline}
        try:
            data = {f.path: base64.b64decode(f.data, validate=True) for f in found.value.inline}
        except binascii.Error as error:
            raise IntegrityError(f"The record of {found.id!r:.250} is damaged", why=str(error)) from error
        return InlinePayload(listed, data, root=objects_folder(), **options)

    def keep(self, draft: Draft, value: ObjectValue, files: Sequence[FileEntry]) -> None:
        """Put what was just saved into the cache, so that loading it asks the store for its record alone."""
        if self.cache is None or not value.root:
            return
        listed = {f.path: Stored(value.root + f.path, f.size, f.sha256) for f in files}
        sources = {path: s for path, s in draft.sources.items() if isinstance(s, (bytes, Path))}
        self.cache.add([(listed[path], source) for path, source in sources.items() if path in listed])

    def forget(self, sha256s: Iterable[str]) -> None:
        """Drop some files from the cache."""
        if self.cache is not None:
            self.cache.clear(sha256s)

    def clear(self) -> None:
        """Empty the cache of this registry."""
        if self.cache is not None:
            self.cache.clear()
