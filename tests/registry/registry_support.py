"""What the tests of the registry share: fast settings, small tables, and what an error must say, and children."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefect_registry import Registry
from prefect_registry.datasets.tables import Table
from prefect_registry.errors import RegistryError
from prefect_registry.ledger.store import LedgerSettings
from prefect_registry.records import Doc, DoctagsAsset
from prefect_registry.registry import Run

FAST = LedgerSettings(undecided_wait_seconds=0.3, younger_wait_seconds=0.2, poll_seconds=0.01)
"""Settings that wait a little less for other runs."""


class Later:
    """A clock that can be set forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead.total_seconds()

    def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


def numbers(*values: int) -> pa.Table:
    """A table with one column of integers."""
    return pa.table({"n": pa.array(values, pa.int64())})


def write(run: Run, kind: str, *values: int, **options: Any) -> str:
    """Stage a dataset of integers in a run; returns its id."""
    with run.dataset(kind, **options) as ds:
        ds.write_table(numbers(*values))
    return ds.id


def publish(registry: Registry, kind: str, *values: int, **options: Any) -> str:
    """Publish a dataset of integers by a run of its own; returns the run's id."""
    with registry.run("publish") as run:
        write(run, kind, *values, **options)
    return run.id


def rows_of(table: Table) -> list[int]:
    """The integers in a table, in its order."""
    found = table.to_table()
    return [int(row["n"]) for row in found.to_pylist()] if "n" in found.column_names else []


def rows(registry: Registry, kind: str) -> list[int]:
    """The integers that readers see."""
    return rows_of(registry.table(kind))


def keys(registry: Registry) -> list[str]:
    """Everything that is stored."""
    return [found.key for found in registry.storage.list("")]


def doc(id_: str, **fields: Any) -> Doc:
    """A document."""
    return Doc(id=id_, **fields)


def asset(doc_id: str, **fields: Any) -> DoctagsAsset:
    """The doctags of a document."""
    values = {"doctags_uri": "s3://x/1", "pages": 3, "vlm_model": "m", "vlm_revision": "r1", **fields}
    return DoctagsAsset(doc_id=doc_id, **values)


def assert_tells(error: RegistryError) -> None:
    """An error says what happened, why, and what to do, in sentences of which none is empty."""
    assert error.what.strip()
    assert error.why.strip()
    assert error.todo.strip()
    assert all(sentence in str(error) for sentence in (error.what, error.why, error.todo))


@contextlib.contextmanager
def refused(
    expected: type[BaseException] | tuple[type[BaseException], ...], *registries: Registry, committed: str | None = "no"
) -> Iterator[pytest.ExceptionInfo[RegistryError]]:
    """The block raises an error of the registry that tells everything, and nothing is written or lost by it."""
    before = [keys(registry) for registry in registries]
    with pytest.raises(expected) as caught:
        yield caught  # type: ignore[misc]
    assert isinstance(caught.value, RegistryError)
    assert_tells(caught.value)
    assert caught.value.committed == committed
    assert [keys(registry) for registry in registries] == before


def only(items: Sequence[Any]) -> Any:
    """The one item there is."""
    (item,) = items
    return item


class Children:
    """Forked children that each do one thing; what they return is left in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[int, Path] = {}

    def start(self, work: Callable[[], Any]) -> None:
        """Do ``work`` in a child."""
        result = self.folder / f"result-{len(self.running)}-{time.monotonic_ns()}"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                result.write_text(json.dumps(work()))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self.running[child] = result

    def results(self) -> list[Any]:
        """Wait for all; what they returned."""
        found = []
        for child, result in self.running.items():
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            found.append(json.loads(result.read_text()))
        self.running.clear()
        return found
