"""Folders of a local store: listing them in the order of keys, and making sure that they survive a power cut."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence

from prefect_registry.storage.names import SortedNames
from prefect_registry.storage.workspace import TEMPORARY

_REMEMBERED_FOLDERS = 20_000
_QUIET_SECONDS = 2.0
_MOST_RESCANS = 20
_doubtful: set[str] = set()
"""Folders of this process in which something was placed that may not last, because a sync failed."""


def walk(root: str, prefix: str, start_after: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file below ``root/prefix``, as key and status, ascending by key, greater than ``start_after``.

    Symbolic links and the folder of temporary files are not shown. Inside one folder the listing is a state that
    existed: a file never shows without those that were created before it.
    """
    yield from _walk(_folder(root, prefix), prefix, start_after)


def _walk(folder: str, prefix: str, start_after: str) -> Iterator[tuple[str, os.stat_result]]:
    for name in _entries(folder, hidden="" if prefix else TEMPORARY):
        key = prefix + name
        if name.endswith("/"):
            if start_after < key or start_after.startswith(key):
                yield from _walk(f"{folder}/{name[:-1]}", key, start_after)
        elif key > start_after:
            with contextlib.suppress(FileNotFoundError):
                yield key, os.stat(f"{folder}/{name}", follow_symlinks=False)


def names(root: str, prefix: str) -> Iterator[str]:
    """Names of files and folders in ``root/prefix``, those of folders with a slash, as the folder tells them; none if
    it is missing.
    """
    return _names(_folder(root, prefix), hidden="" if prefix else TEMPORARY)


def _names(folder: str, hidden: str) -> Iterator[str]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            name = entry.name
            if name == hidden or _broken(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield f"{name}/"
            elif entry.is_file(follow_symlinks=False):
                yield name


def _entries(folder: str, hidden: str) -> Iterator[str]:
    """The same in the order of the keys below it, each once, and as a state that existed.

    A folder read while files are added may show the later of two files and not the earlier. So one that changed
    lately is read until two readings agree: that set is what was there between them.
    """
    found = _read(folder, hidden)
    try:
        for _ in range(_MOST_RESCANS):
            try:
                if time.time() - os.stat(folder).st_mtime > _QUIET_SECONDS:
                    break
            except (FileNotFoundError, NotADirectoryError):
                return
            before = found.digest
            found.close()
            found = _read(folder, hidden)
            if before == found.digest:
                break
        yield from found
    finally:
        found.close()


def _folder(root: str, prefix: str) -> str:
    return os.path.join(root, *prefix.split("/")).rstrip(os.sep) if prefix else root


def _read(folder: str, hidden: str) -> SortedNames:
    found = SortedNames()
    try:
        for name in _names(folder, hidden):
            found.add(name)  # "a.b" sorts before "a/c", so a folder sorts as its name with the slash
    except BaseException:
        found.close()
        raise
    return found


def _broken(name: str) -> bool:
    return not name.isascii() and any("\ud800" <= c <= "\udfff" for c in name)


def leads_elsewhere(root: str, key: str) -> bool:
    """Whether a symbolic link stands on the way from ``root`` to ``key``, or is what ``key`` names."""
    path = root
    if os.name == "nt":  # which has other kinds of links, too
        path = os.path.join(root, *key.split("/"))
        return os.path.realpath(path) != path
    for name in key.split("/"):
        path = f"{path}/{name}"
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return True
        except OSError:  # what is not there, or not to be seen, has nothing below it that could be reached
            return False
    return False


class Durability:
    """Which folders below a root this process has made durable in the folder above them.

    A folder counts by its inode, so that one removed and made again is synced again.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, int] = {}

    def make(self, folder: str) -> None:
        """Make ``folder`` and what is missing above it; :meth:`sync` makes them last."""
        missing = [folder]
        while (above := os.path.dirname(missing[-1])) not in self._known and len(above) > len(self._root):
            missing.append(above)
        for each in reversed(missing):
            self._make(each)

    def _make(self, folder: str) -> None:
        try:
            os.mkdir(folder)
        except FileExistsError:
            return
        except FileNotFoundError:  # there is no root yet, or somebody has removed what was known
            self._make(os.path.dirname(folder))
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
        self._known.pop(folder, None)

    def sync(self, folders: Sequence[str]) -> None:
        """Make what was just placed in ``folders`` durable, with every ancestor not yet synced, whoever made it. Raises
        the first error when all have been tried; they are in doubt then, until a later sync of them succeeds.

        One after the other: a filesystem with a journal has written all of them with the first one, and says so to the
        others, which is less work than waking threads.
        """
        try:
            self._sync_all(folders)
        except OSError:
            _doubtful.update(folders)
            raise
        _doubtful.difference_update(folders)

    @staticmethod
    def doubts() -> bool:
        """Whether any folder of this process is in doubt."""
        return bool(_doubtful)

    def dispel(self, folder: str) -> None:
        """Sync ``folder`` once more if what lies there is in doubt. The names of a folder are one state: a sync that
        succeeds makes those last, too, of which an earlier one did not.
        """
        if folder in _doubtful:
            self.sync([folder])

    def _sync_all(self, folders: Sequence[str]) -> None:
        wanted, learned, looked = dict.fromkeys(folders), dict[str, int](), set[str]()
        for folder in folders:
            below = folder
            while below not in looked and (above := os.path.dirname(below)) != below:
                looked.add(below)
                inode = os.stat(below).st_ino
                if self._known.get(below) != inode:
                    wanted[above] = None
                    learned[below] = inode
                elif below == self._root:
                    break
                below = above
        failed: list[OSError] = []
        for each in wanted:
            try:
                self._sync(each)
            except OSError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        if len(self._known) + len(learned) > _REMEMBERED_FOLDERS:
            self._known.clear()
        self._known.update(learned)

    def _sync(self, folder: str) -> None:
        if len(folder) >= len(self._root):
            _sync(folder)
        else:  # above the root we may not be allowed to, and it is rarely new
            with contextlib.suppress(OSError):
                _sync(folder)

    def prune(self, folder: str) -> None:
        """Remove ``folder`` and those above it, below the root, as far as they are empty."""
        with contextlib.suppress(OSError):
            while len(folder) > len(self._root):
                os.rmdir(folder)
                folder = os.path.dirname(folder)


def _sync(folder: str) -> None:
    if os.name == "nt":  # Windows cannot open folders, and NTFS journals its names
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
