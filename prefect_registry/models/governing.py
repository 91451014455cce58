"""What happens to versions once they are registered: aliases, archiving, cards, comparison, history, loading."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, cast

from prefect_registry.asynchronous import twin
from prefect_registry.errors import nothing_published
from prefect_registry.models import aliasing, cards
from prefect_registry.models.addresses import address_of
from prefect_registry.models.aliasing import LATEST, AliasMove
from prefect_registry.models.comparing import Comparison, compare
from prefect_registry.models.converting import resource_of
from prefect_registry.models.exceptions import ModelNotFound, StoreError
from prefect_registry.models.histories import HistoryEntry, history_of
from prefect_registry.models.lists import ModelLists
from prefect_registry.models.paging import ListOptions, OrderByField
from prefect_registry.models.reading import Kept
from prefect_registry.models.resources import Artifact, DocArtifact, ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.records.models import ModelArtifactValue, ModelVersionValue, RegisteredModelValue
from prefect_registry.records.types import MODEL, MODEL_VERSION
from prefect_registry.storage.secrets import without_credentials


class Governing:
    """What of :class:`~prefect_registry.models.client.ModelRegistry` looks after versions.

    A version is named by its own name, by an alias, or by ``latest``: that which was registered last of those that are
    not archived. Where both are there, a version's own name comes first.
    """

    models: ModelLists

    # -- aliases -------------------------------------------------------------------------------------------------

    @nothing_published
    def set_alias(
        self, name: str, alias: str, version: str, *, reason: str | None = None, run_id: str | None = None
    ) -> str | None:
        """Point an alias of a model (``champion``, ``staging``) at a version, atomically; returns the version that it
        pointed at before.

        Raises:
            ModelNotFound: There is no such model or version.
            RevisionConflict: Somebody moved the alias meanwhile.
        """
        run = self.models.run_of(run_id)
        target = self._version(name, version, run).record
        return aliasing.set_alias(self.models, target.model, alias, target, run, reason)

    @nothing_published
    def remove_alias(self, name: str, alias: str, *, reason: str | None = None, run_id: str | None = None) -> None:
        """Remove an alias; its history stays. Raises ``ModelNotFound`` when there is none."""
        run = self.models.run_of(run_id)
        aliasing.set_alias(self.models, self._model(name, run).record.id, alias, None, run, reason)

    def aliases(self, name: str, *, as_of: datetime | None = None, run_id: str | None = None) -> dict[str, str]:
        """The aliases of a model, and the version that each points at, or pointed at then."""
        run = self.models.run_of(run_id)
        found = self.models.shelf.aliases(self._model(name, run, as_of).record.id, run, as_of)
        return {value.alias: value.version_name for value in found}

    def alias_history(self, name: str, alias: str, *, run_id: str | None = None) -> list[AliasMove]:
        """Every move of an alias, oldest first: when, to which version, by whom, why."""
        run = self.models.run_of(run_id)
        return aliasing.moves(self.models, self._model(name, run).record.id, alias, run)

    def resolve(
        self, name: str, version: str = LATEST, *, as_of: datetime | None = None, run_id: str | None = None
    ) -> ModelVersion:
        """The version that a name, an alias or ``latest`` means now, or meant then; ``latest`` never an archived one.

        Raises ``ModelNotFound``, for ``latest`` also when every version is archived.
        """
        found = self._version(name, version, self.models.run_of(run_id), as_of)
        return cast(ModelVersion, resource_of(found.record))

    # -- states --------------------------------------------------------------------------------------------------

    @nothing_published
    def archive(
        self, name: str, version: str | None = None, *, reason: str | None = None, run_id: str | None = None
    ) -> RegisteredModel | ModelVersion:
        """Archive a version, or without one the model: it is left out of lists, and can still be got and loaded."""
        return self._state("ARCHIVED", name, version, reason, run_id)

    @nothing_published
    def restore(
        self, name: str, version: str | None = None, *, reason: str | None = None, run_id: str | None = None
    ) -> RegisteredModel | ModelVersion:
        """Take the archiving of a version, or of the model, back."""
        return self._state("LIVE", name, version, reason, run_id)

    def _state(
        self, state: str, name: str, version: str | None, reason: str | None, run_id: str | None
    ) -> RegisteredModel | ModelVersion:
        run = self.models.run_of(run_id)
        if version is None:
            model = self._model(name, run)
            wanted = RegisteredModel(name, id=model.record.id, state=state)
            return cast(RegisteredModel, self.models.update(MODEL, model, wanted, run, reason))
        kept = self._version(name, version, run)
        changed = ModelVersion(kept.record.name, id=kept.record.id, state=state)
        return cast(ModelVersion, self.models.update(MODEL_VERSION, kept, changed, run, reason))

    # -- looking -------------------------------------------------------------------------------------------------

    def artifacts_of(
        self, version: ModelVersion, *, as_of: datetime | None = None, run_id: str | None = None
    ) -> list[Artifact]:
        """The artifacts of a version, of every type, in the order in which they were registered; from the store."""
        found = self.models.shelf.artifacts(str(version.id), self.models.run_of(run_id), as_of)
        return [cast(Artifact, resource_of(kept.record)) for kept in found]

    def history(self, name: str, version: str | None = None, *, run_id: str | None = None) -> list[HistoryEntry]:
        """Every change of a version, or without one of the model, oldest first: what, when, by whom, why."""
        run = self.models.run_of(run_id)
        kept: Kept[Any] = self._model(name, run) if version is None else self._version(name, version, run)
        type_ = MODEL if version is None else MODEL_VERSION
        generations = self.models.ledger.cells.history(type_, address_of(type_, kept.record.id), run)
        return history_of(type_, generations, kept.record.id)

    def compare(
        self, name: str, first: str, second: str, *, second_name: str | None = None, run_id: str | None = None
    ) -> Comparison:
        """What differs between two versions (names, aliases) of a model; with ``second_name``, of two models."""
        run = self.models.run_of(run_id)
        calls: list[Callable[[], tuple[ModelVersion, list[Artifact]]]] = [
            partial(self._with_artifacts, owner, version, run)
            for owner, version in ((name, first), (second_name or name, second))
        ]
        return compare(*self.models.ledger.store.together(calls))

    def _with_artifacts(self, name: str, version: str, run: str | None) -> tuple[ModelVersion, list[Artifact]]:
        found = cast(ModelVersion, resource_of(self._version(name, version, run).record))
        return found, self.artifacts_of(found, run_id=run)

    # -- cards ---------------------------------------------------------------------------------------------------

    @nothing_published
    def set_card(
        self,
        name: str,
        version: str,
        card: str | os.PathLike[str],
        *,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> DocArtifact:
        """Give a version a model card, or another one: Markdown, or the path of a file that holds it."""
        run = self.models.run_of(run_id)
        wanted = cards.card_of(card)
        target = self._version(name, version, run).record
        there = self._card(target, run)
        if there is not None:
            wanted = wanted.model_copy(update={"id": there.id})
        return self.models.upsert_model_version_artifact(wanted, target.id, reason=reason, run_id=run)

    def card(self, name: str, version: str = LATEST, *, run_id: str | None = None) -> str | None:
        """The model card of a version, as Markdown; None when it has none."""
        run = self.models.run_of(run_id)
        found = self._card(self._version(name, version, run).record, run)
        return found.fields.get("text") if found is not None else None

    def _card(self, version: ModelVersionValue, run: str | None) -> ModelArtifactValue | None:
        found = (kept.record for kept in self.models.shelf.artifacts(version.id, run))
        return next((a for a in found if a.name == cards.CARD and a.type == DocArtifact.artifact_type), None)

    # -- loading -------------------------------------------------------------------------------------------------

    def load(self, /, name: str, version: str = LATEST, *, run_id: str | None = None, **options: Any) -> Any:
        """The trained model of a version that is kept in this registry, as an object: ``load("digits", "champion")``.

        ``options`` are those of :meth:`prefect_registry.Registry.load`.

        Raises:
            ModelNotFound: There is no such version.
            StoreError: Its model is elsewhere: ``get_model_artifact`` tells where.
        """
        run = self.models.run_of(run_id)
        target = self._version(name, version, run).record
        found = (kept.record for kept in self.models.shelf.artifacts(target.id, run))
        records = [record for record in found if record.type == ModelArtifact.artifact_type]
        records.sort(key=lambda record: record.name != name)  # as get_model_artifact prefers it
        kept = next((r.object for r in records if r.object is not None), None)
        if kept is None:
            elsewhere = [without_credentials(str(r.fields["uri"])) for r in records if r.fields.get("uri")]
            raise StoreError(
                f"Version {target.name!r:.250} of model {name!r:.250} has no object in this registry",
                why=f"It is at {', '.join(elsewhere)[:500]}" if elsewhere else "It has no artifact with files",
                todo="Read it from there, or register it with model=…",
                committed="no",
            )
        return self.models.registry.load(kept, run_id=run, **options)

    # -- inside --------------------------------------------------------------------------------------------------

    def _model(self, name: str, run: str | None, as_of: datetime | None = None) -> Kept[RegisteredModelValue]:
        found = self.models.shelf.model(name, run, as_of)
        if found is None:
            raise ModelNotFound(f"Model {name!r:.250} does not exist", committed="no", name=name)
        return found

    def _version(self, name: str, version: str, run: str | None, as_of: datetime | None = None) -> Kept[Any]:
        model = self._model(name, run, as_of).record
        found = self.models.shelf.version(model.id, version, run, as_of)
        if found is not None:
            return found
        alias, _ = self.models.shelf.alias(model.id, version, run, as_of)
        if alias is not None:
            return self.models.shelf.by_id(MODEL_VERSION, alias.version, run, as_of)
        if version == LATEST:
            newest = ListOptions(limit=1, order_by=OrderByField.CREATE_TIME, is_asc=False)
            versions = self.models.get_model_versions(model.id, newest, as_of=as_of, run_id=run)
            if versions:
                return self.models.shelf.by_id(MODEL_VERSION, str(versions[0].id), run, as_of)
        raise ModelNotFound(
            f"Model {name!r:.250} has no version {version!r:.250}", committed="no", name=name, version=version
        )

    aset_alias = twin(set_alias)
    aremove_alias = twin(remove_alias)
    aaliases = twin(aliases)
    aalias_history = twin(alias_history)
    aresolve = twin(resolve)
    aarchive = twin(archive)
    arestore = twin(restore)
    aartifacts_of = twin(artifacts_of)
    ahistory = twin(history)
    acompare = twin(compare)
    aset_card = twin(set_card)
    acard = twin(card)
    aload = twin(load)
