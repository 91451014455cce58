"""Stores that earlier releases wrote are read as they were meant, without writing a byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from write_store import found

from prefect_registry.errors import FormatError
from prefect_registry.registry import Registry

RELEASES = sorted(p.parent for p in Path(__file__).parent.glob("*/expected.json"))


def test_there_is_a_golden_store() -> None:
    """The first release's store is here."""
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES, ids=lambda p: p.name)
def test_a_store_of_an_older_release_is_read(release: Path, tmp_path: Path) -> None:
    """Runs, datasets, tables, documents, events and incidents are what that release recorded; nothing is written."""
    store = tmp_path / "store"
    shutil.copytree(release / "store", store)
    before = sorted(p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file())
    registry = Registry(store, create=False, heartbeats=False)
    assert json.loads(json.dumps(found(registry))) == json.loads((release / "expected.json").read_text("utf-8"))
    assert sorted(p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file()) == before


@pytest.mark.parametrize("change", [{"format": 2}, {"features": ["sharded"]}, {"schema": "registry/2"}])
def test_a_newer_store_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    """An unknown format, feature or schema is refused with a clear error, before anything is read or written."""
    store = tmp_path / "store"
    shutil.copytree(RELEASES[-1] / "store", store)
    document = json.loads((store / "registry.json").read_text("utf-8"))
    (store / "registry.json").write_text(json.dumps({**document, **change}), encoding="utf-8")
    with pytest.raises(FormatError, match="pgrade"):
        Registry(store)
