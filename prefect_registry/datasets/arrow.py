"""The bridge to pyarrow: one lazy dataset over the files of any number of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from prefect_registry.datasets.parquet import type_named
from prefect_registry.errors import IntegrityError, InvalidInput, NotFound, RegistryError
from prefect_registry.names import HIVE_NULL, folder_values
from prefect_registry.storage.arrow_files import arrow_file
from prefect_registry.storage.base import Storage

if TYPE_CHECKING:
    from prefect_registry.datasets.reading import Dataset

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def as_dataset(datasets: Sequence[Dataset]) -> pads.Dataset:
    """One pyarrow dataset: the union of the Parquet files, with a schema that covers all of them.

    A column that some files lack is null there; numbers become the wider type. Folders such as ``month=1/`` become
    columns (Hive partitioning).
    """
    parts = [part for d in datasets if (part := _part(d)) is not None]
    if not parts:
        return pads.dataset(pa.table({}))
    folders = _folder_columns(parts)
    samples = {digest: (part, path) for part in reversed(parts) for digest, path in part.samples.items()}
    schemas = [_with_fields(part.schema_of(path), folders) for part, path in reversed(samples.values())]
    schema = _unified(schemas)
    return pads.dataset([part.scan(schema, folders) for part in parts])


def read_table(datasets: Sequence[Dataset], columns: list[str] | None = None) -> pa.Table:
    """All rows as one table, in the order of the datasets and their paths."""
    dataset = as_dataset(datasets)
    missing = [c for c in columns or [] if c not in dataset.schema.names]
    if missing:
        raise InvalidInput.of(
            "columns", [f"there is no column {c!r:.80}; there are {dataset.schema.names}" for c in missing]
        )
    try:
        return dataset.to_table(columns=columns)
    except pa.ArrowInvalid as error:  # damage, or a value that the type of all files together does not hold
        if all(part.is_readable() for d in datasets if (part := _part(d)) is not None):
            raise _apart(error) from error
        raise _unreadable(datasets, error) from error
    except (pa.ArrowException, OSError, NotFound) as error:
        raise _unreadable(datasets, error) from error


# -- the files of one dataset ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """The Parquet files of one dataset.

    ``files`` are paths on ``filesystem``; ``samples`` names one file for each different schema, by the schema's digest.
    """

    dataset: Dataset
    files: list[str]
    samples: Mapping[str, str]
    filesystem: pafs.FileSystem
    base: str
    typed: Mapping[str, str]

    def schema_of(self, path: str) -> pa.Schema:
        """The schema of one file, without the columns that folders spell."""
        try:
            return pads.dataset([path], filesystem=self.filesystem, format="parquet").schema
        except (pa.ArrowException, OSError, NotFound) as error:
            raise _unreadable([self.dataset], error) from error

    def values(self) -> dict[str, set[str]]:
        """Every value of every column that folders spell."""
        found: dict[str, set[str]] = {}
        for path in self.files:
            for name, value in folder_values(path[len(self.base) :].lstrip("/")).items():
                found.setdefault(name, set()).add(value)
        return found

    def scan(self, schema: pa.Schema, folders: Mapping[str, pa.DataType]) -> pads.Dataset:
        """The files under a schema that covers them."""
        fields = [schema.field(name) for name in folders]
        try:
            return pads.dataset(
                self.files,
                schema=schema,
                filesystem=self.filesystem,
                format="parquet",
                partitioning=pads.HivePartitioning(pa.schema(fields)) if fields else None,
                partition_base_dir=self.base,
            )
        except pa.ArrowInvalid as error:  # a folder spells what is no value of the column's type
            raise _apart(error) from error

    def is_readable(self) -> bool:
        """Whether every file can be read whole, with the types that it has itself."""
        try:
            for path in self.files:
                for _ in pads.dataset([path], filesystem=self.filesystem, format="parquet").to_batches():
                    pass
        except (pa.ArrowException, OSError, NotFound):
            return False
        return True


def _part(dataset: Dataset) -> _Part | None:
    dataset._check_readable()
    if dataset.external:
        filesystem, base, paths = _external(dataset)
        if not paths:  # newer datasets have replaced all of it
            return None
        return _Part(dataset, paths, {path: path for path in paths}, filesystem, base, {})
    base = dataset.prefix.rstrip("/")
    parquet = [f for f in dataset.files if f.rows is not None or f.path.endswith(".parquet")]
    if not parquet:
        if dataset.files:
            raise InvalidInput(
                f"Dataset {dataset.id} has no Parquet files",
                why=f"It has {len(dataset.files):,} files, such as {dataset.files[0].path}",
                todo="Read its files with open() or download()",
            )
        return None
    samples = {f.columns or f.path: f"{base}/{f.path}" for f in reversed(parquet)}
    sizes = {f"{base}/{f.path}": f.size for f in parquet}
    handler = _StorageHandler(dataset.store.storage, sizes)
    return _Part(dataset, list(sizes), samples, pafs.PyFileSystem(handler), base, dataset.partitioning)


def _external(dataset: Dataset) -> tuple[pafs.FileSystem, str, list[str]]:
    """The filesystem, base and Parquet files of a dataset that lies outside the registry."""
    from prefect_registry.datasets.referred import referred_files

    fs, base, paths = referred_files(dataset, ".parquet")
    local = "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
    if local:
        return pafs.LocalFileSystem(), base, paths
    handler = _Elsewhere(fs)  # type: ignore[abstract]  # the stubs are wrong
    return pafs.PyFileSystem(handler), base, paths


class _Elsewhere(pafs.FSSpecHandler):
    """A filesystem that is not ours."""

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to read parts of."""
        return arrow_file(partial(cast("Any", self.fs).open, path, mode="rb"))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to read from its beginning."""
        return self.open_input_file(path)


def _unreadable(datasets: Sequence[Dataset], error: Exception) -> RegistryError:
    deleted = (found for d in datasets if (found := d.usage.deleted(d.id)) is not None)
    return next(deleted, None) or IntegrityError(
        f"The files of {', '.join(d.id for d in datasets[:3])}{' …' if len(datasets) > 3 else ''} cannot be read",
        why=str(error).partition("\n")[0][:300],
        todo="Find the damaged file with verify(); restore it from a backup, or revert the run",
    )


# -- schemas ---------------------------------------------------------------------------------------------------------


def _folder_columns(parts: Iterable[_Part]) -> dict[str, pa.DataType]:
    """The type of every column that folders spell: as it was written, else by all the values that there are.

    Only what is spelled as an integer everywhere is one: a post code ``01234`` stays what it is.
    """
    typed: dict[str, set[str]] = {}
    values: dict[str, set[str]] = {}
    for part in parts:
        for name, alias in part.typed.items():  # also of one without rows, which has no folders
            typed.setdefault(name, set()).add(alias)
            values.setdefault(name, set())
        for name, found in part.values().items():
            values.setdefault(name, set()).update(found - {HIVE_NULL})
    return {name: _type_of(typed.get(name, set()), found) for name, found in values.items()}


def _type_of(typed: set[str], values: set[str]) -> pa.DataType:
    types = [type_named(name) for name in sorted(typed)]
    if len(types) > 1:
        unified: pa.DataType = _unified([pa.schema([pa.field("column", t)]) for t in types]).field(0).type
        return unified
    if types:
        return types[0]
    return pa.int64() if values and all(_INTEGER.fullmatch(v) for v in values) else pa.string()


def _with_fields(schema: pa.Schema, folders: Mapping[str, pa.DataType]) -> pa.Schema:
    """A file's schema with the columns that folders spell, which override a column of the same name in the file."""
    for name, type_ in folders.items():
        i = schema.get_field_index(name)
        field = pa.field(name, type_)
        schema = schema.append(field) if i < 0 else schema.set(i, field)
    return schema


def _unified(schemas: list[pa.Schema]) -> pa.Schema:
    try:
        return _with_nulls(pa.unify_schemas(schemas, promote_options="permissive"), schemas)
    except pa.ArrowException as error:
        plain = [pa.schema([f.with_type(_plain(f.type)) for f in s]) for s in schemas]
        if plain != schemas:
            return _unified(plain)
        raise _apart(error) from error


def _apart(error: pa.ArrowException) -> InvalidInput:
    return InvalidInput(
        "The files of this table have schemas that do not go together",
        why=str(error).partition("\n")[0][:300],
        todo="Read them one by one through .datasets(), or publish the kind again with one schema",
    )


def _with_nulls(unified: pa.Schema, schemas: list[pa.Schema]) -> pa.Schema:
    """The same, where a column that some files lack may be null, although those that have it say otherwise."""
    for i, field in enumerate(unified):
        if not field.nullable and any(field.name not in schema.names for schema in schemas):
            unified = unified.set(i, field.with_nullable(True))
    return unified


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values: files whose categories differ go together as plain values."""
    return cast("pa.DataType", type_.value_type) if isinstance(type_, pa.DictionaryType) else type_


class _StorageHandler(pafs.FileSystemHandler):
    """Lets pyarrow read through our own storage interface, on whatever filesystem it lies. Read-only.

    ``sizes`` come from the manifest, so that no file is asked for its size before it is read.
    """

    def __init__(self, storage: Storage, sizes: Mapping[str, int]) -> None:
        self._storage = storage
        self._sizes = sizes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _StorageHandler) and (other._storage, other._sizes) == (self._storage, self._sizes)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def get_type_name(self) -> str:
        """What pyarrow calls this filesystem in its messages."""
        return "prefect-registry"

    def normalize_path(self, path: str) -> str:
        """Keys are normal already."""
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        """Which paths are files, and how large."""
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        size = self._sizes.get(path)
        kind = pafs.FileType.NotFound if size is None else pafs.FileType.File
        return pafs.FileInfo(path, kind, size=size)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to read parts of."""
        return arrow_file(partial(self._storage.open, path))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to read from its beginning."""
        return self.open_input_file(path)

    def _refuse(self, *args: object, **kwargs: object) -> Any:
        raise OSError("the registry's files are read-only here")

    get_file_info_selector = _refuse
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse
