"""Where a download lies until its rows are staged: what a process that was killed has stored is there for the next one.

A folder for each task of a job, in the user's cache folder. Who works in it holds its lock, which the system lets go
when that process dies; whoever gets the lock then owns what is there. So a folder always has an owner: the process that
holds the lock, or else the task. It goes when the task is done, failed or wiped, and with the next tick on this host
after the job has ended elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_registry.catalog.place import cache_folder
from prefect_registry.ingestion.errors import PASSING
from prefect_registry.ingestion.http.request import Validators
from prefect_registry.locks import lock_file

log = logging.getLogger("prefect_registry")
_LOCK, _STATE, _FILE = "lock", "state.json", "download"
_LONGEST_STATE_BYTES = 64 << 10
_LONGEST_ID_BYTES = 4_000


class Part(BaseModel):
    """The beginning of a file that is stored: where it came from (a URL without its query), its bytes and their sha256,
    how many the whole has, if the server said so, and what tells whether that is still the same file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    received: int
    sha256: str
    total: int | None
    validators: Validators


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    part: Part


class Scratch:
    """One task's folder, while its lock is held; or a folder that nobody else knows, and that is not kept.

    Attributes:
        file: The download.
        keep: Whether the folder stays when the work in it has succeeded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / _FILE
        self.keep = False

    def part(self, source: str) -> Part | None:
        """What is stored of a file; None when there is nothing, of another source, or when that cannot be told."""
        try:
            with open(self.folder / _STATE, "rb") as file:
                state = _State.model_validate_json(file.read(_LONGEST_STATE_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("What is stored of a download is not gone on with: %s cannot be read: %s", _STATE, error)
            return None
        return state.part if state.source == source and state.part.received > 0 else None

    def record(self, source: str, part: Part) -> None:
        """The file has at least these bytes. Best effort: without it the next process starts anew."""
        state, new = self.folder / _STATE, self.folder / f"{_STATE}.new"
        with suppress(OSError):
            new.write_bytes(orjson.dumps(_State(source=source, part=part).model_dump()))
            os.replace(new, state)

    def forget(self) -> None:
        """Nothing is stored: called before the file is cut. Raises ``OSError``."""
        (self.folder / _STATE).unlink(missing_ok=True)


@contextmanager
def scratch_of(registry_id: str, root: str, task: str) -> Iterator[Scratch]:
    """The folder of a task, for this block alone.

    It stays when the block is left by a failure that is expected to pass, or by something that ends the process; else
    it is removed, unless ``keep`` is set; and it is removed when nothing is recorded of what it holds. While somebody
    else holds it, or where there are no locks or no cache folder, it is a temporary folder, which never stays.
    """
    folder = _store_folder(registry_id, root) / _key(task)
    held = _taken(folder, task)
    if held is None:
        with tempfile.TemporaryDirectory(prefix="registry-download-") as private:
            yield Scratch(Path(private))
        return
    scratch = Scratch(folder)
    keep = True
    try:
        yield scratch
        keep = scratch.keep
    except PASSING:
        raise
    except Exception:  # whatever it was, it does not pass: what was fetched is of no use to another attempt
        keep = False
        raise
    finally:
        if keep and (folder / _STATE).exists():
            _clear(folder, {_LOCK, _STATE, _FILE})
            os.close(held)
        else:
            _remove(folder, held)


def drop_scratch(registry_id: str, root: str, task: str) -> None:
    """Remove the folder of a task on this host, unless somebody works in it."""
    _drop(_store_folder(registry_id, root) / _key(task))


def sweep_scratch(registry_id: str, root: str, goes_on: Callable[[str], bool]) -> None:
    """Remove the folders of all tasks that do not go on, and in which nobody works. Best effort.

    Args:
        goes_on: Told the id of a task: whether somebody may still need its download.
    """
    with suppress(OSError), os.scandir(_store_folder(registry_id, root)) as entries:
        for entry in entries:
            with suppress(OSError):
                if not goes_on(_task_of(Path(entry.path))):
                    _drop(Path(entry.path))


def _task_of(folder: Path) -> str:
    """The task whose folder it is; nobody's, if who made it or removed it was killed in between."""
    try:
        return (folder / _LOCK).read_bytes()[:_LONGEST_ID_BYTES].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _store_folder(registry_id: str, root: str) -> Path:
    digest = hashlib.sha256(root.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / "downloads" / f"{registry_id}-{digest}"


def _key(task: str) -> str:
    return hashlib.sha256(task.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _taken(folder: Path, task: str) -> int | None:
    """The lock of a folder, which is made if it is not there; None when it is not to be had."""
    held = None
    try:
        for _ in range(3):  # whoever removes it at this moment leaves a lock file that is no more
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = lock_file(folder / _LOCK, create=True)
            if held is not None:
                os.ftruncate(held, 0)
                os.pwrite(held, task.encode("utf-8", "surrogateescape")[:_LONGEST_ID_BYTES], 0)
                _clear(folder, {_LOCK, _STATE, _FILE})
                return held
    except OSError as error:
        log.info("The download of %s is not kept: %s", task, error)
        if held is not None:
            os.close(held)
    return None


def _clear(folder: Path, but: set[str]) -> None:
    """Remove what is in a folder: unpacked members, and files whose writer was killed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in but:
                continue
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def _drop(folder: Path) -> None:
    with suppress(OSError):
        held = lock_file(folder / _LOCK, create=True)
        if held is not None:
            _remove(folder, held)


def _remove(folder: Path, held: int) -> None:
    """Remove a folder whose lock is held: the lock file last, so that no half of it is ever taken for the whole."""
    try:
        _clear(folder, {_LOCK})
        with suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
    finally:
        os.close(held)
