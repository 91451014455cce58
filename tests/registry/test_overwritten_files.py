"""A file of a dataset is written once more, and that fails on the way: the manifest never names bytes that are gone."""

from __future__ import annotations

import contextlib

import pytest

from prefect_registry import Registry
from prefect_registry.datasets.writing import DatasetWriter
from prefect_registry.errors import InvalidState, StorageUnavailable
from prefect_registry.storage.memory import MemoryStorage
from prefect_registry.testing.faults import FaultyStorage, lost_answer

NAME = "report.csv"


@pytest.fixture
def faulty() -> FaultyStorage:
    """A store that loses what it is told to lose."""
    return FaultyStorage(MemoryStorage())


@pytest.fixture
def registry(faulty: FaultyStorage) -> Registry:
    """A registry there."""
    return Registry(faulty, heartbeats=False)


def _write(ds: DatasetWriter, text: str) -> None:
    with ds.open(NAME, "w") as file:
        file.write(text)


def _overwritten(ds: DatasetWriter, faulty: FaultyStorage) -> None:
    """As many bytes as before, which arrive, and whose writer hears nothing of it."""
    _write(ds, "old")
    faulty.plan.append(lost_answer(method="upload", key=f"*{NAME}", times=100))
    with pytest.raises(StorageUnavailable):
        _write(ds, "new")
    faulty.plan.clear()


def test_a_file_of_which_nobody_knows_what_it_holds_refuses_the_commit(
    registry: Registry, faulty: FaultyStorage
) -> None:
    """Nothing is published that readers would find damaged."""
    with registry.run("x") as run:
        with pytest.raises(InvalidState, match=NAME), run.dataset("k") as ds:
            _overwritten(ds, faulty)
        with run.dataset("k") as other:
            _write(other, "whole")
    assert registry.latest("k").id == other.id


def test_writing_it_once_more_mends_it(registry: Registry, faulty: FaultyStorage) -> None:
    """Then its bytes are known again."""
    with registry.run("x") as run, run.dataset("k") as ds:
        _overwritten(ds, faulty)
        _write(ds, "again")
    dataset = registry.latest("k")
    dataset.verify()
    with contextlib.closing(dataset.open(NAME)) as file:
        assert file.read() == b"again"


def test_where_others_write_it_is_read_at_the_commit(registry: Registry, faulty: FaultyStorage) -> None:
    """What is there is what counts then, and it is hashed anew although its size is the same."""
    with registry.run("x") as run, run.dataset("k") as ds:
        assert ds.root
        _overwritten(ds, faulty)
    registry.latest("k").verify()
