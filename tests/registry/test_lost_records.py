"""A published dataset whose record is gone from the store: no reader is given the rest of the table for the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from registry_support import publish, rows

from prefect_registry import Registry
from prefect_registry.errors import IntegrityError
from prefect_registry.ledger import paths


def test_a_table_is_not_read_without_a_dataset_whose_record_is_lost(tmp_path: Path) -> None:
    """Neither by the index nor in a snapshot; what other kinds show stays readable."""
    registry = Registry(str(tmp_path / "store"))
    publish(registry, "other", 7)
    publish(registry, "numbers", 1, mode="append")
    publish(registry, "numbers", 2, mode="append")
    lost = registry.latest("numbers")
    (tmp_path / "store" / paths.dataset_key(lost.run_id, lost.id[-16:], 1)).unlink()
    reader = Registry(registry.url)
    for read in (reader.table, reader.latest, reader.snapshot().table):
        with pytest.raises(IntegrityError, match="missing"):
            read("numbers")
    assert rows(reader, "other") == [7]


def test_an_index_that_knows_more_than_a_store_put_back_from_a_backup_is_noticed(tmp_path: Path) -> None:
    """What it says was published last has replaced the table, and is gone: an empty table would be wrong."""
    store, backup = tmp_path / "store", tmp_path / "backup"
    registry = Registry(str(store))
    publish(registry, "numbers", 1)
    shutil.copytree(store, backup)
    publish(registry, "numbers", 2)
    assert rows(registry, "numbers") == [2]
    shutil.rmtree(store)
    shutil.copytree(backup, store)
    reader = Registry(str(store))
    with pytest.raises(IntegrityError, match="fsck --repair"):
        reader.table("numbers")
    reader.fsck(repair=True)
    assert rows(reader, "numbers") == [1]
