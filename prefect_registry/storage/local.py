"""A folder on a local disk, or on a shared one that has POSIX links (DESIGN.md 5).

``create`` writes a temporary file, syncs it, links it to its final name (which fails when the name is taken) and
syncs the folder: never torn, never overwriting, and still there after a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import BinaryIO, TypeVar

from typing_extensions import override

from prefect_registry.errors import InvalidInput, OutcomeUnknown, StorageError, StorageUnavailable, UnsupportedStorage
from prefect_registry.storage import failures
from prefect_registry.storage.base import (
    CopyOf,
    Download,
    ObjectInfo,
    Progress,
    Storage,
    Stored,
    Upload,
    check_document,
    check_key,
    check_prefix,
)
from prefect_registry.storage.concurrency import in_parallel
from prefect_registry.storage.folders import Durability, leads_elsewhere, names, walk
from prefect_registry.storage.transfer import clone_file, copy_file, opened, save_stream, verify, write_all
from prefect_registry.storage.workspace import TEMPORARY, workspace_of

T = TypeVar("T")

THREADS = 8
_MOST_TRIES = 20
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_synced_later: ContextVar[tuple[LocalStorage, list[str]] | None] = ContextVar("synced_later", default=None)
"""The storage whose writes of this thread are synced later, and the keys that it has placed."""


class LocalStorage(Storage):
    """Objects as files below a folder, which is made on the first write.

    Args:
        path: The folder. It may be reached through symbolic links; below it they are refused, so that no key ever
            leads out of it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        self._root = os.path.realpath(self._path)
        self._durability = Durability(self._root)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._path,))

    @property
    @override
    def url(self) -> str:
        return self._path

    @property
    @override
    def near(self) -> bool:
        return True

    @override
    def create(self, key: str, data: bytes) -> None:
        check_document(data)
        with self._errors(key):
            temporary, _ = self._write(functools.partial(_fill_with, data))
            try:
                self._place(key, temporary, os.link)
                self._make_durable([key])
            except FileExistsError:
                self._dispel(key)
                raise failures.already_exists(self.url, key) from None
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    @override
    def put(self, key: str, data: bytes) -> None:
        with self._errors(key):
            if not data and self._put_empty(key):
                return
            temporary, _ = self._write(functools.partial(_fill_with, data))
            self._move(key, temporary)
            self._make_durable([key])

    def _put_empty(self, key: str) -> bool:
        """Make an empty file where it belongs: nothing of it can be torn, and its folder's sync makes all of it last.

        False when something is there: that is to be replaced.
        """
        try:
            self._place(key, "", _make_empty)
        except FileExistsError:
            return False
        self._make_durable([key])
        return True

    @override
    def get(self, key: str) -> bytes:
        with self._errors(key), open(self._inside(key), "rb", buffering=0) as file:
            data = file.read()
        self._dispel(key)
        return data

    @override
    def open(self, key: str) -> BinaryIO:
        with self._errors(key), contextlib.ExitStack() as failed:
            file = failed.enter_context(open(self._inside(key), "rb"))
            self._dispel(key)
            failed.pop_all()
            return file

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> list[Stored]:
        """As in :class:`Storage`. Each file is synced by itself; the folders once, when all files are in them."""
        stored = self.concurrently([functools.partial(self._upload_one, file, progress) for file in files])
        self._make_durable([file.key for file in files])
        return stored

    def _upload_one(self, file: Upload, progress: Progress | None) -> Stored:
        if isinstance(file.source, CopyOf):
            return self._copy(file.source, file.key, progress)
        with self._errors(file.key), opened(file.source) as source:
            temporary, (size, sha256) = self._write(functools.partial(_fill_from, source, progress))
            self._move(file.key, temporary)
        return Stored(file.key, size, sha256)

    def _copy(self, source: CopyOf, key: str, progress: Progress | None) -> Stored:
        """A copy with blocks of its own or shared ones, never a second name: nobody can damage both by writing one."""
        with self._errors(source.key):
            original = open(self._inside(source.key), "rb", buffering=0)  # noqa: SIM115 - closed below
        check = functools.partial(verify, self.url, source)
        with original, self._errors(key):
            temporary, _ = self._write(functools.partial(_fill_as, original, check, progress))
            self._move(key, temporary)
        return Stored(key, source.size, source.sha256)

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        self.concurrently([functools.partial(self._download_one, file, progress) for file in files])

    def _download_one(self, file: Download, progress: Progress | None) -> None:
        save_stream(self.url, file, self.open(file.key), progress)

    @override
    def concurrently(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        return in_parallel(calls, THREADS if len(calls) > 2 else 1)

    @override
    def in_order(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """As in :class:`Storage`. The folders of all that was placed are synced at the end: a filesystem with a journal
        writes it once for all of them, and keeps the order of what was made.
        """
        placed: list[str] = []
        before = _synced_later.set((self, placed))
        try:
            return in_parallel(calls, 1)
        finally:
            _synced_later.reset(before)
            self._make_durable(placed)

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        with self._errors(check_prefix(prefix)):
            for key, status in walk(self._root, prefix, start_after):
                yield ObjectInfo(key, status.st_size, _utc(status))

    @override
    def names(self, prefix: str) -> Iterator[str]:
        """As in :class:`Storage`, and reads no other folder; so names with a slash may have nothing below them."""
        with self._errors(check_prefix(prefix)):
            yield from names(self._root, prefix)

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        prefix, folder = "", None  # of the key before: most lie in one folder, which is looked at once
        try:
            for key in keys:
                with self._errors(key), contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    above, _, name = check_key(key).rpartition("/")
                    if folder is None or above != prefix or os.path.islink(os.path.join(folder, name)):
                        if folder is not None:
                            self._durability.prune(folder)
                        prefix, folder = above, os.path.dirname(self._inside(key))
                    os.unlink(os.path.join(folder, name))
        finally:
            if folder is not None:
                self._durability.prune(folder)

    @override
    def info(self, key: str) -> ObjectInfo | None:
        with self._errors(key):
            try:
                status = os.stat(self._inside(key))
            except (FileNotFoundError, NotADirectoryError):
                return None
            if not stat.S_ISREG(status.st_mode):
                return None
            return ObjectInfo(key, status.st_size, _utc(status))

    @override
    def fs(self) -> tuple[object, str]:
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(auto_mkdir=True, skip_instance_cache=True), self._path

    def _inside(self, key: str) -> str:
        """The path of ``key``; an error if a symbolic link below the root would lead elsewhere."""
        path = os.path.join(self._root, check_key(key).replace("/", os.sep))
        if key.startswith(f"{TEMPORARY}/"):
            raise InvalidInput(f"{key!r} lies in the folder of temporary files", committed="no")
        if leads_elsewhere(self._root, key):
            raise StorageError(
                f"{key!r} in {self.url} is reached through a symbolic link",
                why="A link could lead out of the store, so none is followed",
                todo="Replace the link by what it points to, or make the folder itself a link",
                key=key,
            )
        return path

    def _write(self, fill: Callable[[str, int], T]) -> tuple[str, T]:
        """A temporary file with what ``fill`` writes and syncs, given its path and descriptor.

        Returns its path and the result of ``fill``.
        """
        path, descriptor = self._temporary()
        try:
            try:
                result = fill(path, descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        return path, result

    def _temporary(self) -> tuple[str, int]:
        try:
            workspace = workspace_of(self._root)
        except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
            raise StorageError(
                f"The folder {self.url} cannot be made",
                why=f"The operating system said: {error.strerror or error}",
                todo="Check the path: something on its way is a file, or does not take folders",
            ) from error
        while True:
            path = workspace.new_path()
            try:
                return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            except FileNotFoundError:  # somebody tidied up
                workspace = workspace_of(self._root, renew=workspace)

    def _move(self, key: str, temporary: str) -> None:
        try:
            self._place(key, temporary, os.replace)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _place(self, key: str, temporary: str, how: Callable[[str, str], None]) -> None:
        """Give the temporary file its final name, which :meth:`_make_durable` makes last."""
        path = self._inside(key)
        folder = os.path.dirname(path)
        for _ in range(_MOST_TRIES):
            try:
                how(temporary, path)
                break
            except FileNotFoundError:  # no folder yet, or one that was just pruned
                if temporary and not os.path.exists(temporary):
                    raise StorageUnavailable(
                        f"The temporary file for {key!r} in {self.url} vanished",
                        why=f"Somebody emptied {TEMPORARY!r} while it was written",
                        todo="Try again",
                        key=key,
                    ) from None
                self._make(key, folder)
            except (NotADirectoryError, IsADirectoryError) as error:
                raise self._clash(key, error) from error
            except OSError as error:
                if how is os.link and error.errno in _NO_LINKS:
                    raise self._no_links(error) from error
                raise
        else:
            raise StorageUnavailable(f"The folder of {key!r} in {self.url} keeps vanishing", todo="Try again", key=key)

    def _make(self, key: str, folder: str) -> None:
        try:
            self._durability.make(folder)
        except NotADirectoryError as error:
            raise self._clash(key, error) from error

    def _make_durable(self, keys: Sequence[str]) -> None:
        """Sync the folders of what was just placed under ``keys``; at the end of :meth:`in_order`, inside it."""
        later = _synced_later.get()
        if later is not None and later[0] is self:
            later[1].extend(keys)
        else:
            self._sync_folders(keys)

    def _sync_folders(self, keys: Sequence[str]) -> None:
        with self._lasting(keys):
            self._durability.sync([*dict.fromkeys(map(self._folder, keys))])

    def _dispel(self, key: str) -> None:
        """What lies under ``key`` is told only when it lasts: an earlier sync of its folder may have failed."""
        if not Durability.doubts():
            return
        with self._lasting([key]):
            self._durability.dispel(self._folder(key))

    def _folder(self, key: str) -> str:
        return os.path.dirname(os.path.join(self._root, *key.split("/")))

    @contextlib.contextmanager
    def _lasting(self, keys: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"{keys[0]!r} was" if len(keys) == 1 else f"{len(keys):,} files such as {keys[0]!r} were"
            raise OutcomeUnknown(
                f"{what} written to {self.url} but not every folder could be synced",
                why=f"The operating system said: {error.strerror or error}",
                todo="Check the disk, then look whether the object is there",
                committed="unknown",
                key=keys[0],
            ) from error

    def _clash(self, key: str, error: OSError) -> StorageError:
        return StorageError(
            f"{key!r} could not be written to {self.url}",
            why=f"A file stands where a folder is needed, or a folder where a file is: {error.strerror}",
            todo="Use names of which none is a folder of another",
            key=key,
        )

    def _no_links(self, error: OSError) -> UnsupportedStorage:
        return UnsupportedStorage(
            f"{self.url} cannot create a file only if it is absent",
            why=f"Its filesystem has no hard links: {error.strerror}",
            todo="Use a folder on a POSIX filesystem (ext4, xfs, btrfs, apfs, ntfs, nfs), or an object store",
        )

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise failures.of_os_error(self.url, key, error) from error


def _make_empty(_: str, path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666))


def _fill_with(data: bytes, path: str, descriptor: int) -> None:
    _write_to(descriptor)(data)
    os.fsync(descriptor)


def _fill_from(source: BinaryIO, progress: Progress | None, path: str, descriptor: int) -> tuple[int, str]:
    """Copy ``source``, and sync while the rest is hashed. Returns size and sha256."""
    return copy_file(source, _write_to(descriptor), path, progress, lambda: os.fsync(descriptor))


def _fill_as(
    original: BinaryIO, check: Callable[[int, str], None], progress: Progress | None, path: str, descriptor: int
) -> None:
    """Copy the file ``original`` and sync; what ``check`` refuses is not kept."""
    check(*clone_file(original, descriptor, path, progress, lambda: os.fsync(descriptor)))


def _write_to(descriptor: int) -> Callable[[bytes], None]:
    return write_all(functools.partial(os.write, descriptor))


def _utc(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, tz=UTC)
