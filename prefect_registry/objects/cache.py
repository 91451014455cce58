"""A cache of versioned objects' files on this machine, shared by all its processes (reference system 3, 1.6).

Files lie under their sha256, so one that is there is the right one or damaged, never old. A file gets its name when it
is complete and never changes; a reader holds a link or an open descriptor of its own, so that nobody takes it away.
No error of the cache fails a load or a save: the store is asked instead, and the log says so once.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect_registry.catalog.place import cache_folder
from prefect_registry.clock import Clock, SystemClock
from prefect_registry.errors import StorageError
from prefect_registry.locks import ForkSafeLock
from prefect_registry.names import key_of
from prefect_registry.objects.cached import CachedFiles, copied
from prefect_registry.objects.entries import entries, evict, path_in, remove
from prefect_registry.objects.scratch import Scratch
from prefect_registry.objects.turns import turn_at
from prefect_registry.objects.verifying import VerifyLevel, check_stored, download
from prefect_registry.storage.base import Download, Progress, Storage, Stored
from prefect_registry.storage.concurrency import in_parallel
from prefect_registry.storage.transfer import local_errors

log = logging.getLogger("prefect_registry")

LIMIT_BYTES = 10 << 30
_SPARE_BYTES = 16 << 20
"""What a download leaves free on the cache's disk."""
_RECOUNT = 64
"""A process counts the cache anew when it has added this part of the limit: others add to it too."""
_WAIT_SECONDS, _MOST_SECONDS, _SLOW_BYTES = 10.0, 600.0, 20 << 20
"""How long to wait for another process that fetches the same: so long, and a second for each so many bytes."""
_THREADS = 8


@dataclass(frozen=True)
class CacheStats:
    """How many files a cache has, their bytes together, and how many they may be."""

    entries: int
    bytes: int
    limit_bytes: int


def objects_folder() -> Path:
    """Where the caches of all registries lie, and what readers without one hold."""
    return cache_folder() / "objects"


class ObjectCache(CachedFiles):
    """The cache of one registry's files.

    Args:
        storage: The registry's store.
        registry_id: Of the registry: two that have the same URL on different servers share nothing.
        limit_bytes: How large the files together may be. What was not used for longest goes first.
        folder: Where; below the user's cache folder by default.
        clock: Waits for other processes.
    """

    def __init__(
        self,
        storage: Storage,
        registry_id: str,
        *,
        limit_bytes: int = LIMIT_BYTES,
        folder: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(folder if folder is not None else objects_folder() / key_of(registry_id), storage.url)
        self.storage = storage
        self.limit_bytes = limit_bytes
        self._clock = clock or SystemClock()
        self._lock = ForkSafeLock()
        self._counted = limit_bytes  # so that the first addition counts what is there
        self._added = 0

    def __repr__(self) -> str:
        return f"<ObjectCache of {self.storage.url} in {self.folder}, at most {self.limit_bytes / (1 << 30):.4g} GiB>"

    # -- many files, from the store where they are missing ---------------------------------------------------------

    def fetch(
        self,
        wanted: Sequence[Stored],
        verify: str = "integrity",
        progress: Progress | None = None,
        *,
        into: Scratch | None = None,
    ) -> Scratch:
        """Have files on this disk, checked, until the :class:`Scratch` that is returned is released.

        What is missing or damaged comes from the store, several files at once. A process that fetches what another
        one is fetching waits a while for it.

        Args:
            wanted: Key, size and sha256 of each.
            verify: See :class:`~prefect_registry.objects.verifying.VerifyLevel`.
            progress: Told the bytes of each file that was here, and those that come.
            into: Where to hold them; a new one by default.

        Raises:
            NotFound, IntegrityError: The store has lost a file, or has it damaged.
            StorageUnavailable: Something is missing here and the store cannot be reached.
            StorageError: No disk has room for what is missing.
        """
        level = VerifyLevel.of(verify)
        if level is VerifyLevel.FULL:
            check_stored(self.storage, wanted)
        scratch = into or Scratch(self.folder)
        try:
            missing = self._held(wanted, scratch, level, progress)
            if missing and not self._fetched(missing, scratch, level, progress):
                with local_errors(Path(tempfile.gettempdir())):
                    scratch.leave()
                fetch_into(self.storage, missing, scratch, level, progress)
        except BaseException:
            if into is None:
                scratch.release()
            raise
        return scratch

    def _held(
        self, items: Sequence[Stored], scratch: Scratch, level: VerifyLevel, progress: Progress | None
    ) -> list[Stored]:
        """Link what is here into ``scratch``. Returns what is not."""

        def hold(item: Stored) -> bool:
            held = self.hold(item, scratch, level)
            if held and progress:
                progress(item.size)
            return held

        found = in_parallel([partial(hold, item) for item in items], min(_THREADS, os.cpu_count() or 1))
        return [item for item, here in zip(items, found, strict=True) if not here]

    def _fetched(
        self, missing: Sequence[Stored], scratch: Scratch, level: VerifyLevel, progress: Progress | None
    ) -> bool:
        """Fetch files into the cache and ``scratch``. False when the cache cannot take them."""
        size = sum(item.size for item in missing)
        with self.tried():
            if not self._has_room(size):
                return False
            first = Path(path_in(self.folder, min(item.sha256 for item in missing))).parent
            first.mkdir(exist_ok=True)
            seconds = min(_WAIT_SECONDS + size / _SLOW_BYTES, _MOST_SECONDS)
            with turn_at(first / ".lock", seconds, self._clock):
                missing = self._held(missing, scratch, level, progress)  # somebody may have been quicker
                if not missing:
                    return True
                targets = [Download(i.key, scratch.new(i.key), i.size, i.sha256) for i in missing]
                try:
                    right = download(self.storage, targets, level, progress)
                except StorageError as error:
                    for target in targets:
                        target.target.unlink(missing_ok=True)
                    if type(error) is not StorageError:  # the store's: it is told as it is
                        raise
                    raise OSError(str(error)) from error  # of this disk, most probably; if not, the next try shows it
                for item, target in zip(missing, targets, strict=True):
                    scratch.files[item.key] = target.target
                    if right and scratch.shared:
                        with self.tried():
                            self._count(self.place(item, target.target, scratch))
            self.shrink()
            return True
        return False

    def _has_room(self, size: int) -> bool:
        if size > self.limit_bytes:
            return False
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < size + _SPARE_BYTES:
            raise OSError(errno.ENOSPC, f"{free:,} bytes are free on the disk of {self.folder}")
        return True

    # -- adding and removing ---------------------------------------------------------------------------------------

    def add(self, files: Iterable[tuple[Stored, Path | bytes]], *, own: bool = False) -> None:
        """Keep what was just stored, so that the next load finds it. Never fails: what cannot be kept is not.

        Args:
            files: What was stored, and the local file or the bytes that it was.
            own: The local files are nobody else's and never change again: they may be linked instead of copied.
        """
        added = list(files)
        scratch = Scratch(self.folder)
        try:
            if not self._has_room(sum(item.size for item, _ in added)):
                return
            for item, source in added:
                if not os.path.exists(path_in(self.folder, item.sha256)):
                    self._add(item, source, own, scratch)
            self.shrink()
        except (OSError, StorageError) as error:
            log.debug("What was saved is not kept in %s: %s", self.folder, error)
        finally:
            scratch.release()

    def _add(self, item: Stored, source: Path | bytes, own: bool, scratch: Scratch) -> None:
        path = scratch.new()
        if not scratch.shared:
            return
        if own and isinstance(source, Path):
            with contextlib.suppress(OSError):
                os.link(source, path)
                self._count(self.place(item, path, scratch))
                return
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb", buffering=0) as file:
            if copied(file, path) == item.sha256:  # else it was changed since it was stored
                self._count(self.place(item, path, scratch))

    def _count(self, added: int) -> None:
        with self._lock:
            self._added += added

    def shrink(self) -> None:
        """Keep to the limit, as far as files are not held. One process does at a time, and nobody waits for it.

        Whoever has added files, and whoever releases some, calls it. It looks only when the limit may be passed.
        """
        with self._lock:
            added = self._added
        if self._counted + added <= self.limit_bytes and added <= self.limit_bytes // _RECOUNT:
            return
        with self.tried(), turn_at(self.folder / ".lock", 0, self._clock) as held:
            if held:
                counted = evict(self.folder, self.limit_bytes)
                with self._lock:
                    self._counted, self._added = counted, self._added - added

    def clear(self, sha256s: Iterable[str] | None = None) -> int:
        """Remove files, all or those of these contents. Who reads one goes on. Returns how many were removed."""
        removed = 0
        for name in [entry.name for entry in entries(self.folder)] if sha256s is None else sha256s:
            with self.tried(), contextlib.suppress(FileNotFoundError):
                path = path_in(self.folder, name)
                if os.path.lexists(path):
                    remove(path)
                    removed += 1
        return removed

    def stats(self) -> CacheStats:
        """What is here now."""
        sizes = [entry.size for entry in entries(self.folder)]
        return CacheStats(len(sizes), sum(sizes), self.limit_bytes)


def fetch_into(
    storage: Storage, items: Sequence[Stored], scratch: Scratch, verify: str, progress: Progress | None = None
) -> None:
    """Fetch what ``scratch`` does not have yet, past any cache. Raises as ``Storage.download`` does."""
    with local_errors(Path(tempfile.gettempdir())):
        todo = [item for item in items if item.key not in scratch.files]
        targets = [Download(item.key, scratch.new(item.key), item.size, item.sha256) for item in todo]
    download(storage, targets, VerifyLevel.of(verify), progress)
    scratch.files.update((target.key, target.target) for target in targets)
