"""The registry of those who have configured none: a folder of the user, where somebody sits in front of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_registry.errors import ConfigurationError
from prefect_registry.resolve.opened import open_shared

if TYPE_CHECKING:
    from prefect_registry.registry import Registry

_CI = (
    "CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "CODEBUILD_BUILD_ID", "JENKINS_URL",
    "TEAMCITY_VERSION", "TF_BUILD",
)  # fmt: skip
_CONTAINER = (
    "KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4",
    "AWS_LAMBDA_FUNCTION_NAME", "K_SERVICE", "CLOUD_RUN_JOB", "container",
)  # fmt: skip
_CONTAINER_FILES = (".dockerenv", "run/.containerenv")
_NO = ("", "0", "false", "no")

_announced: set[str] = set()


def embedded_url(where: str | None = None) -> str:
    """The folder in the user's data folder.

    Args:
        where: What this process runs in, if nobody sits in front of it; found out when it is not given.

    Raises:
        ConfigurationError: In a deployment run, a container or CI, where such a folder would be lost, or be another
            one for each worker. It names the ways to configure a registry.
    """
    from prefect_registry.registry import default_url

    where = unattended() if where is None else where
    if where:
        raise ConfigurationError(
            "It is not clear which registry is meant",
            why="The call names none, no run surrounds it, PREFECT_REGISTRY_BLOCK and PREFECT_REGISTRY_URL are not set "
            f"and there is no registry block named 'default'; and in {where} a folder of this machine would be lost",
            todo="Run `prefect-registry init` once, which saves a block named 'default'; or set PREFECT_REGISTRY_BLOCK "
            "(such as data-registry-s3/prod) or PREFECT_REGISTRY_URL (such as s3://bucket/prefix) where the flow "
            'runs; or name the registry in the call, as in registry_run("prod")',
            where=where,
        )
    return default_url()


def open_embedded() -> Registry:
    """The registry in that folder, announced in the log."""
    from prefect_registry.registry import default_url

    url = default_url()
    registry = open_shared(url)
    if url not in _announced:
        _announced.add(url)
        _log().warning(
            "No registry is configured, so %s is used, on this machine alone. Run `prefect-registry init` to choose "
            "another one.",
            url,
        )
    return registry


def unattended(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """What this process runs in if nobody sits in front of it: a deployment run, CI or a container; else empty."""
    if environ.get("PREFECT__FLOW_RUN_ID") or _has_deployment():
        return "a deployment run"
    for name in _CI:
        if environ.get(name, "").lower() not in _NO:
            return f"CI ({name} is set)"
    for name in _CONTAINER:
        if environ.get(name, "").lower() not in _NO:
            return f"a container ({name} is set)"
    for name in _CONTAINER_FILES:
        if (root / name).exists():
            return f"a container ({root / name} exists)"
    return ""


def _has_deployment() -> bool:
    from prefect.context import FlowRunContext

    run = FlowRunContext.get()
    return run is not None and run.flow_run is not None and run.flow_run.deployment_id is not None


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_logger, get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("registry")
