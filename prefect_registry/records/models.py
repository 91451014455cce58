"""What the generations of registered models, their versions and artifacts hold (reference system 4)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from prefect_registry.records.base import Moment, Record


class ModelRecord(Record):
    """What registered models, versions and artifacts have in common.

    Attributes:
        id: Its last 16 characters are the name of the cell (decision 0028).
        state: LIVE, ARCHIVED …
        properties: bool, 64-bit int, finite float, str.
        by: Who wrote this generation.
        changed: The fields that it changes; empty for the first one.
        created_at: When generation 0 of what is visible was written.
        changed_at: When this was written.
    """

    id: str
    name: str
    description: str | None = None
    external_id: str | None = None
    state: str = "LIVE"
    properties: dict[str, Any] = Field(default_factory=dict)
    by: str | None = None
    changed: list[str] = Field(default_factory=list)
    created_at: Moment
    changed_at: Moment


class RegisteredModelValue(ModelRecord):
    """A registered model: versions have its id as ``model``."""

    owner: str | None = None


class ModelVersionValue(ModelRecord):
    """A version. ``model`` is the id of its registered model, and ``model_name`` the name of that."""

    model: str
    model_name: str
    author: str | None = None


class ModelArtifactValue(ModelRecord):
    """An artifact of any type.

    Attributes:
        versions: The ids of the versions that have it; a link for each keeps names unique.
        type: ``model-artifact``, ``doc-artifact``, ``dataset-artifact``, ``metric`` or ``parameter``.
        fields: What only this type has, by the names of the reference system.
        object: The version of an object of this registry that its ``uri`` names, as ``name@version``.
        dataset: The id of the dataset of this registry that its ``uri`` names.
    """

    type: str
    versions: list[str] = Field(default_factory=list)
    fields: dict[str, Any] = Field(default_factory=dict)
    object: str | None = None
    dataset: str | None = None


class ModelLinkValue(Record):
    """An artifact that a version has."""

    version: str
    artifact: str
    type: str
    name: str


class ModelAliasValue(Record):
    """Where an alias of a registered model points: ids of model and version, and their names.

    ``previous`` is the name of the version that it pointed at before.
    """

    model: str
    model_name: str
    alias: str
    version: str
    version_name: str
    previous: str | None = None
    by: str | None = None


class ModelExternalIdValue(Record):
    """What an external id names: the type of its cell and its id."""

    external_id: str
    type: str
    id: str
