"""Eight processes that register at the same time, in a folder: one wins, the others are told so, nothing is left."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from model_processes import LARGE
from model_support import assert_whole, client, published

from prefect_registry import Registry

PROGRAM = Path(__file__).with_name("model_processes.py")
PROCESSES = 8


@pytest.fixture
def folder(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def all_at_once(registry: Registry, work: str, processes: int = PROCESSES) -> list[Any]:
    """What each process was told."""
    command = [sys.executable, str(PROGRAM), registry.url, work, str(processes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return list(json.loads(done.stdout))


def winner(told: list[Any]) -> int:
    """The one that has done it; all others were told that it is there, and that nothing of theirs is."""
    won = [n for n, each in enumerate(told) if each[0] == "done"]
    assert len(won) == 1, told
    for each in told:
        assert each[0] in ("done", "DuplicateError", "UndecidedConflict"), each
        assert each[0] == "done" or each[2] == "no"
    return won[0]


def test_one_version_by_its_uri(folder: Registry) -> None:
    """The artifact, the card and the alias are the winner's."""
    n = winner(all_at_once(folder, "register"))
    models = client(folder)
    artifact = models.get_model_artifact("HAL", "1")
    assert artifact is not None
    assert (artifact.uri, models.card("HAL", "champion")) == (f"s3://{n}", f"# {n}")
    assert published(models) == {"HAL": {"1": [("doc-artifact", "model-card"), ("model-artifact", "HAL")]}}
    assert [m.by for m in models.alias_history("HAL", "champion")] == [f"process {n}"]
    assert_whole(folder)


def test_one_version_with_its_files(folder: Registry) -> None:
    """What is loaded is the winner's; no byte of the others stays."""
    n = winner(all_at_once(folder, "register_files"))
    models = client(folder)
    assert models.load("HAL") == bytes([n]) * LARGE
    assert models.card("HAL") == f"# {n}"
    folder.reap()
    folder.collect(dry_run=False)
    assert len(list(folder.storage.list("data/"))) == 1
    assert folder.collect().objects == 0
    assert_whole(folder)
    models.register_model("HAL", model=b"next", version="2")


@pytest.mark.parametrize("work", ["one_name", "one_external_id"])
def test_names_and_external_ids_are_unique_across_processes(folder: Registry, work: str) -> None:
    n = winner(all_at_once(folder, work, 4))
    found = list(client(folder).get_registered_models())
    assert len(found) == 1
    assert (found[0].description == str(n)) is (work == "one_name")
    by_id = client(folder).models.get_registered_model_by_params(external_id="e")
    assert by_id == (found[0] if work == "one_external_id" else None)
    assert_whole(folder)


def test_each_gets_a_number_of_its_own(folder: Registry) -> None:
    """Once the model is there, nobody waits for anybody."""
    client(folder).register_model("HAL", "s3://0", version="1")
    told = all_at_once(folder, "numbers")
    assert sorted(int(each[1]) for each in told) == list(range(2, PROCESSES + 2))
    assert sorted(int(v) for v in published(client(folder))["HAL"]) == list(range(1, PROCESSES + 2))
    assert_whole(folder)


def test_moves_and_updates_by_many(folder: Registry) -> None:
    """None is lost: each move and each update is in the history, in one order."""
    models = client(folder)
    for version in ("a", "b"):
        models.register_model("HAL", "s3://x", version=version)
    told = all_at_once(folder, "move", 4)
    assert {each[0] for each in told} == {"done"}, told
    history = models.history("HAL", "a")[1:]
    assert sorted(str(e.reason) for e in history) == sorted(map(str, range(4)))
    assert models.aliases("HAL")["champion"] == models.alias_history("HAL", "champion")[-1].version
    moves = [m.version for m in models.alias_history("HAL", "champion")]
    assert all(first != second for first, second in itertools.pairwise(moves))
    assert_whole(folder)
