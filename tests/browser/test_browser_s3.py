"""Somebody configures a registry on S3 in Prefect's user interface, and flows run on it."""

from __future__ import annotations

import io
import json
import os
import textwrap
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMAGES
from PIL import Image

from prefect_registry import Registry
from prefect_registry.errors import NotFound
from prefect_registry.testing.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.server, pytest.mark.prefect]

FLOW = """\
import pyarrow as pa
from prefect import flow, task
from prefect_registry import current_run, registry_run

@task
def numbers() -> str:
    with current_run().dataset("numbers") as ds:
        ds.write_table(pa.table({"n": [1, 2, 3]}))
    return ds.id

@registry_run("from-the-ui")
@flow
def publish() -> None:
    numbers()

if __name__ == "__main__":
    publish()
"""


def form(page: Page, url: str, fields: dict[str, str], button: str) -> None:
    """Fill in a form by what its labels say, and send it."""
    page.goto(url)
    for label, text in fields.items():
        page.get_by_label(label).first.fill(text)
    page.get_by_role("button", name=button, exact=True).click()


def picture(page: Page, name: str) -> None:
    """For the documentation: `make test-browser` with PICTURES=1 writes them anew."""
    if os.environ.get("PICTURES"):
        page.wait_for_timeout(500)
        shot = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
        shot.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


def published(server: Server, prefix: str) -> list[int]:
    try:
        registry = Registry(server.url(prefix), storage_options=server.storage_options, create=False)
    except NotFound:
        return []
    return registry.table("numbers").to_table()["n"].to_pylist()


def ask(api: str, path: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{api}/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_a_form_filled_in_is_a_registry_that_flows_use(
    page: Page, prefect: Any, seaweedfs: Server, tmp_path: Path
) -> None:
    """Saved in the UI, used by a flow; edited in the UI, and the next flow run uses the edit; spoilt in the UI, and
    the flow run's log says so.
    """
    program = tmp_path / "publish.py"
    program.write_text(textwrap.dedent(FLOW))
    key, secret = seaweedfs.storage_options["key"], seaweedfs.storage_options["secret"]
    page.goto(f"{prefect.root}/v2/blocks/catalog/data-registry-s3/create")
    filled = {
        "Name": "from-the-ui",
        "Bucket": seaweedfs.bucket,
        "Prefix": "first",
        "Endpoint URL (Optional)": seaweedfs.endpoint,
        "Region": "us-east-1",
        "Access Key ID": key,
        "Secret Access Key": secret,
    }
    for label, text in filled.items():
        page.get_by_label(label).first.fill(text)
    page.get_by_label("Path Style").first.click()
    picture(page, "configure-s3-form")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/v2/blocks/block/*")
    block = page.url
    page.get_by_text("S3Registry.load").first.wait_for()
    picture(page, "configure-s3-saved")
    assert secret not in page.content()

    done = prefect.run(str(program))
    assert done.returncode == 0, done.stderr
    assert published(seaweedfs, "first") == [1, 2, 3]

    form(page, f"{block}/edit", {"Prefix": "second"}, "Save")
    page.wait_for_url(block)
    done = prefect.run(str(program))
    assert done.returncode == 0, done.stderr  # the form sent stars for the secrets: the server kept what it had
    assert published(seaweedfs, "second") == [1, 2, 3]

    planted = "pLaNtEd+wrong+secret"
    form(page, f"{block}/edit", {"Prefix": "third", "Secret Access Key": planted}, "Save")
    page.wait_for_url(block)
    done = prefect.run(str(program))
    assert done.returncode != 0
    assert published(seaweedfs, "third") == []
    failed = _the_failed_flow_run(prefect.api)
    log = "\n".join(
        line["message"]
        for line in ask(prefect.api, "logs/filter", {"logs": {"flow_run_id": {"any_": [failed]}}, "limit": 200})
    )
    assert "AccessDenied" in log
    assert "SignatureDoesNotMatch" in log
    assert "Check the credentials" in log
    assert "data-registry-s3/from-the-ui" in log
    assert planted not in log + done.stdout + done.stderr
    page.goto(f"{prefect.root}/v2/runs/flow-run/{failed}")
    page.get_by_text("SignatureDoesNotMatch").first.wait_for()
    picture(page, "configure-s3-wrong-secret")


def _the_failed_flow_run(api: str) -> str:
    failed = ask(api, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}})
    assert len(failed) == 1
    return str(failed[0]["id"])


def test_the_older_interface_takes_the_form_too(page: Page, prefect: Any) -> None:
    """What is left empty there means "not set" as well."""
    page.goto(f"{prefect.root}/blocks/catalog/data-registry-s3/create")
    page.get_by_text("Path inside the bucket").wait_for()
    # Its labels are not tied to their fields: the name is the only input, the texts follow in order.
    page.locator("input[type=text]").first.fill("from-the-old-ui")
    page.locator("textarea").nth(0).fill("data")
    page.locator("textarea").nth(1).fill("old")
    page.get_by_role("button", name="Create", exact=True).click()
    page.wait_for_url("**/blocks/block/*")
    code = "from prefect_registry.blocks import S3Registry as S; b = S.load('from-the-old-ui'); "
    code += "print(b.get_url(), b.get_storage_options())"
    done = prefect.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "s3://data/old {}"


@pytest.mark.parametrize("kind", ["local", "gcs", "azure", "fsspec"])
def test_every_type_has_a_form_with_its_fields(kind: str, page: Page, prefect: Any) -> None:
    """Each field once, with its description, and no tabs."""
    fields: Callable[[str], Any] = page.get_by_text
    page.goto(f"{prefect.root}/v2/blocks/catalog/data-registry-{kind}/create")
    required = {"local": "Folder", "gcs": "Bucket", "azure": "Container", "fsspec": "URL"}[kind]
    page.get_by_label(required).first.wait_for()
    assert fields("null").count() == 0
    assert page.get_by_role("tab").count() == 0
