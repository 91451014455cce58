"""The handle that a ``with run.dataset(...) as ds`` block works with (DESIGN.md 8)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from prefect_registry.asynchronous import twin
from prefect_registry.datasets.checks import check_rows_argument, tag_problems
from prefect_registry.datasets.manifest import entry, is_member
from prefect_registry.datasets.pending import PendingFile, PendingText
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import AlreadyExists, Conflict, InvalidInput, InvalidState, nothing_published
from prefect_registry.ledger import paths
from prefect_registry.locks import ForkSafeLock
from prefect_registry.names import path_problems
from prefect_registry.records.base import text_of
from prefect_registry.records.datasets import DatasetGeneration, FileEntry
from prefect_registry.storage.base import CopyOf, Progress, Stored, Upload
from prefect_registry.storage.transfer import opened, pump

if TYPE_CHECKING:
    from prefect_registry.datasets.parquet import Shape


class DatasetWriter:
    """A dataset that is being written. Leaving its ``with`` block commits it; an exception rolls it back.

    ``root`` is the URL of its folder: other programs may write there (``fs``, ``storage_options``, ``env()``); what
    they wrote is read and verified at commit.

    ``staged`` is what was committed, None before. With ``key=`` it may be there from the beginning: then what is
    written once more is only compared with it, byte for byte, and nothing of it is touched.
    """

    def __init__(self, datasets: Datasets, begun: DatasetGeneration) -> None:
        self._datasets = datasets
        self._store = datasets.store
        self.id = begun.dataset_id
        self.kind = begun.kind
        self.run_id = begun.run_id
        self.staged: DatasetGeneration | None = begun if begun.step == "staged" else None
        self._was_staged = self.staged is not None
        self._prefix = paths.dataset_prefix(begun.run_id, begun.dataset_id[-16:])
        self._others_write = False
        self._empty_is_meant = False
        self._done = False
        self._pid = os.getpid()
        self._rows: int | None = None
        self._tags: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._parts = itertools.count()
        self._lock = ForkSafeLock()
        self._unclosed: dict[str, int] = {}
        self._compared: dict[str, FileEntry] = {}
        self._unsure: set[str] = set()

    # -- for other programs --------------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The URL of the dataset's folder. Asking for it means that others may write there."""
        self._let_others_write()
        return self.location

    @property
    def location(self) -> str:
        """The same URL, just to look at."""
        return f"{self._store.storage.url}/{self._prefix.rstrip('/')}"

    @property
    def fs(self) -> Any:
        """The fsspec filesystem on which ``root`` lies."""
        self._let_others_write()
        return self._store.storage.fs()[0]

    @property
    def storage_options(self) -> dict[str, Any]:
        """What pandas and polars take as ``storage_options=`` to write to ``root``. May hold secrets."""
        self._let_others_write()
        return dict(self._store.storage.storage_options())

    def env(self) -> dict[str, str]:
        """The environment for a subprocess that writes to the dataset: this process's own, with the folder, the ids
        and the store's credentials by their usual names.
        """
        self._let_others_write()
        folder = {
            "PREFECT_REGISTRY_DATASET_ROOT": self.location,
            "PREFECT_REGISTRY_DATASET_ID": self.id,
            "PREFECT_REGISTRY_RUN_ID": self.run_id,
        }
        return {**os.environ, **_credentials_env(self._store.storage.storage_options()), **folder}

    def _let_others_write(self) -> None:
        if self.staged is not None:
            raise self._too_late("give its folder to another program", "Look at .staged, and skip work that is done")
        if not self._others_write and "://" not in self._store.storage.url:
            Path(self.location).mkdir(parents=True, exist_ok=True)  # a disk has folders only if somebody makes them
        self._others_write = True

    # -- writing -------------------------------------------------------------------------------------------------

    def open(self, path: str, mode: str = "wb", encoding: str = "utf-8", newline: str | None = None) -> IO[Any]:
        """A file to write: ``wb`` or ``w``; ``xb`` or ``x`` if it must be new.

        It is uploaded, and hashed on the way, when it is closed. One that an exception ends is dropped.
        """
        if mode not in ("wb", "xb", "w", "x"):
            raise InvalidInput.of("mode", [f"mode must be 'wb', 'xb', 'w' or 'x', not {mode!r:.20}"])
        key = self._key(path)
        if "x" in mode and path in self._files():
            raise AlreadyExists(f"{path} is in dataset {self.id} already", todo="Choose another name", committed="no")
        raw = PendingFile(self, path, key)
        return raw if "b" in mode else PendingText(raw, encoding=encoding, newline=newline)  # type: ignore[return-value]

    @nothing_published
    def write_table(
        self,
        /,
        table: Any,
        partition_by: str | Sequence[str] | None = None,
        path: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> list[str]:
        """Write a table as Parquet (zstd); returns the paths.

        Args:
            table: A pyarrow table, or a DataFrame of pandas, polars, DuckDB …
            partition_by: Columns whose values become folders (``month=1/``), as Hive does. They come back as they were.
            path: The file's name, which ends in ``.parquet``; ``part-00000.parquet`` and so on by default.
            progress: Called with the number of bytes since its last call.
            options: Passed on to ``pyarrow.parquet.write_table``.
        """
        from prefect_registry.datasets.parquet import as_arrow, encode_partitioned, encode_table

        table = as_arrow(table)
        if path is not None and not str(path).endswith(".parquet"):
            raise InvalidInput.of("path", [f"path {path!r:.80} must end in .parquet"])
        if partition_by is None:
            name = path or self._next_part()
            encoded = [(name, *encode_table(table, **options))]
        else:
            columns = [partition_by] if isinstance(partition_by, str) else list(partition_by)
            encoded, types = encode_partitioned(table, columns, lambda: path or self._next_part(), **options)
            self._note_types(types)
        self._empty_is_meant = self._empty_is_meant or not encoded
        uploads = [Upload(self._key(name), data) for name, data, _ in encoded]
        self._put(uploads, [(name, shape) for name, _, shape in encoded], progress)
        return [name for name, _, _ in encoded]

    @nothing_published
    def upload(self, local_path: str | Path, path: str | None = None, progress: Progress | None = None) -> list[str]:
        """Upload a file, or every member file of a folder, several at once; returns the paths inside the dataset.

        In a folder, links and names that start with ``_`` or ``.`` are passed over.
        """
        pairs = list(_local_files(local_path, path))
        uploads = [Upload(self._key(name), source) for source, name in pairs]
        self._put(uploads, [(name, _shape(source.name, source)) for source, name in pairs], progress)
        return [name for _, name in pairs]

    def set_rows(self, rows: int) -> None:
        """How many rows the dataset has, for files whose rows cannot be counted. Parquet footers must agree."""
        check_rows_argument(rows)
        self._rows = rows

    def set_tags(self, **tags: str) -> None:
        """Labels that are stored with the dataset."""
        problems = tag_problems(tags)
        if problems:
            raise InvalidInput.of("tags", problems)
        self._tags.update(tags)

    # -- the end -------------------------------------------------------------------------------------------------

    @nothing_published
    def commit(self) -> None:
        """Stage what was written. Leaving the ``with`` block does it."""
        if self._done:
            return
        if self._unclosed:
            raise InvalidState(
                f"Dataset {self.id} cannot be committed: {sorted(self._unclosed)[:5]} were opened and never closed",
                why="What is not closed is not stored",
                todo="Close every file, or open it in a 'with' block, before the dataset ends",
                committed="no",
            )
        if self._unsure and not self._others_write:
            raise InvalidState(
                f"Dataset {self.id} cannot be committed: it is not known what {sorted(self._unsure)[:5]} hold",
                why="They were written once, and writing them once more failed on the way",
                todo="Write them again before the dataset ends, or begin another dataset",
                committed="no",
            )
        if not self._was_staged or self._compared:
            self.staged = self._datasets.commit(
                self.id,
                None,
                self._rows,
                ours=None if self._others_write else self._files(),
                tags=self._tags,
                partitioning=self._types,
                empty=self._empty_is_meant,
            )
        self._done = True

    @nothing_published
    def rollback(self, reason: str | None = None) -> None:
        """Drop what was written. An exception in the ``with`` block does it."""
        self._datasets.rollback(self.id, reason)
        self._done = True

    def __enter__(self) -> DatasetWriter:
        self._pid = os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pid != os.getpid():  # a forked child leaves its copy of the block: the dataset is its parent's
            return
        try:
            if error is None:
                self.commit()
                return
        except BaseException as failed:
            self._roll_back_after(failed)
            raise
        self._roll_back_after(error)

    def _roll_back_after(self, error: BaseException) -> None:
        """Drop the dataset because of ``error``, except one that was committed before this block began."""
        theirs = isinstance(error, Conflict) and error.context.get("dataset_id") == self.id
        if self._was_staged or theirs or getattr(error, "committed", None) in ("yes", "unknown"):
            return
        try:
            self.rollback(f"{type(error).__name__}: {text_of(error)}")
        except Exception as second:  # the block's own error is what the caller must see; this one is told with it
            error.add_note(f"Rolling back dataset {self.id} failed too, and its run will not publish it: {second}")

    awrite_table = twin(write_table)
    aupload = twin(upload)
    acommit = twin(commit)
    arollback = twin(rollback)

    def __repr__(self) -> str:
        return f"<DatasetWriter {self.id} of kind {self.kind!r} in {self.location}>"

    # -- inside --------------------------------------------------------------------------------------------------

    def _next_part(self) -> str:
        """A name that no file of this dataset has, also when several threads write."""
        with self._lock:
            written = self._files()
            return next(n for i in self._parts if (n := f"part-{i:05d}.parquet") not in written)

    def _key(self, path: str) -> str:
        if self._done:
            raise self._too_late("write to it", "Write before the block ends, or begin another dataset")
        problems = list(path_problems(path))
        if isinstance(path, str) and not is_member(path):
            problems.append(f"path {path!r:.80}: names that start with '_' or '.' are no members of a dataset")
        if problems:
            raise InvalidInput.of("path", problems)
        return self._prefix + path

    def _too_late(self, doing: str, todo: str) -> InvalidState:
        ended = "committed" if self.staged is not None else "rolled back"
        return InvalidState(
            f"Cannot {doing}: dataset {self.id} is {ended}", why="Its files are final", todo=todo, committed="no"
        )

    def _put(
        self, uploads: Sequence[Upload], files: Sequence[tuple[str, Shape | None]], progress: Progress | None = None
    ) -> None:
        """Store files, or only hash them when the dataset was staged before, and remember what they are."""
        if self._was_staged:
            done = [_hashed(upload, progress) for upload in uploads]
        else:
            names = [path for path, _ in files]
            try:
                done = self._store.storage.upload(uploads, progress)
            except BaseException:  # what was there may be overwritten
                self._unsure |= self._datasets.forget_written(self.id, names)
                raise
            self._unsure.difference_update(names)
        for stored, (path, shape) in zip(done, files, strict=True):
            file = entry(path, stored.size, stored.sha256, shape)
            if self._was_staged:
                self._compared[path] = file
            else:
                self._datasets.note_written(self.id, file)

    def _files(self) -> dict[str, FileEntry]:
        return self._compared if self._was_staged else self._datasets.written(self.id)

    def _note_types(self, types: Mapping[str, str]) -> None:
        problems = [
            f"the column {name!r:.80} was {self._types[name]} in an earlier table and is {type_} now"
            for name, type_ in types.items()
            if self._types.get(name, type_) != type_
        ]
        if problems:
            raise InvalidInput.of("partition_by", problems, todo="Cast it, so that all tables agree")
        self._types.update(types)

    def opened(self, path: str) -> None:
        """A file was opened for writing."""
        with self._lock:
            self._unclosed[path] = self._unclosed.get(path, 0) + 1

    def closed(self, path: str) -> None:
        """A file that was opened is stored or dropped."""
        with self._lock:
            self._unclosed[path] -= 1
            if not self._unclosed[path]:
                del self._unclosed[path]

    @nothing_published
    def store_file(self, path: str, file: BinaryIO) -> None:
        """Store a file that was written whole."""
        key = self._key(path)
        shape = _shape(path, file)
        file.seek(0)
        self._put([Upload(key, file)], [(path, shape)])


def _shape(name: str, source: Path | BinaryIO) -> Shape | None:
    """The shape of a file that is named ``*.parquet``; None for any other, for which nothing imports Arrow."""
    if not name.endswith(".parquet"):
        return None
    from prefect_registry.datasets.parquet import local_shape, stream_shape

    return local_shape(source) if isinstance(source, Path) else stream_shape(name, source)


def _hashed(upload: Upload, progress: Progress | None) -> Stored:
    if isinstance(upload.source, CopyOf):
        return Stored(upload.key, upload.source.size, upload.source.sha256)
    with opened(upload.source) as source:
        size, sha256 = pump(source, lambda chunk: None, progress)
    return Stored(upload.key, size, sha256)


def _local_files(local_path: str | Path, path: str | None) -> Iterator[tuple[Path, str]]:
    """The local files to upload, with their paths inside the dataset."""
    if not isinstance(local_path, (str, os.PathLike)):
        raise InvalidInput.of("local_path", [f"local_path must be a path, not {type(local_path).__name__}"])
    source = Path(local_path)
    if source.is_file():
        yield source, path or source.name
    elif source.is_dir():
        base = f"{path.rstrip('/')}/" if path else ""
        for found in sorted(source.rglob("*")):
            inside = found.relative_to(source).as_posix()
            if "_temporary" in inside.split("/"):
                raise InvalidInput.of("local_path", [f"{found} shows that a writer has not finished"])
            if found.is_file() and not found.is_symlink() and is_member(inside):
                yield found, base + inside
    else:
        raise InvalidInput.of("local_path", [f"{source} is neither a file nor a folder"])


def _credentials_env(options: Mapping[str, Any]) -> dict[str, str]:
    """Options of s3fs under the names that AWS's own tools read."""
    client = options.get("client_kwargs")
    values = {**(client if isinstance(client, Mapping) else {}), **options}
    names = {
        "key": "AWS_ACCESS_KEY_ID",
        "secret": "AWS_SECRET_ACCESS_KEY",
        "token": "AWS_SESSION_TOKEN",
        "endpoint_url": "AWS_ENDPOINT_URL",
        "region_name": "AWS_DEFAULT_REGION",
    }
    return {env: str(values[name]) for name, env in names.items() if isinstance(values.get(name), str)}
