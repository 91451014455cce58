"""``kill -9`` while objects are saved, overwritten, deleted and pointed at: old or new, and nobody is blocked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from memory_folders import memory_folder

SERVER = Path(__file__).with_name("object_crashes.py")


def kill(shards: range, of: int) -> Counter[str]:
    """Kill in fork servers side by side; how often in each operation."""
    where = {"TMPDIR": memory_folder(1 << 30)}
    commands = [[sys.executable, str(SERVER), str(shard), str(of)] for shard in shards]
    servers = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True, env={**os.environ, **where}) for c in commands]
    outputs = [server.communicate()[0] for server in servers]
    assert all(server.returncode == 0 for server in servers), outputs
    kills = Counter[str]()
    for output in outputs:
        found = json.loads(output)
        assert found["wrong"] == []
        kills.update(found["kills"])
    return kills


def test_two_hundred_kills_while_objects_are_overwritten() -> None:
    """A reader sees the old content or the new one, what the caller was told is there, a later writer does not wait."""
    kills = kill(range(2), 4)
    by_level = {level: sum(n for o, n in kills.items() if o.endswith(level)) for level in ("storage", "system")}
    assert sum(n for operation, n in kills.items() if operation.startswith("overwrite")) >= 200
    assert min(by_level.values()) >= 50
    assert len(kills) == 12


@pytest.mark.deep
@pytest.mark.timeout(7_200)
def test_a_kill_at_every_place_where_objects_are_written() -> None:
    """The same at each storage call, and at each system call that changes the disk."""
    for first in (0, 2):
        kill(range(first, first + 2), 4)
    for first in (0, 2, 4):
        kill(range(first, first + 2), 6)
