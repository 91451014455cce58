"""The files of a cache on disk: ``<first two of the sha256>/<sha256>``, the time of last use being the file's own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prefect_registry.errors import IntegrityError

KEPT = 0.9
"""To which part of the limit a cache that is too large shrinks."""
MOST_ENTRIES = 200_000
_FOLDER = re.compile(r"[0-9a-f]{2}\Z")
_NAME = re.compile(r"[0-9a-f]{64}\Z")


class Entry(NamedTuple):
    """A cached file; sorts by its last use."""

    used_ns: int
    size: int
    name: str


def path_in(folder: str | Path, sha256: str) -> str:
    """Where a file of this content lies."""
    if not _NAME.match(sha256):
        raise IntegrityError(f"{sha256!r:.80} is not a sha256", why="Somebody changed the record that names it")
    return f"{folder}/{sha256[:2]}/{sha256}"  # a string, as this is on the way of every hit


def entries(folder: Path) -> Iterator[Entry]:
    """Every cached file, in no order; none where there is no cache."""
    for above in _names(folder, _FOLDER):
        for name in _names(folder / above, _NAME):
            with contextlib.suppress(OSError):
                status = os.stat(folder / above / name, follow_symlinks=False)
                yield Entry(status.st_mtime_ns, status.st_size, name)


def remove(path: str | Path) -> None:
    """Remove an entry, and a folder that somebody has put in its place."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def evict(folder: Path, limit_bytes: int, most_entries: int = MOST_ENTRIES) -> int:
    """If the files are more than the limits, remove those not used for longest, down to 90 % of them.

    A file that a reader holds a link of is left: removing it would free nothing. Returns how many bytes are left.
    """
    found = list(entries(folder))
    total, count = sum(entry.size for entry in found), len(found)
    if total <= limit_bytes and count <= most_entries:
        return total
    found.sort()
    for entry in found:
        if total <= KEPT * limit_bytes and count <= KEPT * most_entries:
            break
        path = path_in(folder, entry.name)
        with contextlib.suppress(OSError):
            status = os.stat(path, follow_symlinks=False)
            held = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
            if not held and status.st_mtime_ns == entry.used_ns:  # neither held nor used since
                remove(path)
                total, count = total - entry.size, count - 1
    return total


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        return [entry.name for entry in found if pattern.match(entry.name)]
    return []
