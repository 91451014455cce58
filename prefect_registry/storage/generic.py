"""Any other filesystem of fsspec, once it has proved that it creates an object only if it is absent.

Most have not: the default ``pipe_file(mode="create")`` of fsspec looks first and then writes, and some ignore the mode.
So nothing is written before :func:`~prefect_registry.storage.probe.probe` passed, once per process.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeVar, cast

from typing_extensions import override

from prefect_registry.errors import RegistryError, UnsupportedStorage
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
from prefect_registry.storage.secrets import Scrubber, without_credentials
from prefect_registry.storage.transfer import opened, pump, save_stream, verify, write_all

T = TypeVar("T")

THREADS = 8
_MOST_RESCANS = 20
_TIMES = ("mtime", "last_modified", "LastModified", "modified", "updated", "created")
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_MEND = "Use a folder, S3, Google Cloud Storage or Azure, or a filesystem whose pipe_file(mode='create') is atomic"


class GenericStorage(Storage):
    """A folder on a filesystem of fsspec.

    Args:
        url: Where, as fsspec reads it.
        storage_options: What the filesystem needs.
        filesystem: A filesystem that is already open, instead of one made from the URL. Then ``url`` is only shown, and
            ``root`` is the path on it.
        root: The folder on ``filesystem``.
    """

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        filesystem: Any = None,
        root: str = "",
    ) -> None:
        self._full_url, self._options = url, dict(storage_options or {})
        self._url = without_credentials(url).rstrip("/")
        self._scrub = Scrubber({"location": url if "@" in url else "", **self._options})
        self._given, self._given_root = filesystem, root
        self._opened: tuple[int, Any, str] | None = None
        self._lock = threading.Lock()
        self.proved = False

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_opened", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opened=None, _lock=threading.Lock())

    @property
    @override
    def url(self) -> str:
        return self._url

    @override
    def unguarded(self) -> GenericStorage:
        twin = GenericStorage(self._full_url, self._options, filesystem=self._given, root=self._given_root)
        twin.proved = True
        return twin

    @override
    def create(self, key: str, data: bytes) -> None:
        fs, path = self._for_writing(key)
        check_document(data)
        with self._errors(key, creating=True):
            self._make_folder(fs, path)
            fs.pipe_file(path, data, mode="create")

    @override
    def put(self, key: str, data: bytes) -> None:
        fs, path = self._for_writing(key)
        with self._errors(key):
            self._make_folder(fs, path)
            fs.pipe_file(path, data)

    @override
    def get(self, key: str) -> bytes:
        fs, root = self._fresh()
        with self._errors(key):
            return bytes(fs.cat_file(f"{root}/{check_key(key)}"))

    @override
    def open(self, key: str) -> BinaryIO:
        fs, root = self._fresh()
        with self._errors(key):
            return cast(BinaryIO, fs.open(f"{root}/{check_key(key)}", "rb"))

    @override
    def upload(self, files: Sequence[Upload], progress: Progress | None = None) -> builtins.list[Stored]:
        return self.concurrently([functools.partial(self._upload_one, file, progress) for file in files])

    def _upload_one(self, file: Upload, progress: Progress | None) -> Stored:
        if isinstance(file.source, CopyOf):
            return self._copy(file.source, file.key, progress)
        fs, path = self._for_writing(file.key)
        with self._errors(file.key), opened(file.source) as source:
            self._make_folder(fs, path)
            with fs.open(path, "wb") as target:
                size, sha256 = pump(source, write_all(target.write), progress)
        return Stored(file.key, size, sha256)

    def _copy(self, source: CopyOf, key: str, progress: Progress | None) -> Stored:
        """By the filesystem's own copying, if it has any; else through this process."""
        fs, path = self._for_writing(key)
        with self._errors(key):
            self._make_folder(fs, path)
        with self._errors(source.key):
            if self._clone(fs, source.key, path):
                info = self.info(key)
                if info is None:
                    raise failures.not_found(self._url, source.key)
                verify(self._url, source, info.size, None)
                if progress:
                    progress(info.size)
                return Stored(key, source.size, source.sha256)
        with self.open(source.key) as original, self._errors(key):
            with fs.open(path, "wb") as target:
                size, sha256 = pump(original, write_all(target.write), progress)
            verify(self._url, source, size, sha256)
        return Stored(key, size, sha256)

    def _clone(self, fs: Any, key: str, path: str) -> bool:
        """Whether the filesystem could copy an object by itself."""
        _, root = self._filesystem()
        try:
            fs.cp_file(f"{root}/{check_key(key)}", path)
        except NotImplementedError:
            return False
        return True

    @override
    def download(self, files: Sequence[Download], progress: Progress | None = None) -> None:
        self.concurrently([functools.partial(self._download_one, file, progress) for file in files])

    def _download_one(self, file: Download, progress: Progress | None) -> None:
        with self._errors(file.key):
            save_stream(self._url, file, self.open(file.key), progress)

    @override
    def concurrently(self, calls: Sequence[Callable[[], T]]) -> builtins.list[T]:
        return in_parallel(calls, THREADS)

    @override
    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        fs, root = self._fresh()
        with self._errors(check_prefix(prefix)):
            found = self._found(fs, f"{root}/{prefix}".rstrip("/"))
            skip = len(root) + 1
            infos = [self._info(fs, name[skip:], entry) for name, entry in found.items()]
        for info in sorted(infos, key=lambda info: info.key):
            if info.key > start_after and info.key.startswith(prefix):
                yield info

    @staticmethod
    def _found(fs: Any, folder: str) -> dict[str, Any]:
        """What is below ``folder``, read until two readings agree: the first may miss what was added meanwhile."""
        found: dict[str, Any] = fs.find(folder, detail=True)
        for _ in range(_MOST_RESCANS):
            fs.invalidate_cache()
            before, found = found.keys(), fs.find(folder, detail=True)
            if before == found.keys():
                break
        return found

    @override
    def delete_many(self, keys: Iterable[str]) -> None:
        self.concurrently([functools.partial(self._delete, key) for key in keys])

    def _delete(self, key: str) -> None:
        fs, path = self._for_writing(key)
        with self._errors(key), contextlib.suppress(*_MISSING):
            fs.rm_file(path)

    @override
    def info(self, key: str) -> ObjectInfo | None:
        fs, root = self._fresh()
        with self._errors(key):
            try:
                entry = fs.info(f"{root}/{check_key(key)}")
            except _MISSING:
                return None
            return None if entry["type"] == "directory" else self._info(fs, key, entry)

    @override
    def fs(self) -> tuple[object, str]:
        return self._filesystem()

    @override
    def storage_options(self) -> dict[str, object]:
        return dict(self._options)

    def _filesystem(self) -> tuple[Any, str]:
        """This process's filesystem and the path of the root on it."""
        found = self._opened
        if found is None or found[0] != os.getpid():
            with self._lock:
                fs, root = self._open_filesystem()
                refuse(fs, self._url)
                found = self._opened = (os.getpid(), fs, root.rstrip("/"))
        return found[1], found[2]

    def _open_filesystem(self) -> tuple[Any, str]:
        if self._given is not None:
            return self._given, self._given_root
        from fsspec.core import url_to_fs

        with self._errors(""):
            fs, root = url_to_fs(self._full_url, **self._options, skip_instance_cache=True, use_listings_cache=False)
        return fs, root

    def _fresh(self) -> tuple[Any, str]:
        fs, root = self._filesystem()
        fs.invalidate_cache()
        return fs, root

    def _for_writing(self, key: str) -> tuple[Any, str]:
        if not self.proved:
            self._prove()
        fs, root = self._filesystem()
        return fs, f"{root}/{check_key(key)}"

    def _prove(self) -> None:
        from prefect_registry.storage.probe import probe

        probe(self).raise_unless_ok()
        self.proved = True

    @staticmethod
    def _make_folder(fs: Any, path: str) -> None:
        # Another writer was first, or it has no folders; if it needs one and has none, the write itself says so.
        with contextlib.suppress(FileExistsError, NotImplementedError):
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _info(self, fs: Any, key: str, entry: Mapping[str, Any]) -> ObjectInfo:
        found = next((entry[name] for name in _TIMES if entry.get(name) is not None), None)
        if found is None:
            found = fs.modified(entry["name"])
        return ObjectInfo(key, int(entry["size"]), _moment(found))

    @contextlib.contextmanager
    def _errors(self, key: str, creating: bool = False) -> Iterator[None]:
        try:
            yield
        except RegistryError:
            raise
        except FileExistsError:
            raise failures.already_exists(self._url, key) from None
        except OSError as error:
            said = self._scrub(f"The filesystem said: {type(error).__name__}: {error}")
            raise failures.of_os_error(self._url, key, error, said) from None
        except (NotImplementedError, TypeError) as error:
            if not creating:
                raise failures.refused(self._url, key, self._scrub(f"The filesystem said: {error!r}")) from None
            raise _unsupported(
                self._url, self._scrub(f"Its pipe_file() does not take mode='create': {error}")
            ) from None
        except (ImportError, ValueError) as error:
            raise failures.refused(self._url, key, self._scrub(f"The filesystem said: {error}")) from None
        except Exception as error:
            said = self._scrub(f"The filesystem said: {type(error).__name__}: {error}")
            raise failures.unavailable(self._url, key, said) from None


def refuse(fs: Any, url: str) -> None:
    """Raise ``UnsupportedStorage`` for filesystems that are known to lie: some could pass a test by chance."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem
    from fsspec.implementations.cached import CachingFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    layer: Any = fs
    while isinstance(layer, AbstractFileSystem):
        kind = type(layer)
        if isinstance(layer, CachingFileSystem):
            raise _unsupported(url, "It answers from a cache, so it cannot know what other writers did")
        if kind.__module__.startswith("obstore"):
            raise _unsupported(url, "obstore's filesystem overwrites although it is told to create")
        if isinstance(layer, MemoryFileSystem) or kind.pipe_file is AbstractFileSystem.pipe_file:
            raise _unsupported(url, f"{kind.__name__}.pipe_file(mode='create') looks first and then writes")
        if isinstance(layer, AsyncFileSystem) and not _takes_mode(kind._pipe_file):
            raise _unsupported(url, f"{kind.__name__}._pipe_file() has no mode 'create'")
        layer = getattr(layer, "fs", None)


def _takes_mode(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "mode" or p.kind is p.VAR_KEYWORD for p in parameters)


def _unsupported(url: str, why: str) -> UnsupportedStorage:
    return UnsupportedStorage(f"{url} cannot hold a registry", why=why, todo=_MEND)


def _moment(value: object) -> datetime:
    """A filesystem's idea of a time, in UTC."""
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, tz=UTC)
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
