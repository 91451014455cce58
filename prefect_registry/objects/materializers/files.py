"""Files and folders of this disk: each file a part of its own, read where it lies."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prefect_registry.errors import InvalidInput
from prefect_registry.names import clashes, path_problems
from prefect_registry.objects.materializers.builtin import BuiltIn, damaged, fact, lossy, refused
from prefect_registry.objects.materializers.loading_files import LazyFolder, placed
from prefect_registry.objects.payload import Part, Payload, StoredPayload

MOST_FACTS_BYTES = 60 * 1024
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class FilesMaterializer(BuiltIn):
    """A ``Path``: what the file or folder there holds, its name, and who may run it.

    Empty folders are kept. Links are not followed: they would say something else on another machine.
    """

    name = "files"

    def refuses(self, value: Any) -> str | None:
        """Paths of somebody else's, which may lead elsewhere than to this disk."""
        return lossy(value, (type(Path()),), "pass pathlib.Path(value)")

    def save(self, value: Path) -> Payload:
        """Each file as a part, in no temporary copy.

        Raises:
            InvalidInput: It is not there, or something in it cannot be kept; lists everything.
        """
        try:
            top = os.lstat(value)
        except OSError as error:
            raise refused(
                value, f"{value} cannot be read: {error.strerror}", "Pass the path of a file or folder"
            ) from error
        if stat.S_ISDIR(top.st_mode):
            return _folder(value)
        found = _Found()
        found.look(str(value), value.name, top)
        found.check(value)
        runs = {"executable": True} if top.st_mode & stat.S_IXUSR else {}
        return Payload([Part(value.name, value)], {"kind": "file", **runs}, changes=found.changes)

    def load(self, payload: StoredPayload) -> Path | LazyFolder:
        """The path of the file or folder in ``output_dir``, or in a temporary folder until the process ends.

        A folder that is loaded lazily comes as a :class:`~.loading_files.LazyFolder`.

        Raises:
            InvalidInput: Something of that name is there already.
        """
        init = payload.init
        if fact(payload, self.name, "kind", str) == "file":
            paths = payload.paths()
            if len(paths) != 1:
                raise damaged(self.name, f"It is one file, and has {len(paths)}")
            (name,) = paths
            return placed(payload, name, [name] if init.get("executable") else [], [], folder=False)
        name = fact(payload, self.name, "name", str)
        if payload.lazy:
            return LazyFolder(payload, name)
        runs = payload.paths() if init.get("executable") is True else list(init.get("executable", ()))
        if "plain" in init:
            runs = sorted(set(payload.paths()) - set(init["plain"]))
        return placed(payload, name, runs, list(init.get("empty", ())), folder=True)


def _folder(folder: Path) -> Payload:
    found = _Found()
    found.walk(str(folder), "")
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    found.problems.extend(path_problems(name) if name else [f"{folder} has no name"])
    found.check(folder)
    parts = [Part(path, Path(seen.full)) for path, seen in found.files.items()]
    return Payload(parts, _facts(folder, name, found), changes=found.changes)


def _facts(folder: Path, name: str, found: _Found) -> dict[str, Any]:
    runs = [path for path, seen in found.files.items() if seen.executable]
    plain = [path for path, seen in found.files.items() if not seen.executable]
    facts: dict[str, Any] = {"kind": "folder", "name": name}
    if runs and not plain:
        facts["executable"] = True
    elif runs:
        facts |= {"executable": runs} if len(runs) <= len(plain) else {"plain": plain}
    if found.empty:
        facts["empty"] = found.empty
    if len(json.dumps(facts)) > MOST_FACTS_BYTES:
        raise refused(
            folder,
            f"It has {len(found.empty):,} empty folders, and {len(runs):,} executable files beside {len(plain):,} "
            "others: too many to list in its record",
            "Remove empty folders, give all files the same mode, or save an archive of it",
        )
    return facts


class _Seen(NamedTuple):
    """A file or folder as it was when it was found."""

    full: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    executable: bool

    @classmethod
    def of(cls, full: str, status: os.stat_result) -> _Seen:
        folder = stat.S_ISDIR(status.st_mode)  # the size of a folder says nothing, and its times all
        size = 0 if folder else status.st_size
        runs = not folder and bool(status.st_mode & stat.S_IXUSR)
        return cls(full, size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, runs)


class _Found:
    """What lies in a folder, and everything that is wrong with it."""

    def __init__(self) -> None:
        self.files: dict[str, _Seen] = {}
        self.folders: dict[str, _Seen] = {}
        self.empty: list[str] = []
        self.problems: list[str] = []

    def walk(self, full: str, path: str) -> None:
        """Look at a folder and all below it, in the order of names."""
        pending = [(full, path)]
        while pending:
            full, path = pending.pop()
            try:
                self.folders[path] = _Seen.of(full, os.lstat(full))
                with os.scandir(full) as entries:
                    names = sorted(entry.name for entry in entries)
            except OSError as error:
                self.problems.append(f"{path or full} cannot be read: {error.strerror}")
                continue
            if not names and path:
                self.empty.append(path)
                self.problems.extend(path_problems(path))
            below = [(os.path.join(full, name), f"{path}/{name}" if path else name) for name in names]
            pending.extend(reversed([(f, p) for f, p in below if self._is_folder(f, p)]))

    def _is_folder(self, full: str, path: str) -> bool:
        try:
            status = os.lstat(full)
        except OSError as error:
            self.problems.append(f"{path} cannot be read: {error.strerror}")
            return False
        if stat.S_ISDIR(status.st_mode):
            return True
        self.look(full, path, status)
        return False

    def look(self, full: str, path: str, status: os.stat_result) -> None:
        """Note a file, or what is wrong with it."""
        self.problems.extend(path_problems(path))
        if stat.S_ISLNK(status.st_mode):
            self.problems.append(f"{path} is a link to {os.readlink(full)}")
        elif not stat.S_ISREG(status.st_mode):
            self.problems.append(f"{path} is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}")
        elif not os.access(full, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            self.problems.append(f"{path} cannot be read: Permission denied")
        else:
            self.files[path] = _Seen.of(full, status)

    def check(self, path: Path) -> None:
        """Refuse what cannot be kept."""
        self.problems.extend(clashes([*self.files, *self.empty]))
        if self.problems:
            raise InvalidInput.of(
                f"What {path} holds",
                self.problems,
                "Put the files themselves in place of links, and remove or rename the others",
            )

    def changes(self) -> Iterator[str]:
        """What is different now."""
        for path, seen in _both(self.files, self.folders):
            try:
                now = _Seen.of(seen.full, os.lstat(seen.full))
            except OSError as error:
                yield f"{path or seen.full} cannot be read any more: {error.strerror}"
            else:
                if now != seen:
                    yield f"{path or seen.full} was changed while it was read"


def _both(files: dict[str, _Seen], folders: dict[str, _Seen]) -> Iterable[tuple[str, _Seen]]:
    yield from files.items()
    yield from folders.items()
