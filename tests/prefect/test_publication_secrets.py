"""Downloads whose headers come from Prefect's Secret blocks."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.blocks.system import Secret
from prefect_support import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "ingestion"))

from web_support import serving

from prefect_registry.errors import ConfigurationError
from prefect_registry.ingestion import Collection, Ingestion, Job
from prefect_registry.publications.secrets import secret
from prefect_registry.registry import Registry


def retrieved(store: Registry, name: str, url: str, host: str) -> Job:
    """The job of a publication whose header is in the block ``name``."""
    options = {"url": f"{url}/f", "hosts": [host], "schemes": ["http"], "kind": "n", "format": "csv"}
    plan = [{"type": "http", "options": {**options, "headers": {"X-Key": {"secret": name}}}}]
    ingestion = Ingestion(store)
    ingestion.put(Collection.model_validate({"id": name, "plan": plan}))
    ingestion.create_job(name)
    for _ in range(2):
        ingestion.tick()
    return ingestion.jobs(name)[0]


def test_a_header_is_a_secret_block(
    store: Registry, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value is read when the task runs, sent, and stored nowhere; without the block the job fails."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    name = f"key-{uuid4().hex[:8]}"
    with serving() as site:
        site.pages["/f"] = lambda request: request.whole(b"n\n1\n")
        job = retrieved(store, name, site.url, site.host)
        assert job.is_unsuccessful()
        assert f"no Secret block '{name}'" in job.tasks[0].note
        Secret(value="hush-hush").save(name)
        job = retrieved(store, name, site.url, site.host)
        assert job.is_successful(), job.tasks[0].note
        assert [headers["x-key"] for _, headers in site.requests] == ["hush-hush"]
    assert not any(b"hush-hush" in p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())


def test_a_block_that_holds_no_text(server: Server) -> None:
    """It is refused: a header is a text."""
    name = f"key-{uuid4().hex[:8]}"
    Secret(value={"a": 1}).save(name)
    with pytest.raises(ConfigurationError, match="holds no text"):
        secret(name)
