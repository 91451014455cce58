"""``Models``: upserts and gets of registered models, versions and artifacts (reference system 4), synchronously.

The asynchronous client and the high-level one are made of it. ``run_id`` is the run that a call belongs to: without it
the surrounding one; outside any, each call is a decision of its own.
"""

from __future__ import annotations

from typing import TypeVar, cast

from prefect_registry.errors import InvalidInput, nothing_published
from prefect_registry.models.checking import checked, immutable, subject_of
from prefect_registry.models.converting import resource_of
from prefect_registry.models.recording import Records
from prefect_registry.models.resources import Artifact, ModelVersion, RegisteredModel
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_VERSION

A = TypeVar("A", bound=Artifact)


class Models(Records):
    """The model registry in one registry.

    Args:
        registry: Where it is.
        by: Who registers and changes: kept in the history. The user's login name, unless given.
    """

    # -- upserts -------------------------------------------------------------------------------------------------

    @nothing_published
    def upsert_registered_model(
        self, registered_model: RegisteredModel, *, reason: str | None = None, run_id: str | None = None
    ) -> RegisteredModel:
        """Register a model (``id`` is None), or update one; returns it as it is now.

        In an update None keeps a field, ``UNSET`` clears it, custom properties replace all there are.

        Raises:
            DuplicateError: A model of that name, or something of that ``external_id``, is registered.
            ModelNotFound: There is none of that id.
            InvalidInput: Lists every problem; nothing was written.
        """
        checked(registered_model, RegisteredModel, "registered model")
        run = self.run_of(run_id)
        if registered_model.id is not None:
            kept = self.shelf.by_id(MODEL, registered_model.id, run)
            return cast(RegisteredModel, self.update(MODEL, kept, registered_model, run, reason))
        record = self.new_model(registered_model)
        self.create(f"register model {record.name}", MODEL, record, [], run, reason)
        return cast(RegisteredModel, resource_of(record))

    @nothing_published
    def upsert_model_version(
        self,
        model_version: ModelVersion,
        registered_model_id: str | None = None,
        *,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> ModelVersion:
        """Register a version of a model, or update one; as :meth:`upsert_registered_model` does.

        Args:
            registered_model_id: The id of the model; needed for a new version.
        """
        checked(model_version, ModelVersion, "model version")
        run, parent = self.run_of(run_id), registered_model_id or model_version.registered_model_id
        if model_version.id is not None:
            kept = self.shelf.by_id(MODEL_VERSION, model_version.id, run)
            if parent is not None and parent != kept.record.model:
                raise immutable("model version", {"registered_model_id": (kept.record.model, parent)})
            return cast(ModelVersion, self.update(MODEL_VERSION, kept, model_version, run, reason))
        if parent is None:
            raise InvalidInput.of(
                "the model version",
                ["registered_model_id is missing"],
                todo="Pass the id of the registered model that this is a version of",
            )
        model = self.shelf.by_id(MODEL, parent, run)
        record = self.new_version(model_version, model.record)
        self.create(f"register {subject_of(record)}", MODEL_VERSION, record, [], run, reason)
        return cast(ModelVersion, resource_of(record))

    @nothing_published
    def upsert_model_version_artifact(
        self, artifact: A, model_version_id: str, *, reason: str | None = None, run_id: str | None = None
    ) -> A:
        """Register an artifact of any type in a version; or link one that is registered to it, and update it.

        Raises as :meth:`upsert_registered_model` does.
        """
        checked(artifact, Artifact, "artifact")
        run = self.run_of(run_id)
        version = self.shelf.by_id(MODEL_VERSION, model_version_id, run)
        if artifact.id is None:
            record = self.new_artifact(artifact, run, version.record)
            self.create(
                f"register {subject_of(record)}", MODEL_ARTIFACT, record, [self.link(record, version.record)],
                run, reason,
            )  # fmt: skip
            return cast(A, resource_of(record))
        kept = self.shelf.by_id(MODEL_ARTIFACT, artifact.id, run)
        return cast(A, self.update(MODEL_ARTIFACT, kept, artifact, run, reason, version.record))

    @nothing_published
    def upsert_model_artifact(
        self,
        model_artifact: A,
        model_version_id: str | None = None,
        *,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> A:
        """Register or update an artifact by itself; with a version, :meth:`upsert_model_version_artifact`."""
        if model_version_id is not None:
            return self.upsert_model_version_artifact(model_artifact, model_version_id, reason=reason, run_id=run_id)
        checked(model_artifact, Artifact, "artifact")
        run = self.run_of(run_id)
        if model_artifact.id is not None:
            kept = self.shelf.by_id(MODEL_ARTIFACT, model_artifact.id, run)
            return cast(A, self.update(MODEL_ARTIFACT, kept, model_artifact, run, reason))
        record = self.new_artifact(model_artifact, run)
        self.create(f"register {subject_of(record)}", MODEL_ARTIFACT, record, [], run, reason)
        return cast(A, resource_of(record))
