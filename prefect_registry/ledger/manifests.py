"""Manifests: lists of files in the documents that name them, or in an object of their own (DESIGN.md 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from prefect_registry.errors import IntegrityError, InvalidInput
from prefect_registry.ledger.store import Store
from prefect_registry.names import clashes, path_problems
from prefect_registry.records.datasets import FileEntry, ManifestDocument
from prefect_registry.records.runs import Reference

MOST_INLINE_FILES = 2_000
MOST_INLINE_BYTES = 700_000
MOST_FILES = 1_000_000


_ENTRY_BYTES = 300
"""More than an entry of a manifest takes beside its path."""


def check_files(files: Iterable[FileEntry], of: str = "the dataset's files") -> list[FileEntry]:
    """The files in order of their paths, if these can live side by side on every filesystem."""
    ordered = sorted(files, key=lambda f: f.path)
    check_paths([f.path for f in ordered], of)
    return ordered


def check_paths(ordered: Sequence[str], of: str) -> None:
    """Refuse paths that cannot live side by side on every filesystem."""
    problems = [p for path in ordered for p in path_problems(path)]
    problems += list(clashes(ordered))
    if len(ordered) > MOST_FILES:
        problems.append(f"{len(ordered):,} files; at most {MOST_FILES:,} are allowed")
    if problems:
        raise InvalidInput.of(of, problems[:20])


def fits_inline(files: Sequence[FileEntry]) -> bool:
    """Whether the files can be listed in the generation itself; else the manifest is an object of its own."""
    if len(files) > MOST_INLINE_FILES:
        return False
    if sum(4 * len(f.path) + _ENTRY_BYTES for f in files) <= MOST_INLINE_BYTES and not any(
        f.model_extra for f in files
    ):
        return True
    return len(orjson.dumps([f.model_dump() for f in files])) <= MOST_INLINE_BYTES


def store_manifest(store: Store, prefix: str, files: list[FileEntry]) -> Reference:
    """Store the manifest as an object of its own; returns the reference to it."""
    document = ManifestDocument(write_id=store.ids.write_id(), files=files)
    key = f"{prefix}_manifest-{document.write_id}.json"
    return store.store_reference(key, orjson.dumps(document.model_dump(by_alias=True)))


def load_manifest(store: Store, reference: Reference) -> list[FileEntry]:
    """The files of a manifest that has an object of its own, verified."""
    return ManifestDocument.decode(store.fetch_reference(reference), reference.key).files


def check_stored(files: Sequence[FileEntry], where: str) -> None:
    """Refuse a manifest that names a file outside its own folder: somebody has tampered with it."""
    problems = [p for f in files for p in path_problems(f.path)]
    if problems:
        raise IntegrityError(
            f"The manifest of {where} names files that it cannot have",
            why="; ".join(problems[:3]),
            todo="Somebody changed the store behind the registry's back; restore it from a backup",
        )
