"""A decision in a folder that could not be synced: nobody is told of it before a sync has succeeded (decision 0030)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from registry_support import numbers, rows

from prefect_registry import Registry
from prefect_registry.errors import OutcomeUnknown
from prefect_registry.ledger import paths

FOR_EVER = 1_000_000


class Disk:
    """A store in which syncs of the folder of a run fail once its decision lies there, as often as it is told."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.failures = 0
        self._decision = root
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def staged(self, registry: Registry) -> str:
        """A run with a dataset, to be closed."""
        run_id = registry.insert_run("ingest")
        with registry.attach(run_id).dataset("numbers") as ds:
            ds.write_table(numbers(1))
        self._decision = self.root / paths.end_key(run_id)
        return run_id

    def _sync(self, descriptor: int) -> None:
        folder = self._decision.parent.stat().st_ino
        if self.failures and self._decision.is_file() and os.fstat(descriptor).st_ino == folder:
            self.failures -= 1
            raise OSError(errno.EIO, "Input/output error")
        self._fsync(descriptor)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path / "store", monkeypatch)


def test_what_may_not_last_is_called_unknown_until_a_sync_succeeds(disk: Disk) -> None:
    """Closing, closing again and reading say what is true, from any registry of the process."""
    registry, other = Registry(str(disk.root)), Registry(str(disk.root))
    run_id = disk.staged(registry)
    disk.failures = FOR_EVER
    for each in (registry, registry, other):
        with pytest.raises(OutcomeUnknown) as caught:
            each.close_run(run_id, True)
        assert caught.value.committed == "unknown"
        assert run_id in str(caught.value)
    with pytest.raises(OutcomeUnknown):
        rows(other, "numbers")
    disk.failures = 0
    other.close_run(run_id, True)
    assert rows(other, "numbers") == [1]


def test_a_sync_that_fails_once_is_made_up_for(disk: Disk) -> None:
    """The next sync of the folder makes the decision last: then it is no doubt that the run is committed."""
    registry = Registry(str(disk.root))
    run_id = disk.staged(registry)
    disk.failures = 1
    registry.close_run(run_id, True)
    assert disk.failures == 0
    assert rows(registry, "numbers") == [1]
