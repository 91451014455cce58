"""What people see of a committed run in Prefect's interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from conftest import Prefect

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.prefect]

FLOW = """\
import sys
import pyarrow as pa
from prefect import flow
from prefect_registry import Registry, current_run, registry_run

registry = Registry(sys.argv[1])

@registry_run(registry)
@flow
def measure() -> None:
    with current_run().dataset("raw") as raw:
        raw.write_table(pa.table({"celsius": [4.5, 18.0]}))

@registry_run(registry)
@flow
def average() -> None:
    registry.table("raw").to_table()
    with current_run().dataset("<b>mean</b>") as mean:
        mean.write_table(pa.table({"celsius": [11.25]}))

measure()
average()
"""


def test_a_committed_run_is_drawn(prefect: Prefect, page: Page, tmp_path: Path) -> None:
    """The page of a committed run has the picture of what it was made from and what it made; names are text."""
    script = tmp_path / "flows.py"
    script.write_text(FLOW)
    done = prefect.run(str(script), str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    wanted = {"artifacts": {"type": {"any_": ["markdown"]}}, "sort": "CREATED_DESC"}
    found = httpx.post(f"{prefect.api}/artifacts/filter", json=wanted).json()
    (run_page,) = [a for a in found if "mermaid" in str(a["data"]) and "mean" in str(a["data"])]
    page.goto(f"{prefect.root}/v2/artifacts/artifact/{run_page['id']}")
    picture = page.locator("svg[id*=mermaid]")
    picture.wait_for()
    drawn = picture.text_content() or ""
    assert "raw" in drawn
    assert "<b>mean</b>" in drawn
    assert "average" in drawn
