"""Stored files and folders, put on this disk or read where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from prefect_registry.errors import InvalidInput
from prefect_registry.names import path_problems
from prefect_registry.objects.materializers import temporary
from prefect_registry.objects.payload import StoredPayload


class LazyFolder:
    """A stored folder of which only what is used is read.

    Attributes:
        name: The folder's name.
    """

    def __init__(self, payload: StoredPayload, name: str) -> None:
        self._payload, self.name = payload, name

    def __repr__(self) -> str:
        return f"LazyFolder({self.name!r}, {len(self.paths())} files)"

    def paths(self) -> list[str]:
        """The files, relative to the folder, sorted."""
        return self._payload.paths()

    def size(self, path: str) -> int:
        """How many bytes a file has."""
        return self._payload.size(path)

    def read(self, path: str) -> bytes:
        """A whole file, checked against the manifest."""
        return self._payload.read(path)

    def open(self, path: str) -> BinaryIO:
        """A seekable file, of which parts may be read. Close it."""
        return self._payload.open(path)


def placed(payload: StoredPayload, name: str, executable: Iterable[str], empty: Iterable[str], *, folder: bool) -> Path:
    """Write the files to where the caller wants them, all or nothing, and return the path of that name.

    Raises:
        InvalidInput: Something of that name is there already, or ``output_dir`` is no folder.
    """
    output = payload.output_dir or temporary.until_exit()
    problems = [problem for path in (name, *executable, *empty) for problem in path_problems(path)]
    if problems or "/" in name:
        raise InvalidInput.of("The stored folder", [*problems, f"{name!r} is no name of one file or folder"])
    target = output / name
    if os.path.lexists(target):
        raise InvalidInput(
            f"{target} is there already",
            why="Loading never overwrites files of yours",
            todo="Pass another output_dir, or remove it",
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            f"The output_dir {output} cannot be made",
            why=f"A file is in its place: {error}",
            todo="Pass a folder as output_dir, or one that is not there yet",
        ) from error
    half = Path(tempfile.mkdtemp(dir=output, prefix=".loading-"))
    try:
        content = payload.export(half / name if folder else half)
        content.mkdir(exist_ok=True)
        for path in empty:
            (content / path).mkdir(parents=True, exist_ok=True)
        for path in set(executable) & set(payload.paths()):
            mode = (content / path).stat().st_mode
            (content / path).chmod(mode | (mode & 0o444) >> 2)  # who may read may run
        (half / name).rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target
