"""What every payload that is read has in common, and the one whose bytes lie in the record itself."""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from typing_extensions import override

from prefect_registry.errors import IntegrityError, NotFound, RegistryError
from prefect_registry.locks import ForkSafeLock
from prefect_registry.names import path_problems
from prefect_registry.objects.exporting import exported
from prefect_registry.objects.payload import StoredPayload
from prefect_registry.objects.scratch import Scratch
from prefect_registry.objects.verifying import VerifyLevel
from prefect_registry.storage.base import Progress, Stored
from prefect_registry.storage.transfer import digest_of, local_errors

_making = ForkSafeLock()


def nobody_knows() -> RegistryError | None:
    """What became of a version whose file is missing: not known, so it is damaged."""
    return None


class FilesPayload(StoredPayload):
    """What all have in common. Close it, or use it as a context manager: then its local files go.

    Args:
        files: By path, the key in the store, the size and the sha256.
        subject: What it is, for errors (``model@1.0.0``).
        init: JSON facts beside the files.
        verify: See :class:`~prefect_registry.objects.verifying.VerifyLevel`.
        lazy: Whether the reader wants only what it uses: then :meth:`open` reads parts, which nobody can verify.
        gone: Asked when the store does not have a file: reads the record again, and says what became of the version.
            None, when the record says nothing: then the file is missing for no good reason.
        output_dir: Where the caller wants files and folders.
        progress: Told how many bytes came since its last call.
    """

    def __init__(
        self,
        files: Mapping[str, Stored],
        *,
        subject: str,
        init: Mapping[str, Any] | None = None,
        verify: str = "integrity",
        lazy: bool = False,
        gone: Callable[[], RegistryError | None] = nobody_knows,
        output_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.files, self.subject, self.init = files, subject, dict(init or {})
        self.verify, self.lazy = VerifyLevel.of(verify), lazy
        self.output_dir = output_dir
        self._gone, self._progress = gone, progress
        self._lock_made: ForkSafeLock | None = None
        self._scratch: Scratch | None = None

    def __enter__(self) -> FilesPayload:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the local files that were made for this reader. What :meth:`open` gave stays readable."""
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            scratch.release()

    @override
    def paths(self) -> list[str]:
        return sorted(self.files)

    @override
    def size(self, path: str) -> int:
        return self._file(path).size

    @override
    def export(self, folder: Path) -> Path:
        """As in :class:`StoredPayload`. A folder that is there keeps what else it has; files of the same name are
        replaced. When anything fails, it is as it was.
        """
        for path in self.files:
            for problem in path_problems(path):
                raise IntegrityError(f"{self.subject} cannot be written to a folder", why=f"In its record, {problem}")
        with exported(folder, self.paths()) as stage:
            for above in sorted({Path(path).parent for path in self.files}):
                with local_errors(folder):
                    (stage / above).mkdir(parents=True, exist_ok=True)
            with self.told():
                self._write_to(stage)
        return folder

    @abstractmethod
    def _write_to(self, stage: Path) -> None:
        """Write every file, verified, below an empty folder that has their folders."""

    def _file(self, path: str) -> Stored:
        found = self.files.get(path)
        if found is None:
            raise NotFound(
                f"{self.subject} has no file {path!r:.200}",
                why="Its record names other files",
                todo=f"It has {len(self.files):,} files, such as {self.paths()[:3]}",
            )
        return found

    def mine(self, root: Path) -> Scratch:
        """The local files of this reader; those of the parent stay the parent's after a fork. Under the lock."""
        if self._scratch is None or self._scratch.owner != os.getpid():
            self._scratch = Scratch(root)
        return self._scratch

    @property
    def _lock(self) -> ForkSafeLock:
        """Made when it is needed: that costs as much as reading a small file."""
        if self._lock_made is None:
            with _making:
                self._lock_made = self._lock_made or ForkSafeLock()
        return self._lock_made

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors about keys of the store in this block are told of the object's files, and of what became of it."""
        try:
            yield
        except NotFound as error:
            raise self._gone() or self._damaged(self._path_of(error), "it is missing in the store") from error
        except IntegrityError as error:
            if "subject" in error.context:
                raise
            raise self._damaged(self._path_of(error), error.why) from error

    def _path_of(self, error: RegistryError) -> str:
        key = error.context.get("key")
        return next((path for path, item in self.files.items() if item.key == key), "a file")

    def _damaged(self, path: str, why: str) -> IntegrityError:
        return IntegrityError(
            f"{path} of {self.subject} is damaged: {why}",
            why="Somebody changed the store behind the registry's back",
            todo="Restore it from a backup, or save the object again; nothing was changed",
            path=path,
            subject=self.subject,
        )


class InlinePayload(FilesPayload):
    """Files whose bytes lie in the record.

    Args:
        data: The bytes of each of ``files``, whose keys mean nothing.
        root: Below which local files are made.
    """

    def __init__(self, files: Mapping[str, Stored], data: Mapping[str, bytes], *, root: Path, **options: Any) -> None:
        super().__init__(files, **options)
        self._data, self._root = data, root

    @override
    def read(self, path: str) -> bytes:
        item, data = self._file(path), self._data[path]
        if self.verify is not VerifyLevel.NONE and (len(data), digest_of(data)) != (item.size, item.sha256):
            raise self._damaged(path, "its bytes in the record are not those of its sha256")
        return data

    @override
    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    @override
    def local(self, path: str) -> Path:
        data = self.read(path)
        with self._lock:
            files = self.mine(self._root).files
            if path not in files:
                target = self.mine(self._root).new(path)
                with local_errors(target):
                    target.write_bytes(data)
                files[path] = target
            return files[path]

    @override
    def _write_to(self, stage: Path) -> None:
        for path in self.files:
            with local_errors(stage / path):
                (stage / path).write_bytes(self.read(path))
