"""Scheduled ingestion in Prefect: tasks that are deployments, and what is seen of publications."""

from prefect_registry.publications.deployments import DeploymentTask
from prefect_registry.publications.notices import freshness, tell
from prefect_registry.publications.progress import ProgressArtifacts

__all__ = ["DeploymentTask", "ProgressArtifacts", "freshness", "tell"]
