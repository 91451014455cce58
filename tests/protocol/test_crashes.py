"""``kill -9`` anywhere leaves every run whole or absent, blocks nobody, and makes no liar of what was said before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).with_name("crashes.py")


def kill(shards: int, of: int, most: int) -> dict[str, Any]:
    """Run the fork servers side by side and add up what they found."""
    command = [sys.executable, str(SERVER)]
    servers = [
        subprocess.Popen([*command, str(i), str(of), str(most)], stdout=subprocess.PIPE, text=True)
        for i in range(shards)
    ]
    outputs = [server.communicate()[0] for server in servers]
    assert all(server.returncode == 0 for server in servers), outputs
    found = [json.loads(output) for output in outputs]
    return {"kills": sum(f["kills"] for f in found), "wrong": [w for f in found for w in f["wrong"]]}


def test_two_thousand_kills_at_storage_and_system_calls() -> None:
    """Killed before or after any call of begin, write, commit, close, rollback, reap, collect or revert: no harm."""
    found = kill(2, 2, 2_000)
    assert found["wrong"] == []
    assert found["kills"] >= 2_000


@pytest.mark.deep
@pytest.mark.timeout(7_200)
def test_kills_at_every_place() -> None:
    """The same, ten times over, since the disk answers differently each time."""
    for _ in range(10):
        assert kill(2, 2, 100_000)["wrong"] == []
