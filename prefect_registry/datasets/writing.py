"""The handle that a ``with run.dataset(...) as ds`` block works with (DESIGN.md 8)."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from prefect_registry.asynchronous import twin
from prefect_registry.datasets.service import Datasets
from prefect_registry.errors import InvalidInput, InvalidState
from prefect_registry.ids import parse_inner_id, random_token
from prefect_registry.ledger import paths
from prefect_registry.names import path_problems
from prefect_registry.records.datasets import DatasetGeneration, FileEntry
from prefect_registry.storage.base import Progress, Upload

if TYPE_CHECKING:
    import pyarrow as pa

_IN_MEMORY_BYTES = 64 << 20


class DatasetWriter:
    """A dataset that is being written. Leaving its ``with`` block commits it; an exception rolls it back.

    ``root`` is the URL of its folder: other programs may write there (``fs``, ``storage_options``, ``env()``); what
    they wrote is read and verified at commit.
    """

    def __init__(self, datasets: Datasets, dataset_id: str, kind: str) -> None:
        self._datasets = datasets
        self._store = datasets.store
        self.id = dataset_id
        self.kind = kind
        run_id, suffix = parse_inner_id(dataset_id, "ds", "dataset")
        self.run_id = run_id
        self._prefix = paths.dataset_prefix(run_id, suffix)
        self._others_write = False
        self._rows: int | None = None
        self._tags: dict[str, str] = {}
        self._parts = 0
        self.staged: DatasetGeneration | None = None

    # -- for other programs --------------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The URL of the dataset's folder. Asking for it means that others may write there."""
        self._others_write = True
        return self.location

    @property
    def location(self) -> str:
        """The same URL, just to look at."""
        return f"{self._store.storage.url}/{self._prefix.rstrip('/')}"

    @property
    def fs(self) -> Any:
        """The fsspec filesystem on which ``root`` lies."""
        self._others_write = True
        return self._store.storage.fs()[0]

    @property
    def storage_options(self) -> dict[str, Any]:
        """What pandas and polars take as ``storage_options=`` to write to ``root``. May hold secrets."""
        self._others_write = True
        return dict(self._store.storage.storage_options())

    def env(self) -> dict[str, str]:
        """The environment for a subprocess that writes to the dataset: this process's own, with the folder, the ids
        and the store's credentials by their usual names.
        """
        self._others_write = True
        folder = {
            "PREFECT_REGISTRY_DATASET_ROOT": self.location,
            "PREFECT_REGISTRY_DATASET_ID": self.id,
            "PREFECT_REGISTRY_RUN_ID": self.run_id,
        }
        return {**os.environ, **_credentials_env(self._store.storage.storage_options()), **folder}

    # -- writing -------------------------------------------------------------------------------------------------

    def open(self, path: str, mode: str = "wb", encoding: str = "utf-8") -> IO[Any]:
        """A file to write: ``wb`` or ``w``. It is uploaded, and hashed on the way, when it is closed."""
        if mode not in ("wb", "xb", "w", "x"):
            raise InvalidInput.of("mode", [f"mode must be 'wb' or 'w', not {mode!r}"])
        key = self._key(path)
        raw = _PendingFile(self, path, key)
        file = raw if "b" in mode else io.TextIOWrapper(cast("BinaryIO", raw), encoding=encoding)
        return cast("IO[Any]", file)

    def write_table(
        self,
        /,
        table: pa.Table,
        partition_by: str | Sequence[str] | None = None,
        path: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> list[str]:
        """Write a pyarrow table as Parquet (zstd); returns the paths.

        Args:
            partition_by: Columns whose values become folders (``month=1/``), as Hive does.
            path: The file's name; ``part-00000.parquet`` and so on by default.
            options: Passed on to ``pyarrow.parquet.write_table``.
        """
        from prefect_registry.datasets.parquet import encode_partitioned, encode_table

        table = _as_arrow(table)
        if partition_by is None:
            name = path or self._next_part()
            encoded = [(name, encode_table(table, **options))]
        else:
            columns = [partition_by] if isinstance(partition_by, str) else list(partition_by)
            encoded = encode_partitioned(table, columns, self._next_part(), **options)
        uploads = [Upload(self._key(name), data) for name, (data, _) in encoded]
        stored = self._store.storage.upload(uploads, progress)
        for (name, (_, groups)), file in zip(encoded, stored, strict=True):
            self._note(FileEntry(path=name, size=file.size, sha256=file.sha256, rows=groups[0], row_groups=groups[1]))
        return [name for name, _ in encoded]

    def upload(self, local_path: str | Path, path: str | None = None, progress: Progress | None = None) -> list[str]:
        """Upload a file, or every file of a folder, several at once; returns the paths inside the dataset."""
        from prefect_registry.datasets.parquet import local_shape

        source = Path(local_path)
        if source.is_dir():
            base = f"{path.rstrip('/')}/" if path else ""
            local = [p for p in sorted(source.rglob("*")) if p.is_file() and not p.is_symlink()]
            pairs = [(p, base + p.relative_to(source).as_posix()) for p in local]
        elif source.is_file():
            pairs = [(source, path or source.name)]
        else:
            raise InvalidInput.of("local_path", [f"{source} is neither a file nor a folder"])
        stored = self._store.storage.upload([Upload(self._key(name), p) for p, name in pairs], progress)
        for (file, name), result in zip(pairs, stored, strict=True):
            rows, groups = local_shape(file)
            self._note(FileEntry(path=name, size=result.size, sha256=result.sha256, rows=rows, row_groups=groups))
        return [name for _, name in pairs]

    def set_rows(self, rows: int) -> None:
        """How many rows the dataset has, for files whose rows cannot be counted. Parquet footers must agree."""
        self._rows = rows

    def set_tags(self, **tags: str) -> None:
        """Labels that are stored with the dataset."""
        self._tags.update(tags)

    # -- the end -------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Stage what was written. Leaving the ``with`` block does it."""
        if self.staged is None:
            self.staged = self._datasets.commit(
                self.id, None, self._rows, only_ours=not self._others_write, tags=self._tags
            )

    def rollback(self, reason: str | None = None) -> None:
        """Drop what was written. An exception in the ``with`` block does it."""
        self._datasets.rollback(self.id, reason)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
            return
        try:
            self.rollback(f"{type(error).__name__}: {error}"[:1_000])
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
        self._parts += 1
        return f"part-{self._parts - 1:05d}.parquet"

    def _key(self, path: str) -> str:
        if self.staged is not None:
            raise InvalidState(f"Dataset {self.id} is committed", todo="Write before the block ends", committed="no")
        problems = list(path_problems(path))
        if isinstance(path, str) and any(p.startswith(("_", ".")) for p in path.split("/")):
            problems.append(f"path {path!r:.80}: names that start with '_' or '.' are no members of a dataset")
        if problems:
            raise InvalidInput.of("path", problems)
        return self._prefix + path

    def _note(self, entry: FileEntry) -> None:
        self._datasets.note_written(self.id, entry)

    def _store_file(self, path: str, key: str, file: BinaryIO) -> None:
        from prefect_registry.datasets.parquet import stream_shape

        rows, groups = stream_shape(path, file)
        file.seek(0)
        stored = self._store.storage.upload([Upload(key, file)])[0]
        self._note(FileEntry(path=path, size=stored.size, sha256=stored.sha256, rows=rows, row_groups=groups))


class _PendingFile(io.RawIOBase):
    """Bytes on their way to the store: in memory at first, then in a temporary file; stored when closed well."""

    def __init__(self, writer: DatasetWriter, path: str, key: str) -> None:
        self._writer, self._path, self._stored_at = writer, path, key
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, prefix=f"registry-{random_token()}")  # noqa: SIM115
        self.name = path

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._spool.seek(offset, whence)

    def tell(self) -> int:
        return self._spool.tell()

    def write(self, data: Any) -> int:
        return self._spool.write(data)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._spool.seek(0)
            self._writer._store_file(self._path, self._stored_at, cast("BinaryIO", self._spool))
        finally:
            self._spool.close()
            super().close()

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is not None:  # half a file is no file
            self._spool.close()
            io.RawIOBase.close(self)
            return
        self.close()

    def __del__(self) -> None:  # never store what nobody closed
        self._spool.close()


def _as_arrow(table: Any) -> pa.Table:
    """A pyarrow table from one, or from anything that exports the Arrow stream interface (polars, pandas, DuckDB)."""
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if hasattr(table, "__arrow_c_stream__"):
        return pa.table(table)
    raise InvalidInput.of("table", [f"write_table takes a pyarrow table or DataFrame, not {type(table).__name__}"])


def _credentials_env(options: Mapping[str, Any]) -> dict[str, str]:
    names = {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY", "token": "AWS_SESSION_TOKEN",
             "endpoint_url": "AWS_ENDPOINT_URL"}  # fmt: skip
    return {env: str(options[name]) for name, env in names.items() if isinstance(options.get(name), str)}
