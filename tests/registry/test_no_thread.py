"""Where a process may start no more threads, nobody keeps leases: so no run is begun that would be held for nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.errors import ConfigurationError

NO_STACK_IS_THIS_LARGE = 1 << 46


@pytest.fixture
def no_threads() -> Iterator[None]:
    """The operating system refuses every thread that is asked for."""
    yield
    threading.stack_size(0)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("publish", ["on_close", "on_commit"])
def test_a_run_whose_lease_cannot_be_kept_is_dropped(tmp_path: Path, publish: str) -> None:
    """Who begins it is told why; nothing is left undecided, and later, with a thread, all goes on."""
    registry = Registry(str(tmp_path / "store"))
    around = Registry(str(tmp_path / "store"), heartbeats=False).insert_run("around", publish="on_commit")
    threading.stack_size(NO_STACK_IS_THIS_LARGE)
    with pytest.raises(ConfigurationError, match="can start no more") as caught:
        _ = registry.insert_run("x") if publish == "on_close" else registry.begin_dataset("rows", around)
    assert caught.value.committed == "no"
    threading.stack_size(0)
    assert [run.id for run in registry.runs(state="RUNNING")] == [around]
    with registry.run("afterwards") as run, run.dataset("rows") as ds, ds.open("a.txt", "w") as file:
        file.write("x")
    assert registry.table("rows").files()
