"""A dataset as readers see it: what it is, its files, and its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from prefect_registry.asynchronous import twin
from prefect_registry.datasets.usage import Usage
from prefect_registry.errors import IntegrityError, InvalidInput, InvalidState, NotFound, RegistryError
from prefect_registry.ledger import paths
from prefect_registry.ledger.store import Store
from prefect_registry.notebook import fields_of, pairs_html
from prefect_registry.records.datasets import DatasetState, FileEntry, Mode, Partition
from prefect_registry.storage.base import Download, Progress

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads

_READABLE = ("READY", "STAGED", "ARCHIVED")


@dataclass(frozen=True)
class Dataset:
    """Files of one ``kind`` made by a run.

    ``state`` is derived from the run's decision when the object was read (DESIGN.md 4). ``rows`` is None when no one
    counted them; ``bytes`` is the size of all files. ``root`` is the URL of the folder; with ``external`` it lies
    outside the registry, which never touches it; then ``replaced`` are the partitions that a table has from newer
    datasets instead.
    """

    id: str
    kind: str
    run_id: str
    state: DatasetState
    mode: Mode
    partition: Partition | None
    root: str
    external: bool
    rows: int | None
    bytes: int
    files: Sequence[FileEntry] = field(repr=False)
    created_at: datetime
    committed_at: datetime | None
    key: str | None = None
    task_run: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    partitioning: Mapping[str, str] = field(default_factory=dict, repr=False)
    replaced: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    store: Store = field(repr=False, compare=False, kw_only=True)
    usage: Usage = field(repr=False, compare=False, kw_only=True)

    @property
    def parquet_root(self) -> str:
        """``root`` by another name; empty while nothing is staged."""
        return "" if self.state == "PENDING" else self.root

    @property
    def prefix(self) -> str:
        """The key of the folder inside the store, with a slash at the end."""
        return paths.dataset_prefix(self.run_id, self.id[-16:])

    def urls(self) -> list[str]:
        """The URL of every file, for Spark, DuckDB and pandas; those of a reference are listed where they lie."""
        self.usage.note([self])
        if self.external:
            from prefect_registry.datasets.referred import referred_urls

            return referred_urls(self)
        return [f"{self.root.rstrip('/')}/{f.path}" for f in self.files]

    # -- whole files ---------------------------------------------------------------------------------------------

    def open(self, path: str) -> BinaryIO:
        """A seekable binary file over one file of the dataset. Not verified: see :meth:`download` for that."""
        self._check_readable()
        entry = self._entry(path)
        self.usage.note([self])
        try:
            return self.store.storage.open(self._key(entry))
        except NotFound as error:
            raise self._damage(entry, "it is missing") from error

    def download(self, path: str, target: str | Path, progress: Progress | None = None) -> Path:
        """Fetch one file, verified by its sha256, to ``target`` (a file's name, or a folder that exists)."""
        self._check_readable()
        entry = self._entry(path)
        where = Path(target)
        where = where / Path(path).name if where.is_dir() else where
        self._download([self._as_download(entry, where)], progress)
        return where

    def download_all(self, folder: str | Path, progress: Progress | None = None) -> list[Path]:
        """Fetch every file, verified, into ``folder``; several at once."""
        self._check_readable()
        self._check_inside()
        targets = [Path(folder) / f.path for f in self.files]
        downloads = [self._as_download(f, t) for f, t in zip(self.files, targets, strict=True)]
        self._download(downloads, progress)
        return targets

    def _download(self, downloads: list[Download], progress: Progress | None) -> None:
        self.usage.note([self])
        try:
            self.store.storage.download(downloads, progress)
        except NotFound as error:
            key = str(error.context.get("key", self.prefix))
            raise self._damage_at(key.removeprefix(self.prefix), "a file is missing") from error

    def _as_download(self, entry: FileEntry, target: Path) -> Download:
        return Download(self._key(entry), target, size=entry.size, sha256=entry.sha256 or None)

    def _entry(self, path: str) -> FileEntry:
        self._check_inside()
        for entry in self.files:
            if entry.path == path:
                return entry
        raise NotFound(
            f"Dataset {self.id} has no file {path!r:.200}",
            todo=f"It has {len(self.files):,} files, such as {[f.path for f in self.files[:3]]}",
        )

    def _key(self, entry: FileEntry) -> str:
        return self.prefix + entry.path

    def _check_inside(self) -> None:
        if self.external:
            raise InvalidInput(
                f"Dataset {self.id} is a reference to {self.root}",
                why="Its files do not lie in this registry",
                todo="Read them from that URL, or as a table",
            )

    def _check_readable(self) -> None:
        if self.state not in _READABLE:
            raise InvalidState(
                f"Dataset {self.id} is {self.state}",
                why="Only READY datasets, and staged ones inside their run, have files to read",
                committed="no" if self.state in ("PENDING", "ROLLED_BACK") else None,
            )

    # -- rows ----------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Read every file and compare size and sha256. Raises ``IntegrityError`` naming the first that differs."""
        self._check_readable()
        if not self.external:
            self.store.together([partial(self._verify, f) for f in self.files] or [lambda: None])

    def _verify(self, entry: FileEntry) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            with self.store.storage.open(self._key(entry)) as file:
                while chunk := file.read(4 << 20):
                    digest.update(chunk)
                    size += len(chunk)
        except NotFound as error:
            raise self._damage(entry, "it is missing") from error
        if size != entry.size or (entry.sha256 and digest.hexdigest() != entry.sha256):
            raise self._damage(entry, f"it has {size:,} bytes that are not the {entry.size:,} that were committed")

    def _damage(self, entry: FileEntry, why: str) -> RegistryError:
        return self._damage_at(entry.path, why)

    def _damage_at(self, path: str, why: str) -> RegistryError:
        """Deleted by retention meanwhile, or corrupt (P8)."""
        return self.usage.deleted(self.id) or IntegrityError(
            f"{path} of dataset {self.id} is damaged: {why}",
            why="Somebody changed the store behind the registry's back, or the run was aborted and its bytes collected",
            todo="Restore it from a backup, or revert the run; nothing was changed",
            dataset_id=self.id,
            path=path,
        )

    def to_table(self, columns: list[str] | None = None, *, verify: bool = True) -> pa.Table:
        """The rows as one pyarrow table. Every file's sha256 is checked first unless ``verify=False``."""
        from prefect_registry.datasets.arrow import read_table

        self.usage.note([self])
        if verify:
            self.verify()
        return read_table([self], columns)

    def dataset(self) -> pads.Dataset:
        """A lazy pyarrow dataset over the Parquet files, for scans that read only what they use. Not verified."""
        from prefect_registry.datasets.arrow import as_dataset

        self.usage.note([self])
        return as_dataset([self])

    adownload = twin(download)
    adownload_all = twin(download_all)
    averify = twin(verify)
    ato_table = twin(to_table)

    def _repr_html_(self) -> str:
        return pairs_html({**fields_of(self), "files": len(self.files)}, "Dataset")
