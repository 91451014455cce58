"""Cold start: an empty index is filled from a checkpoint, and only what came since is read from the journal."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from prefect_registry.catalog.checkpoints.manifests import generations, read_checkpoint, registry_id
from prefect_registry.catalog.checkpoints.parts import note_parts
from prefect_registry.catalog.checkpoints.tables import insert
from prefect_registry.catalog.database import Database
from prefect_registry.catalog.schema import INDEX_FORMAT, INDEXES, micros
from prefect_registry.errors import RegistryError, StorageUnavailable
from prefect_registry.ledger.store import Store
from prefect_registry.records.checkpoints import Checkpoint, TableFile
from prefect_registry.storage.base import Download

log = logging.getLogger("prefect_registry")

MOST_TRIED = 4
BYTES_AT_A_TIME = 128 << 20
"""How much of the Parquet files lies on this machine's disk at a time."""


def load_newest(store: Store, database: Database) -> Checkpoint | None:
    """Fill an index that has never been synced. Returns the checkpoint, None when there is none that can be used.

    One that cannot be read is passed over with a notice: another may have come meanwhile, which collected its tables,
    or the one before is whole; else the journal tells everything.
    """
    tried: set[int] = set()
    while len(tried) < MOST_TRIED:
        generation = max(set(_listed(store)) - tried, default=None)
        if generation is None:
            return None
        tried.add(generation)
        try:
            checkpoint = read_checkpoint(store, generation)
            own = checkpoint.registry_id == registry_id(store)
            if own and checkpoint.form == INDEX_FORMAT and checkpoint.sealed:
                _load(store, database, checkpoint)
                return checkpoint
        except StorageUnavailable:
            raise
        except (RegistryError, ValueError, OSError) as error:
            log.warning(
                "Checkpoint %d of %s cannot be used (%s): the index is built from what is older, and from the journal.",
                generation, store.storage.url, error,
            )  # fmt: skip
    return None


def _listed(store: Store) -> list[int]:
    try:
        return generations(store)
    except StorageUnavailable:
        raise
    except RegistryError as error:
        log.warning("The checkpoints of %s cannot be listed (%s): the journal is read.", store.storage.url, error)
        return []


def _load(store: Store, database: Database, checkpoint: Checkpoint) -> None:
    with database.filling() as connection, tempfile.TemporaryDirectory() as folder:
        if connection.execute("SELECT 1 FROM state").fetchone():
            return  # another process was quicker
        for name in INDEXES:
            connection.execute(f"DROP INDEX {name}")
        for group in _groups(checkpoint):
            _insert(store, connection, group, Path(folder))
        for statement in INDEXES.values():
            connection.execute(statement)
        note_parts(connection, checkpoint.parts)
        connection.execute("INSERT INTO state VALUES ('sealed', ?)", (checkpoint.sealed,))
        connection.execute("INSERT INTO state VALUES ('newest', ?)", (micros(checkpoint.newest),))


def _groups(checkpoint: Checkpoint) -> Iterator[list[tuple[str, TableFile]]]:
    """Tables with their files, but for empty ones: as many together as may lie on the disk."""
    found = [*(pair for part in checkpoint.parts for pair in part.tables.items()), *checkpoint.rest.items()]
    group: list[tuple[str, TableFile]] = []
    for table, file in found:
        if not file.rows:
            continue
        if group and sum(f.size for _, f in group) + file.size > BYTES_AT_A_TIME:
            yield group
            group = []
        group.append((table, file))
    yield group


def _insert(store: Store, connection: sqlite3.Connection, group: Iterable[tuple[str, TableFile]], folder: Path) -> None:
    here = [(table, file, folder / f"{i}.parquet") for i, (table, file) in enumerate(group)]
    store.storage.download([Download(file.key, path, file.size, file.sha256) for _, file, path in here])
    for table, file, path in here:
        found = insert(connection, table, path)
        if found != file.rows:
            raise ValueError(f"{file.key} has {found} rows, and its manifest says {file.rows}")
        path.unlink()
