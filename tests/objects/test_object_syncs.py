"""How often a save on a local folder waits for the disk; its files last before they are named (decision 0030)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefect_registry import Registry
from tests.storage.recorded_syncs import Recorded, record

FILES = 30


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry that keeps two objects already: whatever is made once is there."""
    registry = Registry(str(tmp_path / "store"), version_objects=True, heartbeats=False)
    registry.save("small", b"x", version="1")
    folder = _folder(tmp_path, "first", 2)
    registry.save("folder", folder, version="1")
    return registry


def _folder(tmp_path: Path, name: str, files: int) -> Path:
    folder = tmp_path / name
    for i in range(files):
        (folder / str(i % 3)).mkdir(parents=True, exist_ok=True)
        (folder / str(i % 3) / f"{i}.bin").write_bytes(os.urandom(1000))
    return folder


def test_a_small_save_syncs_one_file_and_the_folders_that_are_new(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generation, and the folders that it and its touch made, each with the one above: nothing twice."""
    recorded = record(monkeypatch)
    registry.save("small", os.urandom(1024), version="2")
    assert recorded.count("file") == 1
    folders = [inode for kind, inode in recorded.steps if kind == "folder"]
    assert len(folders) == len(set(folders)) == 2 + 2, "of the cell and of its touch: name/2 and name"


def test_a_folder_is_synced_file_by_file_and_folder_by_folder(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its files there are begin, generation and decision; the folders do not grow with the files."""
    source = _folder(tmp_path, "source", FILES)
    recorded = record(monkeypatch)
    registry.save("folder", source, version="2")
    assert recorded.count("file") == FILES + 3
    assert recorded.count("folder") <= 20


def test_the_files_last_before_anything_names_them(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the generation gets its name every file and folder below it has been synced, and so for the decision with
    the generation: a power cut never leaves a version without its bytes.
    """
    source = _folder(tmp_path, "source", FILES)
    recorded = record(monkeypatch)
    registry.save("folder", source, version="2")
    placed = [str(path) for kind, path in recorded.steps if kind == "place"]
    (generation,) = (path for path in placed if "/cells/object/" in path)
    (decision,) = (path for path in placed if path.endswith("/end.json"))
    data = [path for path in placed if "/data/" in path]
    assert len(data) == FILES
    for path in data:
        assert _lasts(recorded, Path(path), tmp_path / "store") < recorded.last("place", generation)
    assert _lasts(recorded, Path(generation), tmp_path / "store") < recorded.last("place", decision)


def _lasts(recorded: Recorded, path: Path, root: Path) -> int:
    """The position of the step by which a new file, and each folder that was made for it, had been synced."""
    steps = [recorded.last("file", path.stat().st_ino), recorded.last("folder", path.parent.stat().st_ino)]
    assert -1 < steps[0] < recorded.last("place", str(path)) < steps[1]
    for above in path.parent.parents:
        if above == root:
            break
        steps.append(recorded.last("folder", above.stat().st_ino))
    return max(steps)
