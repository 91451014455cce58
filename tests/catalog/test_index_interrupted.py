"""An interrupt while the index waits for another process leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from threading import Timer

import pytest

from prefect_registry.catalog.database import Database


@pytest.mark.skipif(os.name == "nt", reason="a process cannot interrupt itself there")
def test_after_an_interrupted_wait_the_index_is_free_and_can_be_used(tmp_path: Path) -> None:
    """Ctrl-C during the wait is raised when the transaction has begun: it is ended, for this process and others."""
    database = Database(tmp_path / "index.sqlite")
    database.rows("SELECT 1")
    other = sqlite3.connect(tmp_path / "index.sqlite", 0.1, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timers = [Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)), Timer(0.5, other.rollback)]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt), database.writing():
        pytest.fail("the interrupt came before the transaction was used")
    for timer in timers:
        timer.join()
    other.execute("BEGIN IMMEDIATE")
    other.close()
    assert database.rows("SELECT * FROM watched") == []
    database.close()
