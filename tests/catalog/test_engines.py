"""DuckDB reads checkpoints on S3, through the registry's own filesystem (docs/how-to/query-with-duckdb.md)."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest
from catalog_support import asked, fresh, publish, walked

from prefect_registry import Registry
from prefect_registry.testing.servers import Server


def tables(registry: Registry) -> dict[str, list[str]]:
    """URLs of the files of each table, as the page says."""
    newest = max(found.key for found in registry.storage.list("catalog/checkpoints/"))
    manifest = json.loads(registry.storage.get(newest))
    found: dict[str, list[str]] = {}
    for files in [*(part["tables"] for part in manifest["parts"]), manifest["rest"]]:
        for table, file in files.items():
            found.setdefault(table, []).append(f"{registry.url}/{file['key']}")
    return found


@pytest.mark.server
def test_duckdb_on_s3_gives_the_same_counts(seaweedfs: Server) -> None:
    """Of the files of two checkpoints, of which the second refers to none of the first by accident."""
    registry = Registry(seaweedfs.url("engines"), storage_options=seaweedfs.storage_options)
    publish(registry, "a", 1, 2, 3, count=3)
    assert registry.checkpoint(unsealed=True).written
    publish(registry, "b", 1, 2, count=2)
    run = publish(registry, "c", 1)
    registry.revert(run)
    assert registry.checkpoint(unsealed=True).written
    files: dict[str, Any] = tables(registry)
    db = duckdb.connect()
    db.register_filesystem(registry.storage.fs()[0])
    counted = db.execute(
        f"SELECT kind, state, count(*), sum(rows) FROM read_parquet({files['datasets']!r}) GROUP BY ALL ORDER BY 1"
    ).fetchall()
    assert counted == [("a", "READY", 3, 9), ("b", "READY", 2, 4), ("c", "DELETED", 1, 1)]
    ((edges,),) = db.execute(f"SELECT count(*) FROM read_parquet({files['edges']!r})").fetchall()
    assert edges == 6
    assert asked(fresh(registry)) == walked(registry)
