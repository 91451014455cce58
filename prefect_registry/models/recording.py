"""New and changed records of the model registry, and how they are written: alone, or with others by one decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prefect_registry.errors import NotFound, RevisionConflict
from prefect_registry.ledger import observers
from prefect_registry.models.addresses import address_of, id_at, link_name, model_address, version_address
from prefect_registry.models.checking import refuse_immutable, subject_of
from prefect_registry.models.converting import changed_fields, merged, resource_of
from prefect_registry.models.getting import Gets
from prefect_registry.models.reading import Kept, external_name
from prefect_registry.models.resources import Artifact, ModelVersion, RegisteredModel, Resource
from prefect_registry.models.writing import MOST_TRIES, Batch, Write, deciding, write_one
from prefect_registry.records.base import as_reason
from prefect_registry.records.models import (
    ModelArtifactValue,
    ModelExternalIdValue,
    ModelLinkValue,
    ModelRecord,
    ModelVersionValue,
    RegisteredModelValue,
)
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_EXTERNAL_ID, MODEL_LINK, MODEL_VERSION


class Records(Gets):
    """What of :class:`~prefect_registry.models.service.Models` makes and writes records."""

    # -- new records ---------------------------------------------------------------------------------------------

    def new_model(self, model: RegisteredModel) -> RegisteredModelValue:
        """The record of a model that is registered now."""
        return RegisteredModelValue(**self._new(MODEL, model_address(model.name), model, model.name))

    def new_version(self, version: ModelVersion, model: RegisteredModelValue) -> ModelVersionValue:
        """The record of a version that is registered now."""
        address = version_address(address_of(MODEL, model.id), version.name)
        new = self._new(MODEL_VERSION, address, version, version.name)
        return ModelVersionValue(**new, model=model.id, model_name=model.name)

    def new_artifact(
        self, artifact: Artifact, run: str | None, version: ModelVersionValue | None = None, *, is_there: bool = False
    ) -> ModelArtifactValue:
        """The record of an artifact that is registered now. What it refers to in this registry must be visible, which
        is looked up unless ``is_there`` says that the caller has just made it.
        """
        address = self.ledger.store.ids.typeid("art", self.now())[-16:]
        new = self._new(MODEL_ARTIFACT, address, artifact, artifact.name or f"artifact-{address}")
        record = ModelArtifactValue(
            **new, type=str(artifact.artifact_type), versions=[version.id] if version is not None else []
        )
        if not is_there:
            self.check_reference(record, run)
        return record

    def _new(self, type_: str, address: str, resource: Resource, name: str) -> dict[str, Any]:
        now = self.now()
        times = {"created_at": now, "changed_at": now}
        return {"id": id_at(type_, address, now), "name": name, "by": self.by, **times, **merged(resource, None)}

    def check_reference(self, record: ModelArtifactValue, run: str | None) -> None:
        """Refuse an artifact whose object or dataset in this registry is not there. Raises ``NotFound``."""
        if record.object is not None and not self.registry.has_object(record.object, run_id=run):
            raise NotFound(
                f"There is no object {record.object!r:.250}",
                why=f"The uri of the {record.type} {record.name!r:.100} names it",
                todo="Save it first; in a flow, in the same run",
                committed="no",
            )
        if record.dataset is not None:
            found = self.registry.get_dataset(record.dataset)
            staged = found.state == "STAGED" and run is not None and self.ledger.outcomes.inside(found.run_id, run)
            if not staged and found.state not in ("READY", "ARCHIVED"):
                raise NotFound(
                    f"Dataset {record.dataset} is {found.state}",
                    why=f"The uri of the {record.type} {record.name!r:.100} names it, and it cannot be read from here",
                    todo="Commit it first; in a flow, in the same run",
                    committed="no",
                )

    def link(self, artifact: ModelArtifactValue, version: ModelVersionValue) -> Write:
        """The link of an artifact to a version."""
        value = ModelLinkValue(version=version.id, artifact=artifact.id, type=artifact.type, name=artifact.name)
        name = link_name(address_of(MODEL_VERSION, version.id), artifact.type, artifact.name)
        return Write(
            MODEL_LINK, name, value.model_dump(), f"{artifact.type} {artifact.name!r:.250} of {subject_of(version)}"
        )

    # -- writing -------------------------------------------------------------------------------------------------

    def create(
        self, doing: str, type_: str, record: ModelRecord, others: list[Write], run: str | None, reason: str | None
    ) -> None:
        """Write a new record, what claims its external id, and ``others``, by one decision."""
        writes = [self.write_of(type_, record), *self.claims(type_, record), *others]
        if len(writes) == 1:
            self.write_alone(writes[0], run, reason)
            return
        with deciding(self.ledger, doing, run, reason) as batch:
            batch.write(*writes)

    def write_of(self, type_: str, record: ModelRecord, expected: int | None = None) -> Write:
        """A record as it is written."""
        return Write(type_, address_of(type_, record.id), record.model_dump(), subject_of(record), expected)

    def claims(self, type_: str, record: ModelRecord) -> list[Write]:
        """What keeps the external id of a record unique; nothing without one."""
        if record.external_id is None:
            return []
        value = ModelExternalIdValue(external_id=record.external_id, type=type_, id=record.id)
        name = external_name(type_ == MODEL_ARTIFACT, record.external_id)
        what = "artifact" if type_ == MODEL_ARTIFACT else "model or version"
        subject = f"external_id {record.external_id!r:.250} of another {what}"
        return [Write(MODEL_EXTERNAL_ID, name, value.model_dump(), subject)]

    def write_alone(self, write: Write, run: str | None, reason: str | None) -> None:
        """One generation: staged in the run, or visible at once."""
        written = write_one(self.ledger, write, run, as_reason(reason, 1_000))
        if run is None:
            observers.cell_published(self.ledger.store.storage.url, written)

    def update(
        self,
        type_: str,
        kept: Kept[Any],
        wanted: Resource,
        run: str | None,
        reason: str | None,
        version: ModelVersionValue | None = None,
    ) -> Resource:
        """Change a record to what ``wanted`` says, on top of whatever others have written meanwhile. By the same
        decision an artifact is made one of ``version``, if it is not yet.
        """
        for attempt in range(MOST_TRIES):
            current: ModelRecord = kept.record
            refuse_immutable(current, wanted)
            values = merged(wanted, current)
            changed = changed_fields(current, values)
            links: list[Write] = []
            if version is not None and isinstance(current, ModelArtifactValue) and version.id not in current.versions:
                links.append(self.link(current, version))
                changed, values["versions"] = [*changed, "versions"], [*current.versions, version.id]
            if not changed:
                return cast(Resource, resource_of(current))
            record = current.model_copy(update={**values, "by": self.by, "changed": changed, "changed_at": self.now()})
            if isinstance(record, ModelArtifactValue) and "uri" in changed:
                self.check_reference(record, run)
            try:
                self._replace(type_, current, record, kept.generation.gen, links, run, reason)
            except RevisionConflict:
                if attempt == MOST_TRIES - 1:
                    raise
                kept = self.shelf.by_id(type_, current.id, run)
                continue
            return cast(Resource, resource_of(record))
        raise AssertionError("unreachable")

    def _replace(
        self,
        type_: str,
        before: ModelRecord,
        after: ModelRecord,
        gen: int,
        others: list[Write],
        run: str | None,
        reason: str | None,
    ) -> None:
        write = self.write_of(type_, after, gen)
        moved = before.external_id != after.external_id
        if not moved and not others:
            self.write_alone(write, run, reason)
            return
        with deciding(self.ledger, f"update {subject_of(after)}", run, reason) as batch:
            claims = [*self.claims(type_, after), *self._released(type_, before, batch)] if moved else []
            batch.write(write, *others, *claims)

    def _released(self, type_: str, record: ModelRecord, batch: Batch) -> Iterator[Write]:
        """The end of a claim on an external id."""
        for claim in self.claims(type_, record):
            there = self.ledger.cells.latest(claim.type, claim.name, batch.run_id)
            if there is not None and not there.deleted and there.value.get("id") == record.id:
                yield Write(claim.type, claim.name, {}, claim.subject, there.gen, deleted=True)
