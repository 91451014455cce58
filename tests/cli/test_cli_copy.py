"""``prefect-registry copy``: a registry in another place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from prefect_registry import Registry


def test_a_copy_is_a_registry_of_its_own(tmp_path: Path, command: Callable[..., Any]) -> None:
    source = Registry(tmp_path / "source")
    with source.run("load") as run, run.dataset("k") as ds:
        ds.write_table(pa.table({"n": [1, 2]}))
    running = source.insert_run("running")
    said = command("copy", str(tmp_path / "copy"), "--registry", source.url)
    assert said.code == 0
    assert said.out == ""
    assert "1 run(s) with 1 file(s)" in said.err
    assert running in said.err
    copy = Registry(tmp_path / "copy", create=False)
    assert copy.table("k").to_table().num_rows == 2
    again = command("copy", copy.url, "--registry", source.url)
    assert again.code == 5
    assert "already" in again.err
    data = command("copy", str(tmp_path / "other"), "--registry", source.url, "--json").data
    assert data["schema"] == "prefect-registry/copy/1"
    assert data["report"]["files"] == 1
    assert data["report"]["unfinished"] == [running]
