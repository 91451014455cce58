"""The bridge to pyarrow: one lazy dataset over the files of any number of ours."""

from __future__ import annotations

from collections.abc import Sequence
from io import IOBase
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from prefect_registry.errors import InvalidInput
from prefect_registry.storage.base import Storage

if TYPE_CHECKING:
    from prefect_registry.datasets.reading import Dataset


def as_dataset(datasets: Sequence[Dataset]) -> pads.Dataset:
    """One pyarrow dataset: the union of the Parquet files, with a schema that covers all of them.

    Folders such as ``month=1/`` become columns (Hive partitioning).
    """
    parts = [part for d in datasets if (part := _part(d)) is not None]
    if not parts:
        return pads.dataset(pa.table({}))
    schema = _unified([p.schema for p in parts])
    return pads.dataset([_with_schema(p, schema) for p in parts])


def read_table(datasets: Sequence[Dataset], columns: list[str] | None = None) -> pa.Table:
    """All rows as one table, in the order of the datasets and their paths."""
    return as_dataset(datasets).to_table(columns=columns)


def _with_schema(part: pads.Dataset, schema: pa.Schema) -> pads.Dataset:
    replaced: Any = part.replace_schema(schema)  # type: ignore[func-returns-value]  # the stubs are wrong
    return replaced  # type: ignore[no-any-return]


def _unified(schemas: list[pa.Schema]) -> pa.Schema:
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidInput(
            "The datasets of this table have schemas that do not go together",
            why=str(error).partition("\n")[0][:300],
            todo="Read them one by one through .datasets(), or publish the kind again with one schema",
        ) from error


def _part(dataset: Dataset) -> pads.FileSystemDataset | None:
    dataset._check_readable()
    filesystem, base = _filesystem(dataset)
    files = [f"{base}/{f.path}" for f in dataset.files if f.path.endswith(".parquet")]
    if dataset.external:
        return _dataset(base, filesystem, base)
    if not files:
        if dataset.files:
            raise InvalidInput(
                f"Dataset {dataset.id} has no Parquet files",
                todo="Read its files with open() or download()",
            )
        return None
    return _dataset(files, filesystem, base)


def _dataset(source: Any, filesystem: pafs.FileSystem, base: str) -> pads.FileSystemDataset:
    hive = pads.HivePartitioning.discover(infer_dictionary=False)
    found = pads.dataset(source, filesystem=filesystem, format="parquet", partitioning=hive, partition_base_dir=base)
    assert isinstance(found, pads.FileSystemDataset)
    return found


def _filesystem(dataset: Dataset) -> tuple[pafs.FileSystem, str]:
    if dataset.external:
        import fsspec

        fs, path = fsspec.core.url_to_fs(dataset.root)
        local = "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
        if local:
            return pafs.LocalFileSystem(), path.rstrip("/")
        handler = pafs.FSSpecHandler(fs)  # type: ignore[abstract]  # the stubs are wrong
        return pafs.PyFileSystem(handler), path.rstrip("/")
    storage = dataset.store.storage
    return pafs.PyFileSystem(_StorageHandler(storage)), dataset.prefix.rstrip("/")


class _StorageHandler(pafs.FileSystemHandler):
    """Lets pyarrow read through our own storage interface, on whatever filesystem it lies. Read-only."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _StorageHandler) and other._storage is self._storage

    def __ne__(self, other: object) -> bool:
        return not self == other

    def get_type_name(self) -> str:
        return "prefect-registry"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        found = self._storage.info(path)
        if found is None:
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        return pafs.FileInfo(path, pafs.FileType.File, size=found.size)

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(cast("IOBase", self._storage.open(path)), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def _refuse(self, *args: object, **kwargs: object) -> Any:
        raise OSError("the registry's files are read-only here")

    get_file_info_selector = _refuse
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse
