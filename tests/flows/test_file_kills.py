"""``kill -9`` of an ingestion before and after every call of the store, and what the next tick makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SHARDS = 2


def kills(folder: Path, where: str) -> list[dict[str, Any]]:
    """What ``kill_server.py`` finds."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    commands = [
        [sys.executable, str(here / "kill_server.py"), str(folder), where, str(shard), str(_SHARDS)]
        for shard in range(_SHARDS)
    ]
    servers = [subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, text=True) for c in commands]
    found = [json.loads(line) for server in servers for line in server.communicate(timeout=300)[0].splitlines()]
    assert all(server.returncode == 0 for server in servers)
    return found


@pytest.mark.parametrize("where", ["before", pytest.param("after", marks=pytest.mark.deep)])
def test_killed_at_any_call(tmp_path: Path, where: str) -> None:
    """Wherever an ingestion is killed, readers see all of it or nothing, and the next tick, at once and without a
    reaper, takes in exactly what is missing.
    """
    found = kills(tmp_path, where)
    assert sorted(kill["at"] for kill in found) == list(range(1, len(found) + 1))
    assert len(found) > 40
    files = ("a.csv", "b.jsonl", "c.csv.gz")
    for kill in found:
        # A call that raises, such as a look at a decision that is not there yet, has no "after": nobody was killed.
        assert kill["status"] in ((-signal.SIGKILL,) if where == "before" else (-signal.SIGKILL, 0)), kill
        assert kill["failed"] == 0, kill
        assert kill["seen"] in ([], [1, 2, 3, 4, 5]), kill
        step = "unchanged" if kill["seen"] else "taken"
        assert kill["next"] == {**dict.fromkeys(files, step), "d.csv.gz": "left"}, kill
        assert kill["then"] == [1, 2, 3, 4, 5], kill
        assert kill["idle"] == {**dict.fromkeys(files, "unchanged"), "d.csv.gz": "left"}, kill
    killed = [kill for kill in found if kill["status"] != 0]
    assert len(killed) > 20
    if where == "after":
        assert any(kill["seen"] for kill in killed)  # after the decision
