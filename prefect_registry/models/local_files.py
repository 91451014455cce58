"""The files of this machine that a path stands for, found and checked before any of them is sent."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from prefect_registry.errors import InvalidInput
from prefect_registry.names import path_problems

log = logging.getLogger("prefect_registry.models")


def files_at(path: Path) -> dict[str, Path]:
    """By its path below ``path``, with slashes, each file of a folder in order; or one file by its name.

    As with ``os.walk``, links to files are followed and links to folders are not, so no link leads in a circle; the log
    names what is left out for that.

    Raises:
        InvalidInput: There is nothing at ``path``, or nothing in it, or something that cannot be read as a file.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise _wrong(path, [f"nothing can be read there: {error.strerror or error}"]) from error
    found = _below(path) if is_folder else {path.absolute().name: path}
    problems = [problem for below, file in found.items() for problem in _problems(below, file)]
    if problems or not found:
        raise _wrong(path, problems or ["there is no file in it"])
    return found


def _below(folder: Path) -> dict[str, Path]:
    found: list[Path] = []
    unread: list[str] = []
    for above, folders, names in os.walk(folder, onerror=lambda e: unread.append(f"{e.filename}: {e.strerror}")):
        links = [str(Path(above, name)) for name in folders if Path(above, name).is_symlink()]
        if links:
            log.warning("Links to folders are not followed, so what is behind them is left out: %s", ", ".join(links))
        found += (Path(above, name) for name in names)
    if unread:
        raise _wrong(folder, [f"a folder cannot be read, {each}" for each in unread])
    return dict(sorted((file.relative_to(folder).as_posix(), file) for file in found))


def _problems(below: str, file: Path) -> list[str]:
    try:
        mode = file.stat().st_mode
    except OSError as error:  # a link to nothing, for example
        return [f"{below!r:.200} cannot be read: {error.strerror or error}"]
    if not stat.S_ISREG(mode):
        return [f"{below!r:.200} is no file, but a device, a socket or a pipe"]
    if not os.access(file, os.R_OK):
        return [f"{below!r:.200} cannot be read: permission denied"]
    return list(path_problems(below))


def _wrong(path: Path, problems: list[str]) -> InvalidInput:
    return InvalidInput.of(f"The path {str(path)!r:.200}", problems, todo="Please ensure path is correct.")
