"""What lies under a dataset's folder: checked file by file before it is staged (DESIGN.md 8, 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import orjson

from prefect_registry.errors import IntegrityError, InvalidInput
from prefect_registry.ledger.store import Store
from prefect_registry.names import clashes, path_problems
from prefect_registry.records.datasets import FileEntry, ManifestDocument
from prefect_registry.records.runs import Reference
from prefect_registry.storage.base import ObjectInfo, Storage

Verify = Literal["full", "size"]
MOST_INLINE_FILES = 2_000
MOST_FILES = 1_000_000
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
    unfinished = sorted(p for p in found if "_temporary" in p.split("/"))
    if unfinished:
        raise InvalidInput(
            f"{prefix}{unfinished[0]} shows that a writer has not finished",
            why="Spark and Hadoop keep files under _temporary until their own commit",
            todo="Let the job end, or delete what it left, and commit again",
            committed="no",
        )
    missing = sorted(set(known) - set(found))
    if missing:
        raise IntegrityError(
            f"{prefix}{missing[0]} was written and is gone",
            todo="Do not delete files of a dataset that is being written",
            committed="no",
        )
    calls = [partial(_inspect, store.storage, o, p, known.get(p), verify) for p, o in found.items() if is_member(p)]
    return check_files(store.together(calls) if calls else [])


def _inspect(storage: Storage, info: ObjectInfo, path: str, known: FileEntry | None, verify: Verify) -> FileEntry:
    if known is not None:
        if known.size != info.size:
            raise IntegrityError(f"{info.key} has {info.size:,} bytes, but {known.size:,} were written", committed="no")
        return known
    sha256 = _sha256(storage, info.key) if verify == "full" else ""
    rows, groups = parquet_shape(storage, info.key) if path.endswith(".parquet") else (None, None)
    return FileEntry(path=path, size=info.size, sha256=sha256, rows=rows, row_groups=groups)


def _sha256(storage: Storage, key: str) -> str:
    digest = hashlib.sha256()
    with storage.open(key) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def parquet_shape(storage: Storage, key: str) -> tuple[int, int]:
    """Rows and row groups by the file's own footer. Raises ``IntegrityError`` when it has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open(key) as file:
            metadata = pq.ParquetFile(file).metadata
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(
            f"{key} is not a complete Parquet file",
            why=str(error).partition("\n")[0][:200],
            todo="Write it again; the dataset was not committed",
            committed="no",
        ) from error
    return metadata.num_rows, metadata.num_row_groups


def check_files(files: Iterable[FileEntry]) -> list[FileEntry]:
    """The files in order of their paths, if these can live side by side on every filesystem."""
    ordered = sorted(files, key=lambda f: f.path)
    problems = [p for f in ordered for p in path_problems(f.path)]
    problems += list(clashes(f.path for f in ordered))
    if len(ordered) > MOST_FILES:
        problems.append(f"{len(ordered):,} files; at most {MOST_FILES:,} are allowed")
    if problems:
        raise InvalidInput.of("the dataset's files", problems[:20])
    return ordered


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


def store_manifest(store: Store, prefix: str, files: list[FileEntry]) -> Reference | None:
    """A reference to the manifest when it is too large for the generation; None when it goes inline."""
    if len(files) <= MOST_INLINE_FILES:
        return None
    document = ManifestDocument(write_id=store.ids.write_id(), files=files)
    key = f"{prefix}_manifest-{document.write_id}.json"
    return store.store_reference(key, orjson.dumps(document.model_dump(by_alias=True)))


def load_manifest(store: Store, reference: Reference) -> list[FileEntry]:
    """The files of a manifest that has an object of its own, verified."""
    return ManifestDocument.decode(store.fetch_reference(reference), reference.key).files
