"""The scripts in blocks/, run as a person or a deployment runs them, against a real Prefect server."""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from prefect_registry.blocks import GCSRegistry, LocalRegistry, S3Registry
from prefect_registry.blocks.environment import block_from, variables
from prefect_registry.errors import ConfigurationError

ROOT = Path(__file__).parent.parent.parent


def run(script: str, server: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    return subprocess.run(
        [sys.executable, "-m", f"blocks.{script}"],
        cwd=ROOT,
        env={**environment, **variables, "PREFECT_API_URL": server},
        check=False,
        capture_output=True,
        text=True,
    )


def run_here(script: str) -> None:
    """The same in this process, which has imported Prefect already."""
    runpy.run_path(str(ROOT / "blocks" / f"{script}.py"), run_name="__main__")


@pytest.mark.prefect
def test_register_offers_every_type_and_may_run_again(prefect_server: str) -> None:
    """The server knows them afterwards."""
    done = run("register", prefect_server)
    assert done.returncode == 0, done.stderr
    run_here("register")
    with get_client(sync_client=True) as client:
        known = {block_type.slug for block_type in client.read_block_types()}
    kinds = ("local", "s3", "gcs", "azure", "fsspec")
    assert {f"data-registry-{kind}" for kind in kinds} <= known


@pytest.mark.prefect
@pytest.mark.parametrize(
    ("script", "cls", "given", "url"),
    [
        ("local", LocalRegistry, {"REGISTRY_LOCAL_PATH": "/data/r"}, "/data/r"),
        (
            "s3",
            S3Registry,
            {"REGISTRY_S3_BUCKET": "b", "REGISTRY_S3_PREFIX": "p", "REGISTRY_S3_PATH_STYLE": "1"},
            "s3://b/p",
        ),
        ("gcs", GCSRegistry, {"REGISTRY_GCS_BUCKET": "b", "REGISTRY_GCS_ANONYMOUS": "true"}, "gs://b"),
    ],
)
def test_a_script_saves_its_block_and_may_run_again(
    script: str,
    cls: Any,
    given: dict[str, str],
    url: str,
    prefect_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second run replaces the first one's document."""
    for variable in [variable for variable in os.environ if variable.startswith("REGISTRY_")]:
        monkeypatch.delenv(variable)
    for variable, value in {**given, "REGISTRY_BLOCK_NAME": f"s-{uuid.uuid4().hex[:8]}"}.items():
        monkeypatch.setenv(variable, value)
    name = os.environ["REGISTRY_BLOCK_NAME"]
    for _ in range(2):
        run_here(script)
        assert f"{cls.get_block_type_slug()}/{name} is saved: {url}" in capsys.readouterr().out
    assert cls.load(name).get_url() == url


@pytest.mark.prefect
def test_a_script_is_a_program(prefect_server: str) -> None:
    """Python runs it, from the repository's folder, with nothing but the variables."""
    name = f"s-{uuid.uuid4().hex[:8]}"
    done = run("local", prefect_server, REGISTRY_BLOCK_NAME=name, REGISTRY_LOCAL_PATH="/data/p")
    assert done.returncode == 0, done.stderr
    assert f"data-registry-local/{name} is saved: /data/p" in done.stdout
    assert LocalRegistry.load(name).get_url() == "/data/p"


@pytest.mark.prefect
def test_a_missing_variable_is_named(prefect_server: str) -> None:
    """And nothing is saved."""
    done = run("s3", prefect_server, REGISTRY_S3_ACCESS_KEY_ID="pLaNtEd")
    assert done.returncode == 1
    assert "REGISTRY_S3_BUCKET must be set" in done.stderr
    assert "pLaNtEd" not in done.stderr
    assert "Traceback" not in done.stderr


def test_texts_become_what_the_field_is() -> None:
    """Flags and mappings have one spelling each, and what is not one is named by its variable."""
    block = block_from(
        S3Registry,
        {
            "REGISTRY_S3_BUCKET": "b",
            "REGISTRY_S3_VERIFY_TLS": "no",
            "REGISTRY_S3_STORAGE_OPTIONS": '{"requester_pays": true}',
        },
    )
    assert block.get_storage_options() == {"client_kwargs": {"verify": False}, "requester_pays": True}
    wrong = {"REGISTRY_S3_BUCKET": "b", "REGISTRY_S3_ANONYMOUS": "perhaps", "REGISTRY_S3_STORAGE_OPTIONS": "[1]"}
    with pytest.raises(ConfigurationError) as caught:
        block_from(S3Registry, wrong)
    assert "REGISTRY_S3_ANONYMOUS must be true or false" in str(caught.value)
    assert "REGISTRY_S3_STORAGE_OPTIONS must be a JSON object" in str(caught.value)


@pytest.mark.parametrize(("script", "cls"), [("local", LocalRegistry), ("s3", S3Registry), ("gcs", GCSRegistry)])
def test_every_variable_is_documented_in_its_script(script: str, cls: Any) -> None:
    """A field that is added must be told there too."""
    spec = importlib.util.spec_from_file_location(f"script_{script}", ROOT / "blocks" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told = (module.__doc__ or "").split()
    assert [name for name in variables(cls) if name not in told] == []
