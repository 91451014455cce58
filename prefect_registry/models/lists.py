"""Lists of models, versions and artifacts, a page at a time: filtered, ordered, as they are or were."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, cast

from prefect_registry.errors import InvalidInput
from prefect_registry.models.converting import resource_of
from prefect_registry.models.exceptions import TypeNotFound
from prefect_registry.models.listing import Listing
from prefect_registry.models.paging import DEFAULT_PAGE_SIZE, ListOptions, OrderByField
from prefect_registry.models.resources import Artifact, ArtifactType, ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.models.service import Models
from prefect_registry.records.types import MODEL, MODEL_VERSION

Kind = Literal["model", "model_version", "model_artifact"]
_ORDERS = {OrderByField.CREATE_TIME: "create_time", OrderByField.LAST_UPDATE_TIME: "last_update_time",
           OrderByField.ID: "id"}  # fmt: skip


class ModelLists(Models):
    """:class:`Models`, and its lists. Each takes:

    Args:
        options: Page, order and type; ``options.next_page_token`` is set to that of the next page. 20 items by id
            unless it says otherwise.
        filter_query: An expression: ``"name LIKE 'd%' AND properties.accuracy >= 0.9"``.
        states: Only these; by default models and versions that are LIVE, and artifacts in any state.
        as_of: As it was then (aware).
        max_age: Seconds by which the answer may lag behind; by default none.
    """

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self.ledger, self.registry.catalog)

    def get_registered_models(
        self,
        options: ListOptions | None = None,
        *,
        filter_query: str | None = None,
        states: Iterable[str] | None = None,
        as_of: datetime | None = None,
        max_age: float | None = None,
        run_id: str | None = None,
    ) -> list[RegisteredModel]:
        """Registered models. Archived ones are left out unless ``states`` has ``ARCHIVED``."""
        return cast(
            "list[RegisteredModel]",
            self._page("model", None, options, run_id, filter_query=filter_query, states=states, as_of=as_of,
                       max_age=max_age),
        )  # fmt: skip

    def get_model_versions(
        self,
        registered_model_id: str,
        options: ListOptions | None = None,
        *,
        filter_query: str | None = None,
        states: Iterable[str] | None = None,
        as_of: datetime | None = None,
        max_age: float | None = None,
        run_id: str | None = None,
    ) -> list[ModelVersion]:
        """The versions of a model. Archived ones are left out unless ``states`` has ``ARCHIVED``.

        Raises ``ModelNotFound`` when there is no such model.
        """
        self.shelf.by_id(MODEL, registered_model_id, self.run_of(run_id), as_of)
        return cast(
            "list[ModelVersion]",
            self._page("model_version", registered_model_id, options, run_id, filter_query=filter_query,
                       states=states, as_of=as_of, max_age=max_age),
        )  # fmt: skip

    def get_model_version_artifacts(
        self,
        model_version_id: str,
        options: ListOptions | None = None,
        *,
        filter_query: str | None = None,
        as_of: datetime | None = None,
        max_age: float | None = None,
        run_id: str | None = None,
    ) -> list[Artifact]:
        """The artifacts of a version, of every type. Raises ``ModelNotFound`` when there is no such version."""
        self.shelf.by_id(MODEL_VERSION, model_version_id, self.run_of(run_id), as_of)
        return cast(
            "list[Artifact]",
            self._page("model_artifact", model_version_id, options, run_id, filter_query=filter_query, as_of=as_of,
                       max_age=max_age),
        )  # fmt: skip

    def get_model_artifacts(
        self,
        model_version_id: str | None = None,
        options: ListOptions | None = None,
        *,
        filter_query: str | None = None,
        as_of: datetime | None = None,
        max_age: float | None = None,
        run_id: str | None = None,
    ) -> list[ModelArtifact]:
        """The trained models among the artifacts of a version, or of all: full pages of them."""
        if model_version_id is not None:
            self.shelf.by_id(MODEL_VERSION, model_version_id, self.run_of(run_id), as_of)
        return cast(
            "list[ModelArtifact]",
            self._page("model_artifact", model_version_id, options, run_id, filter_query=filter_query, as_of=as_of,
                       max_age=max_age, artifact_type=str(ArtifactType.MODEL_ARTIFACT)),
        )  # fmt: skip

    def get_artifacts(
        self,
        filter_query: str | None = None,
        artifact_type: ArtifactType | str | None = None,
        options: ListOptions | None = None,
        *,
        as_of: datetime | None = None,
        max_age: float | None = None,
        run_id: str | None = None,
    ) -> list[Artifact]:
        """Artifacts of all versions, and of none. Raises ``TypeNotFound`` for a type that there is not."""
        return cast(
            "list[Artifact]",
            self._page("model_artifact", None, options, run_id, filter_query=filter_query, as_of=as_of,
                       max_age=max_age, artifact_type=artifact_type),
        )  # fmt: skip

    def _page(
        self,
        kind: Kind,
        parent: str | None,
        options: ListOptions | None,
        run_id: str | None,
        *,
        artifact_type: str | None = None,
        states: Iterable[str] | None = None,
        **asked: Any,
    ) -> list[Any]:
        given = options if options is not None else ListOptions()
        if not isinstance(given, ListOptions):
            raise InvalidInput.of("options", [f"options must be ListOptions, not {type(given).__name__}"])
        order = given.order_by if given.order_by is not None else OrderByField.ID
        records, token = self._listing.page(
            kind,
            parent=parent,
            limit=given.limit if given.limit is not None else DEFAULT_PAGE_SIZE,
            order_by=_ORDERS.get(order, str(order)),
            ascending=given.is_asc,
            token=given.next_page_token or None,
            artifact_type=_type_of(artifact_type or given.artifact_type_param),
            states=None if states is None else [str(state) for state in states],
            run_id=self.run_of(run_id),
            **asked,
        )
        given.next_page_token = token
        return [resource_of(record) for record in records]


def _type_of(artifact_type: str | None) -> str | None:
    if artifact_type is None:
        return None
    try:
        return str(ArtifactType(artifact_type))
    except ValueError:
        known = ", ".join(ArtifactType)
        raise TypeNotFound(
            f"There is no type of artifact {artifact_type!r:.80}", why=f"The types are {known}", committed="no"
        ) from None
