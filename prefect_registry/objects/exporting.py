"""Files into a user's folder: all of them, or none, and what was there before stays unless it is replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prefect_registry.errors import InvalidInput
from prefect_registry.ids import random_token
from prefect_registry.storage.transfer import local_errors

_NEW, _OLD = "new", "old"


@contextmanager
def exported(folder: Path, paths: Sequence[str]) -> Iterator[Path]:
    """A folder beside the final one to write ``paths`` into; when the block succeeds they are moved into ``folder``.

    When the block fails, or the moving, ``folder`` is as it was: files that were replaced are back, and it is gone if
    it was not there.

    Raises:
        InvalidInput: Something in ``folder`` is in the way: a folder or a symbolic link where a file's folder goes.
        StorageError: The operating system refused; nothing is left.
    """
    undo: list[Callable[[], object]] = []
    inside = os.path.lexists(folder)
    if inside:
        _check(folder, paths)
    stage = (folder if inside else folder.parent) / f".{random_token()}.part"
    try:
        with local_errors(folder):
            _make(stage.parent, undo)
            undo.append(partial(shutil.rmtree, stage, ignore_errors=True))
            (stage / _NEW).mkdir(parents=True)
        yield stage / _NEW
        with local_errors(folder):
            if inside:
                _merge(stage, folder, paths, undo)
            else:
                os.rename(stage / _NEW, folder)
    except BaseException as error:
        try:
            for step in reversed(undo):
                step()
        except OSError:
            error.add_note(f"Files that were in {folder} before are in {stage / _OLD}, and could not be put back")
        raise
    shutil.rmtree(stage, ignore_errors=True)


def _check(folder: Path, paths: Sequence[str]) -> None:
    """Refuse what would lead out of the folder, or would have to be removed."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", todo="Name another one", committed="no")
    for above in {parent for path in paths for parent in Path(path).parents} - {Path()}:
        if os.path.lexists(folder / above) and ((folder / above).is_symlink() or not (folder / above).is_dir()):
            raise InvalidInput(
                f"{folder / above} is in the way",
                why="A folder is needed there, and it is a file, or a link, which could lead elsewhere",
                todo="Remove it, or name another folder",
                committed="no",
            )
    for path in paths:
        if (folder / path).is_dir() and not (folder / path).is_symlink():
            raise InvalidInput(
                f"{folder / path} is in the way",
                why="It is a folder, and a file of that name is to be written",
                todo="Remove it, or name another folder",
                committed="no",
            )


def _merge(stage: Path, folder: Path, paths: Sequence[str], undo: list[Callable[[], object]]) -> None:
    (stage / _OLD).mkdir()
    for number, path in enumerate(paths):
        target, old = folder / path, stage / _OLD / str(number)
        _make(target.parent, undo)
        if os.path.lexists(target):
            os.rename(target, old)
            undo.append(partial(os.rename, old, target))
        os.rename(stage / _NEW / path, target)
        undo.append(partial(_if_possible, target.unlink))


def _make(folder: Path, undo: list[Callable[[], object]]) -> None:
    """Make a folder and those above it that are missing."""
    if folder.is_dir():
        return
    _make(folder.parent, undo)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        undo.append(partial(_if_possible, folder.rmdir))


def _if_possible(step: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        step()
