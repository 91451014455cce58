"""The git repository that a file lies in, read from its files: git itself need not be installed."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_registry.credentials import without_user_info

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SECTION = re.compile(r'\s*\[\s*(?P<name>[\w.-]+)(?:\s+"(?P<sub>(?:[^"\\]|\\.)*)")?\s*\]')
_SCP_LIKE = re.compile(r"(?:[^/@\s]*@)?(?P<rest>\[?[\w.:-]+\]?:(?!//).*)")
_QUERY = re.compile(r"[?#]")
_STANDARD_LIBRARY = Path(os.__file__).resolve().parent
_INSTALLED = ("site-packages", "dist-packages")
_LONGEST_URL = 1_000


@dataclass(frozen=True)
class Repository:
    """A working tree. ``commit`` is what is checked out in it, ``origin`` where it comes from, without credentials."""

    root: Path
    commit: str | None
    origin: str | None


def commit_at(folder: str) -> str | None:
    """The commit of the repository around ``folder``; None outside of any."""
    found = repository_around(folder)
    return found.commit if found is not None else None


@functools.lru_cache(maxsize=64)
def repository_around(folder: str) -> Repository | None:
    """The repository around a folder. None where there is none, and for installed packages: a virtual environment
    often lies in a repository, and what is in it is not of that repository's commit.
    """
    if is_installed(folder):
        return None
    for place in (Path(folder), *Path(folder).parents):
        entry = place / ".git"
        try:
            if entry.is_dir():
                return _read(place, entry)
            if entry.is_file():  # a worktree or submodule: gitrepository-layout(5)
                named = entry.read_text("utf-8").partition("gitdir:")[2].strip()
                return _read(place, (place / named).resolve())
        except (OSError, UnicodeDecodeError):
            return None
    return None


def is_installed(path: str) -> bool:
    """Whether a file or folder belongs to an installed package, or to Python itself."""
    parts = Path(path).parts
    return any(name in parts for name in _INSTALLED) or Path(path).is_relative_to(_STANDARD_LIBRARY)


def _read(root: Path, git: Path) -> Repository:
    shared = git / "commondir"
    common = (git / shared.read_text("utf-8").strip()).resolve() if shared.is_file() else git
    return Repository(root, _head(git, common), _origin(common / "config"))


# -- what is checked out ---------------------------------------------------------------------------------------------


def _head(git: Path, common: Path) -> str | None:
    head = (git / "HEAD").read_text("utf-8").strip()
    if head.startswith("ref:"):
        head = _reference(git, common, head.partition(":")[2].strip()) or ""
    return head if _COMMIT.fullmatch(head) else None


def _reference(git: Path, common: Path, name: str) -> str | None:
    for base in (git, common):
        if (base / name).is_file():
            return (base / name).read_text("utf-8").strip()
    packed = common / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


# -- where it comes from ---------------------------------------------------------------------------------------------


def _origin(config: Path) -> str | None:
    """The URL of the remote ``origin``, or else of the first remote (git-config(1), "Syntax")."""
    try:
        remotes = dict(reversed(list(_remotes(config.read_text("utf-8")))))  # the first URL of each, as git fetches
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
