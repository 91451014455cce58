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


def found_by(work: str, *arguments: object) -> Any:
    """What the processes of a program that has not imported Prefect have found."""
    command = [sys.executable, str(PROGRAM), work, *map(json.dumps, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-4_000:]
    return json.loads(done.stdout)


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


@pytest.mark.server
def test_no_read_fails_while_two_processes_overwrite_an_object_for_ten_seconds(
    tmp_path: Path, seaweedfs: Server
) -> None:
    """Each read is one whole content that was saved, and of none of the two an older one than before; no overwriter is
    refused. With files and in a record, in a folder and on S3.
    """
    stores = [(str(tmp_path / "registry"), {}), (seaweedfs.url(), dict(seaweedfs.storage_options))]
    for found in found_by("readers", stores, 10):
        assert [read["failed"] for read in found["reads"]] == [[], []]
        assert min(found["saves"]) >= 5
        for read in found["reads"]:
            assert read["reads"] >= 10
            assert all(0 < last <= saves for last, saves in zip(read["last"], found["saves"], strict=True))
