"""What lies under a dataset's folder: checked file by file before it is staged (DESIGN.md 8, 9)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from prefect_registry.errors import IntegrityError, InvalidInput, NotFound
from prefect_registry.ledger.manifests import check_files
from prefect_registry.ledger.store import Store
from prefect_registry.records.datasets import FileEntry
from prefect_registry.storage.base import ObjectInfo, Storage
from prefect_registry.storage.transfer import stored_digest

if TYPE_CHECKING:
    from prefect_registry.datasets.parquet import Shape

Verify = Literal["full", "size"]
_CHUNK = 4 << 20


def is_member(path: str) -> bool:
    """Whether a file counts: names that start with ``_`` or ``.`` do not, in any folder (Hadoop's convention)."""
    return not any(part.startswith(("_", ".")) for part in path.split("/"))


def inspect_folder(store: Store, prefix: str, known: Mapping[str, FileEntry], verify: Verify) -> list[FileEntry]:
    """Every member file below ``prefix``, with size, sha256 and, for Parquet, rows.

    Files in ``known`` were hashed while this process wrote them and are only compared by size; the others are read
    whole (with ``verify="size"`` only their Parquet footers, and sha256 is empty).

    Raises:
        InvalidInput: A ``_temporary`` folder is left over: some writer has not finished.
        IntegrityError: A file is not what was written, or is no readable Parquet file.
    """
    found = {o.key[len(prefix) :]: o for o in store.storage.list(prefix)}
    refuse_unfinished(prefix, found)
    if "://" not in store.storage.url:
        settle(store.storage.url, prefix)
    missing = sorted(set(known) - set(found))
    if missing:
        raise IntegrityError(
            f"{prefix}{missing[0]} was written and is gone",
            why="Something deleted it before the dataset was committed",
            todo="Do not delete files of a dataset that is being written",
            committed="no",
        )
    calls = [partial(_inspect, store.storage, o, p, known.get(p), verify) for p, o in found.items() if is_member(p)]
    return check_files(store.together(calls) if calls else [])


def refuse_unfinished(folder: str, paths: Iterable[str]) -> None:
    """Raise ``InvalidInput`` if one of the files in a folder lies below ``_temporary``."""
    unfinished = sorted(p for p in paths if "_temporary" in p.split("/"))
    if unfinished:
        raise InvalidInput(
            f"{folder}{unfinished[0]} shows that a writer has not finished",
            why="Spark and Hadoop keep files under _temporary until their own commit",
            todo="Let the job end, or delete what it left, and commit again",
            committed="no",
        )


def settle(root: str, prefix: str) -> None:
    """What other programs wrote into a folder on a disk, made safe to name: no links, and everything synced.

    Listings do not show links, and only who writes a file through the storage has it synced (DESIGN.md 5).

    Raises:
        InvalidInput: The folder, or a member in it, is a symbolic link.
    """
    folder = os.path.join(os.path.realpath(root), *prefix.rstrip("/").split("/"))
    if os.path.realpath(folder) != folder:
        raise _link(prefix)
    for parent, folders, files in os.walk(folder):
        inside = os.path.relpath(parent, folder).replace(os.sep, "/").removeprefix(".")
        members = [n for n in [*folders, *files] if is_member(f"{inside}/{n}".lstrip("/"))]
        for name in members:
            if os.path.islink(os.path.join(parent, name)):
                raise _link(f"{prefix}{inside}/{name}")
        for path in (parent, *(os.path.join(parent, n) for n in files if n in members)):
            _sync(path)


def _sync(path: str) -> None:
    with contextlib.suppress(OSError):  # vanished, or not ours to sync: reading it tells
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for its writer
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _link(path: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is a symbolic link",
        why="A link may lead out of the dataset, or be changed after the commit, so none is followed",
        todo="Put the file itself there, and commit again",
        committed="no",
    )


def _inspect(storage: Storage, info: ObjectInfo, path: str, known: FileEntry | None, verify: Verify) -> FileEntry:
    if known is not None:
        if known.size != info.size:
            raise IntegrityError(
                f"{info.key} has {info.size:,} bytes, but {known.size:,} were written",
                why="Something else wrote to the same path",
                todo="Write every file once, and begin the dataset anew",
                committed="no",
            )
        return known
    try:
        size, sha256 = stored_digest(storage, info.key) if verify == "full" else (info.size, "")
        shape = parquet_shape(storage, info.key) if path.endswith(".parquet") else None
    except NotFound as error:
        raise _changed(info.key, "it was deleted") from error
    if size != info.size:
        raise _changed(info.key, f"it had {info.size:,} bytes and then {size:,}")
    return entry(path, size, sha256, shape)


def entry(path: str, size: int, sha256: str, shape: Shape | None) -> FileEntry:
    """A file as a manifest lists it."""
    if shape is None:
        return FileEntry(path=path, size=size, sha256=sha256)
    return FileEntry(
        path=path, size=size, sha256=sha256, rows=shape.rows, row_groups=shape.row_groups, columns=shape.columns
    )


def _changed(key: str, how: str) -> IntegrityError:
    return IntegrityError(
        f"{key} changed while the dataset was being committed: {how}",
        why="Some program is still at work in the dataset's folder",
        todo="Let it end, and commit again",
        committed="no",
    )


def parquet_shape(storage: Storage, key: str) -> Shape:
    """The shape by the file's own footer. Raises ``IntegrityError`` when it has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from prefect_registry.datasets.parquet import shape_of

    try:
        with storage.open(key) as file:
            return shape_of(pq.ParquetFile(file).metadata)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(
            f"{key} is not a complete Parquet file",
            why=str(error).partition("\n")[0][:200],
            todo="Write it again; the dataset was not committed",
            committed="no",
        ) from error


def total_rows(files: Sequence[FileEntry]) -> int | None:
    """The rows by the Parquet footers, or None when any file is not Parquet."""
    rows = [f.rows for f in files]
    return sum(r for r in rows if r is not None) if files and all(r is not None for r in rows) else None


def check_rows(files: Sequence[FileEntry], rows: int | None, prefix: str) -> int | None:
    """``rows`` as given, held against the footers; the footers' own number when none was given."""
    counted = total_rows(files)
    if not files:
        counted = 0
    if rows is not None and counted is not None and rows != counted:
        raise InvalidInput(
            f"{rows:,} rows were given, but the files under {prefix} have {counted:,}",
            why="The Parquet footers were counted" if files else "There is no file",
            todo="Give the number of rows that was written; the dataset was not committed",
            committed="no",
        )
    return counted if rows is None else rows
