"""A program that has begun a query on a slow store, and ends, ends as programs do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefect_registry import Registry

FILES = 20
PROGRAM = """
import sys, time
from prefect_registry import Registry
from prefect_registry.storage.local import LocalStorage
from prefect_registry.storage.wrapper import WrapperStorage

class SlowFile:
    def __init__(self, file):
        self._file = file
    def read(self, *size):
        time.sleep(0.2)
        return self._file.read(*size)
    def __getattr__(self, name):
        return getattr(self._file, name)

class SlowStorage(WrapperStorage):
    def open(self, key):
        return SlowFile(self.inner.open(key))

registry = Registry(SlowStorage(LocalStorage(sys.argv[1])))
dataset = registry.table("numbers").dataset()
"""
ENOUGH = {
    "some rows": "print(dataset.head(5).num_rows)",
    "a batch": "print(len(next(iter(dataset.to_batches(batch_size=5)))))",
    "a fork": "import os; print(dataset.head(5).num_rows, flush=True); os.fork() and os.wait()",
}


@pytest.mark.parametrize("enough", ENOUGH.values(), ids=list(ENOUGH))
def test_who_has_seen_enough_ends_well(enough: str, tmp_path: Path) -> None:
    """Arrow is still reading ahead then, in threads that come back to Python: the process was aborted, or hung."""
    with Registry(tmp_path).run("fill") as run, run.dataset("numbers") as dataset:
        for _ in range(FILES):
            dataset.write_table(pa.table({"n": range(5)}))
    done: Any = subprocess.run(
        [sys.executable, "-c", PROGRAM + enough, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")
