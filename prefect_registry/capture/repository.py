"""The git repository that a file lies in, read from its files: git itself need not be installed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from prefect_registry.credentials import without_user_info

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SECTION = re.compile(r'\s*\[\s*(?P<name>[\w.-]+)(?:\s+"(?P<sub>(?:[^"\\]|\\.)*)")?\s*\]')
_SCP_LIKE = re.compile(r"(?:[^/@\s]*@)?(?P<rest>\[?[\w.:-]+\]?:(?!//).*)")
_QUERY = re.compile(r"[?#]")
_STANDARD_LIBRARY = Path(os.__file__).resolve().parent
_INSTALLED = ("site-packages", "dist-packages")
_LONGEST_URL = 1_000
_MOST_FOLDERS = 64

Stamp: TypeAlias = "tuple[int, int, int] | None"
"""What tells that a file was changed or replaced. Of a folder only which one it is; None: it is not there."""


@dataclass(frozen=True)
class Repository:
    """A working tree. ``commit`` is what is checked out in it, ``origin`` where it comes from, without credentials;
    ``index`` the file of its index.
    """

    root: Path
    index: Path
    commit: str | None
    origin: str | None


def commit_at(folder: str) -> str | None:
    """The commit of the repository around ``folder``; None outside of any."""
    found = repository_around(folder)
    return found.commit if found is not None else None


_known: dict[str, tuple[Repository | None, dict[str, Stamp]]] = {}


def repository_around(folder: str) -> Repository | None:
    """The repository around a folder. None where there is none, and for installed packages: a virtual environment
    often lies in a repository, and what is in it is not of that repository's commit.

    Its files are read again when one of them has changed: in a notebook people commit and go on.
    """
    known = _known.get(folder)
    if known is None or any(stamp(path) != seen for path, seen in known[1].items()):
        files = _Files()
        known = _found(folder, files), files.seen
        if len(_known) >= _MOST_FOLDERS:
            _known.clear()
        _known[folder] = known
    return known[0]


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """How a file looks from outside; it is compared only."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (0, 0, found.st_ino) if stat.S_ISDIR(found.st_mode) else (found.st_mtime_ns, found.st_size, found.st_ino)


class _Files:
    """Reads files, and remembers how each looked before."""

    def __init__(self) -> None:
        self.seen: dict[str, Stamp] = {}

    def look(self, path: Path) -> Path:
        self.seen.setdefault(str(path), stamp(path))
        return path

    def text(self, path: Path) -> str:
        return self.look(path).read_text("utf-8")


def _found(folder: str, files: _Files) -> Repository | None:
    if is_installed(folder):
        return None
    for place in (Path(folder), *Path(folder).parents):
        entry = files.look(place / ".git")
        try:
            if entry.is_dir():
                return _read(place, entry, files)
            if entry.is_file():  # a worktree or submodule: gitrepository-layout(5)
                named = files.text(entry).partition("gitdir:")[2].strip()
                return _read(place, (place / named).resolve(), files)
        except (OSError, UnicodeDecodeError):
            return None
    return None


def is_installed(path: str) -> bool:
    """Whether a file or folder belongs to an installed package, or to Python itself."""
    parts = Path(path).parts
    return any(name in parts for name in _INSTALLED) or Path(path).is_relative_to(_STANDARD_LIBRARY)


def _read(root: Path, git: Path, files: _Files) -> Repository:
    shared = files.look(git / "commondir")
    common = (git / files.text(shared).strip()).resolve() if shared.is_file() else git
    return Repository(root, git / "index", _head(git, common, files), _origin(common / "config", files))


# -- what is checked out ---------------------------------------------------------------------------------------------


def _head(git: Path, common: Path, files: _Files) -> str | None:
    head = files.text(git / "HEAD").strip()
    if head.startswith("ref:"):
        head = _reference(git, common, head.partition(":")[2].strip(), files) or ""
    return head if _COMMIT.fullmatch(head) else None


def _reference(git: Path, common: Path, name: str, files: _Files) -> str | None:
    for base in (git, common):
        if files.look(base / name).is_file():
            return files.text(base / name).strip()
    packed = files.look(common / "packed-refs")
    lines = files.text(packed).splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


# -- where it comes from ---------------------------------------------------------------------------------------------


def _origin(config: Path, files: _Files) -> str | None:
    """The URL of the remote ``origin``, or else of the first remote (git-config(1), "Syntax")."""
    try:
        remotes = dict(reversed(list(_remotes(files.text(config)))))  # the first URL of each, as git fetches
    except (OSError, UnicodeDecodeError):
        return None
    url = remotes.get("origin") or next(reversed(remotes.values()), None)
    return without_credentials(url) if url is not None else None


def _remotes(text: str) -> Iterator[tuple[str, str]]:
    remote = None
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section is not None:
            remote = section["sub"] if section["name"].lower() == "remote" else None
            line = line[section.end() :]
        name, separator, value = line.partition("=")
        if remote is not None and separator and name.strip().lower() == "url":
            yield remote, value.strip().strip('"')


def without_credentials(url: str) -> str:
    """A remote's URL without user, password, query and fragment; ``host:path`` of the form that scp has too."""
    scheme, separator, rest = without_user_info(url).partition("://")
    if separator:
        return f"{scheme}://{_QUERY.split(rest)[0]}"[:_LONGEST_URL]
    match = _SCP_LIKE.fullmatch(url)
    return (match["rest"] if match is not None else url)[:_LONGEST_URL]
