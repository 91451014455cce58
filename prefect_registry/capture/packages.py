"""Which packages are installed, and in which versions, by the names of their metadata folders.

The standards put both into the name (PEP 376, PEP 427): reading a folder's names is enough, where
``importlib.metadata`` opens a file for each package. Only old ``setup.py develop`` installs have no version there.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping

MOST_PACKAGES = 2_000
MOST_ENTRIES = 20_000
"""How much of one folder of ``sys.path`` is looked at: a script may lie among millions of data files."""

_LONGEST_VERSION = 100
_SUFFIXES = (".dist-info", ".egg-info")
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][\w.]*(?:-[A-Za-z_][\w.]*)*)-(?P<version>[\w.+!]+)(?:-py\d.*)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_VERSION = re.compile(r"[\w.+!-]*", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")

_folders: dict[str, tuple[int, Mapping[str, str]]] = {}
_merged: tuple[tuple[tuple[str, int], ...], Mapping[str, str]] = ((), {})


def installed_packages() -> Mapping[str, str]:
    """Versions by name, normalised as in PEP 503; of a name that is installed twice, what an import would find.

    Two versions in one folder, which an interrupted upgrade leaves behind, are both told: ``"1.0 or 1.1"``. Looked up
    anew when a folder of ``sys.path`` has changed.
    """
    global _merged
    seen = tuple(_stamps())
    if seen != _merged[0]:
        found: dict[str, str] = {}
        for folder, stamp in seen:
            for name, version in _of_folder(folder, stamp).items():
                found.setdefault(name, version)
        _merged = (seen, dict(sorted(found.items())[:MOST_PACKAGES]))
    return _merged[1]


def _stamps() -> Iterator[tuple[str, int]]:
    """The folders of ``sys.path`` and when each was changed last."""
    for entry in dict.fromkeys(sys.path):
        try:
            yield entry, os.stat(entry or ".").st_mtime_ns
        except (OSError, TypeError, ValueError):  # not there; no text, which an importer of its own may allow
            continue


def _of_folder(folder: str, stamp: int) -> Mapping[str, str]:
    known = _folders.get(folder)
    if known is not None and known[0] == stamp:
        return known[1]
    found: dict[str, str] = {}
    for entry in sorted(_metadata_in(folder or ".")):
        name, version = _named(entry, folder)
        if name and version and version not in found.get(name, "").split(" or "):
            found[name] = f"{found[name]} or {version}" if name in found else version
    _folders[folder] = (stamp, found)
    return found


def _metadata_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry, _ in zip(entries, range(MOST_ENTRIES), strict=False):
                if entry.name.endswith(_SUFFIXES):
                    yield entry.name
    except OSError:  # a zip archive, or nothing that may be read
        return


def _named(entry: str, folder: str) -> tuple[str, str]:
    """Name and version that a metadata folder stands for; empty for what pip has half removed (``~name-1.0``)."""
    stem = entry.rpartition(".")[0]
    match = _NAMED.fullmatch(stem)
    name, version = (match["name"], match["version"]) if match is not None else (stem, "")
    if _NAME.fullmatch(name) is None:
        return "", ""
    version = version or _written(folder, entry)
    return _SEPARATORS.sub("-", name).lower(), version[:_LONGEST_VERSION]


def _written(folder: str, entry: str) -> str:
    """The version that the metadata itself tells."""
    for name in ("PKG-INFO", "METADATA"):
        try:
            with open(os.path.join(folder or ".", entry, name), encoding="utf-8", errors="replace") as file:
                head = file.read(4096)
        except OSError:
            continue
        told = next((line[8:].strip() for line in head.splitlines() if line.startswith("Version:")), "")
        return told if _VERSION.fullmatch(told) else ""
    return ""
