"""What a registry holds is given back when nobody uses it any more."""

from __future__ import annotations

import gc
import time
import weakref
from pathlib import Path

import pytest
from registry_support import publish

from prefect_registry import Registry
from prefect_registry.ledger import beats


def test_a_registry_that_nobody_uses_is_let_go_long_before_a_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread for heartbeats ends, although the run's next one was due in a third of the lease: else whoever opens
    a registry for each job would soon have hundreds of threads and connections.
    """
    monkeypatch.setattr(beats, "_IDLE_SECONDS", 0.05)
    registry = Registry(str(tmp_path))
    publish(registry, "numbers", 1)
    storage = weakref.ref(registry.storage)
    del registry
    deadline = time.monotonic() + 10
    while storage() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
        gc.collect()
    assert storage() is None
