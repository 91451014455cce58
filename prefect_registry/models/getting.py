"""Gets of registered models, versions and artifacts: by id, by name, by external id."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from prefect_registry.ids import parse_run_id
from prefect_registry.ledger.holder import login_name
from prefect_registry.models.addresses import is_id
from prefect_registry.models.converting import resource_of
from prefect_registry.models.reading import Kept, Shelf
from prefect_registry.models.resources import Artifact, ModelVersion, RegisteredModel, Resource
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_VERSION

if TYPE_CHECKING:
    from prefect_registry.registry import Registry


class Gets:
    """What of :class:`~prefect_registry.models.service.Models` reads single things."""

    def __init__(self, registry: Registry, *, by: str | None = None) -> None:
        self.registry = registry
        self.ledger = registry.ledger
        self.shelf = Shelf(registry.ledger)
        self.by = by if by is not None else login_name()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.registry.url}>"

    def run_of(self, run_id: str | None) -> str | None:
        """The run that a call belongs to."""
        return parse_run_id(run_id) if run_id is not None else self.ledger.surrounding()

    def now(self) -> datetime:
        """What time it is, in UTC, by the store's clock."""
        self.ledger.store.know_time()
        return self.ledger.store.clock.now()

    # -- gets ----------------------------------------------------------------------------------------------------

    def get_registered_model_by_id(
        self, id: str, *, as_of: datetime | None = None, run_id: str | None = None
    ) -> RegisteredModel:
        """A registered model, as it is or was. Raises ``ModelNotFound``."""
        return cast(RegisteredModel, self._by_id(MODEL, id, as_of, run_id))

    def get_model_version_by_id(
        self, id: str, *, as_of: datetime | None = None, run_id: str | None = None
    ) -> ModelVersion:
        """A version, as it is or was. Raises ``ModelNotFound``."""
        return cast(ModelVersion, self._by_id(MODEL_VERSION, id, as_of, run_id))

    def get_model_artifact_by_id(
        self, id: str, *, as_of: datetime | None = None, run_id: str | None = None
    ) -> Artifact:
        """An artifact of any type, as it is or was. Raises ``ModelNotFound``."""
        return cast(Artifact, self._by_id(MODEL_ARTIFACT, id, as_of, run_id))

    def _by_id(self, type_: str, id: str, as_of: datetime | None, run_id: str | None) -> Resource:
        return cast(Resource, resource_of(self.shelf.by_id(type_, id, self.run_of(run_id), as_of).record))

    def get_registered_model_by_params(
        self,
        name: str | None = None,
        *,
        external_id: str | None = None,
        as_of: datetime | None = None,
        run_id: str | None = None,
    ) -> RegisteredModel | None:
        """A registered model by its name, or by its external id; None when there is none.

        Raises ``TypeError`` for any other combination of arguments.
        """
        _one_way("get_registered_model_by_params", {"name": name}, {"external_id": external_id})
        run = self.run_of(run_id)
        if name is not None:
            found: Kept[Any] | None = self.shelf.model(name, run, as_of)
        else:
            found = self.shelf.by_external_id(False, str(external_id), (MODEL,), run, as_of)
        return cast(RegisteredModel, resource_of(found.record)) if found is not None else None

    def get_model_version_by_params(
        self,
        registered_model_id: str | None = None,
        name: str | None = None,
        *,
        version: str | None = None,
        external_id: str | None = None,
        as_of: datetime | None = None,
        run_id: str | None = None,
    ) -> ModelVersion | None:
        """A version by its model and name (``version`` is another word for it), or by its external id; else None.

        Raises ``TypeError`` for any other combination of arguments.
        """
        named = name if name is not None else version
        both = name is not None and version is not None
        _one_way(
            "get_model_version_by_params",
            {"registered_model_id": registered_model_id, "name": None if both else named},
            {"external_id": external_id},
        )
        run = self.run_of(run_id)
        if external_id is not None:
            found: Kept[Any] | None = self.shelf.by_external_id(False, external_id, (MODEL_VERSION,), run, as_of)
        elif not is_id(MODEL, registered_model_id):
            found = None
        else:
            found = self.shelf.version(str(registered_model_id), str(named), run, as_of)
        return cast(ModelVersion, resource_of(found.record)) if found is not None else None

    def get_model_artifact_by_params(
        self,
        name: str | None = None,
        model_version_id: str | None = None,
        *,
        external_id: str | None = None,
        as_of: datetime | None = None,
        run_id: str | None = None,
    ) -> Artifact | None:
        """An artifact by its name and version, or by its external id; None when there is none.

        Of artifacts of one name and several types, the trained model. Raises ``TypeError`` for any other combination
        of arguments.
        """
        _one_way(
            "get_model_artifact_by_params",
            {"name": name, "model_version_id": model_version_id},
            {"external_id": external_id},
        )
        run = self.run_of(run_id)
        if external_id is not None:
            found = self.shelf.by_external_id(True, external_id, (MODEL_ARTIFACT,), run, as_of)
            return cast(Artifact, resource_of(found.record)) if found is not None else None
        if not is_id(MODEL_VERSION, model_version_id):
            return None
        links = [link for link in self.shelf.links(str(model_version_id), run, as_of) if link.name == name]
        links.sort(key=lambda link: (link.type != "model-artifact", link.type))
        kept = self.shelf.by_id(MODEL_ARTIFACT, links[0].artifact, run, as_of) if links else None
        return cast(Artifact, resource_of(kept.record)) if kept is not None else None


def _one_way(call: str, *ways: dict[str, Any]) -> None:
    """Refuse arguments that are not exactly one of the ways to name something."""
    given = {name for way in ways for name, value in way.items() if value is not None}
    if any(given == set(way) for way in ways):
        return
    variants = " or ".join("(" + ", ".join(f"{name}=…" for name in way) + ")" for way in ways)
    raise TypeError(f"{call} takes {variants}; it was given ({', '.join(sorted(given)) or 'nothing'})")
