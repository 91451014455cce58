"""Objects that many processes save, overwrite and read at once: every save has a number of its own, no read fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefect_registry.testing.servers import Server

PROGRAM = Path(__file__).with_name("object_processes.py")


def found_by(work: str, url: str, options: object, *numbers: int) -> dict[str, Any]:
    """What the processes of a program that has not imported Prefect have found."""
    command = [sys.executable, str(PROGRAM), work, url, json.dumps(options), *map(str, numbers)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-4_000:]
    return dict(json.loads(done.stdout))


def check_saves(url: str, options: object, processes: int, each: int) -> None:
    found = found_by("saves", url, options, processes, each)
    assert found["wrong"] == []
    assert found["numbers"] == list(range(1, processes * each + 1))
    assert found["listed"] == [str(n) for n in found["numbers"]]


def test_eight_processes_save_fifty_automatic_versions_each_in_a_folder(tmp_path: Path) -> None:
    """400 saves have the 400 numbers from 1 on, and each loads what was saved under it."""
    check_saves(str(tmp_path / "registry"), {}, 8, 50)


@pytest.mark.server
def test_eight_processes_save_fifty_automatic_versions_each_on_google_cloud_storage(fake_gcs: Server) -> None:
    """The same where each save is some requests."""
    check_saves(fake_gcs.url(), dict(fake_gcs.storage_options), 8, 50)


@pytest.mark.server
def test_four_processes_save_ten_automatic_versions_each_on_s3(seaweedfs: Server) -> None:
    """The same on S3."""
    check_saves(seaweedfs.url(), dict(seaweedfs.storage_options), 4, 10)


def test_no_read_fails_while_an_object_is_overwritten_for_ten_seconds(tmp_path: Path) -> None:
    """Each read is one whole content, and none is older than the read before; with files, and in a record."""
    found = found_by("readers", str(tmp_path / "registry"), {}, 10)
    assert [read["failed"] for read in found["reads"]] == [[], []]
    assert min(found["writes"]) >= 10
    assert min(read["reads"] for read in found["reads"]) >= 10
