"""The registry of those who have configured none."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefect_registry.errors import ConfigurationError
from prefect_registry.resolve.embedded import embedded_url, open_embedded, unattended


def test_somebody_at_a_terminal_gets_a_folder_that_the_log_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with the way to choose another one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    assert embedded_url(where="") == f"{tmp_path}/prefect-registry"
    assert open_embedded().url.endswith(f"{tmp_path}/prefect-registry")
    open_embedded()
    told = [record for record in caplog.records if "No registry is configured" in record.getMessage()]
    assert len(told) == 1
    assert str(tmp_path) in told[0].getMessage()
    assert "prefect-registry init" in told[0].getMessage()


def test_where_nobody_sits_it_is_an_error_that_names_the_ways_to_configure() -> None:
    """A folder of a container or a worker would be lost, or be another one each time."""
    with pytest.raises(ConfigurationError) as caught:
        embedded_url(where="a deployment run")
    for way in ("prefect-registry init", "PREFECT_REGISTRY_BLOCK", "PREFECT_REGISTRY_URL", "registry_run(", "default"):
        assert way in str(caught.value)
    assert "in a deployment run" in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({}, ""),
        ({"CI": "false"}, ""),
        ({"CI": "true"}, "CI (CI is set)"),
        ({"JENKINS_URL": "http://j"}, "CI (JENKINS_URL is set)"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "a container (KUBERNETES_SERVICE_HOST is set)"),
        ({"container": "podman"}, "a container (container is set)"),
        ({"PREFECT__FLOW_RUN_ID": "0"}, "a deployment run"),
        ({"PREFECT__FLOW_RUN_ID": "0", "CI": "1"}, "a deployment run"),
    ],
)
def test_the_environment_tells_where_a_process_runs(environ: dict[str, str], where: str, tmp_path: Path) -> None:
    """By the variables that CI systems, orchestrators and Prefect's runner set."""
    assert unattended(environ, tmp_path) == where


@pytest.mark.parametrize("file", [".dockerenv", "run/.containerenv"])
def test_docker_and_podman_leave_a_file(file: str, tmp_path: Path) -> None:
    """Which is how a process in a plain container is known."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert unattended({}, tmp_path).startswith("a container")


def test_a_flow_run_of_a_deployment_is_known_by_its_context(tmp_path: Path) -> None:
    """Also where the runner's variable did not travel: in tasks on a Dask worker."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.model_construct(flow_run=SimpleNamespace(deployment_id="d"))
    with context:
        assert unattended({}, tmp_path) == "a deployment run"
