"""``kill -9`` anywhere leaves every run whole or absent, blocks nobody, and makes no liar of what was said before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from memory_folders import memory_folder

SERVER = Path(__file__).with_name("crashes.py")
SHARDS = 2
LEVELS = ("storage", "system")
OPERATIONS = (
    "publish",
    "give_up",
    "drop_one",
    "nested",
    "one_by_one",
    "documents",
    "revert",
    "reap_and_collect",
    "let_go",
    "attempts",
)
PHASES = ("begin", "write", "commit", "close", "rollback", "reap", "collect", "revert", "release")


def kill_everywhere(folder: str) -> tuple[Counter[str], Counter[str]]:
    """Kill once at every place, in fork servers side by side, whose stores are in the folder; how often in each
    operation, and in each phase.
    """
    commands = [[sys.executable, str(SERVER), str(shard), str(SHARDS)] for shard in range(SHARDS)]
    env = {**os.environ, "TMPDIR": folder}
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) for command in commands]
    outputs = [server.communicate()[0] for server in servers]
    assert all(server.returncode == 0 for server in servers), outputs
    found = [json.loads(output) for output in outputs]
    assert [w for f in found for w in f["wrong"]] == []
    operations, phases = Counter[str](), Counter[str]()
    for each in found:
        operations.update(each["operations"])
        phases.update(each["phases"])
    return operations, phases


@pytest.mark.timeout(2_400)  # beside two other lanes, on a slow machine
def test_a_kill_at_each_of_two_thousand_storage_and_system_calls() -> None:
    """Killed at any call of begin, write, commit, close, rollback, reap, collect, revert or release: no harm."""
    operations, phases = kill_everywhere(memory_folder(1 << 30))
    assert set(operations) == {f"{operation} {level}" for operation in OPERATIONS for level in LEVELS}
    assert set(phases) == {f"{phase} {level}" for phase in PHASES for level in LEVELS}
    assert phases.total() >= 2_000


@pytest.mark.deep
@pytest.mark.timeout(7_200)
def test_kills_at_every_place(tmp_path: Path) -> None:
    """The same on a disk, and nine times more in memory, since the machine answers differently each time."""
    kill_everywhere(str(tmp_path))
    for _ in range(9):
        kill_everywhere(memory_folder(1 << 30))
