"""A model, a version and its artifacts by one decision: nothing half, and nothing uploaded for a name that is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from sqlite3 import Connection
from typing import cast

from prefect_registry.errors import InvalidInput
from prefect_registry.models.aliasing import alias_problems, alias_write
from prefect_registry.models.checking import subject_of
from prefect_registry.models.converting import problems_of, resource_of
from prefect_registry.models.exceptions import DuplicateError
from prefect_registry.models.resources import Artifact, ModelVersion, RegisteredModel
from prefect_registry.models.service import Models
from prefect_registry.models.writing import Batch, deciding, duplicate
from prefect_registry.records.models import ModelVersionValue, RegisteredModelValue
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_VERSION

Upload = Callable[[Batch, str], Iterable[Artifact]]
"""Puts the bytes of a version of that name somewhere, and returns the artifacts that tell of them."""
_NUMBERS = (
    "SELECT max(CAST(json_extract(value, '$.name') AS INTEGER)) AS highest FROM cells WHERE type = ?"
    " AND json_extract(value, '$.model') = ? AND json_extract(value, '$.name') NOT GLOB '*[^0-9]*'"
    " AND length(json_extract(value, '$.name')) < 10"
)


@dataclass(frozen=True)
class Registered:
    """What one registration has made; ``model`` may have been there before."""

    model: RegisteredModel
    version: ModelVersion
    artifacts: list[Artifact] = field(default_factory=list)


def register(
    models: Models,
    model: RegisteredModel,
    version: ModelVersion | None = None,
    artifacts: Sequence[Artifact] = (),
    *,
    upload: Upload | None = None,
    aliases: Sequence[str] = (),
    reason: str | None = None,
    run_id: str | None = None,
) -> Registered:
    """Register a version of a model, which is registered too if there is none of its name, with its artifacts.

    Args:
        model: Of one that is there already nothing is changed.
        version: Without one, or without a name, it gets the next number.
        upload: Called once the version's name is ours; what it returns is registered too.
        aliases: Point to this version from then on.

    Raises:
        DuplicateError: That version is registered; ``upload`` was not called.
        UndecidedConflict: Another run is registering it, and stayed undecided.
        InvalidInput: Lists every problem; nothing was written.
    """
    wanted = version if version is not None else ModelVersion("")
    problems = list(problems_of(model, "registered model"))
    if wanted.name:
        problems += problems_of(wanted, "model version")
    problems += [p for artifact in artifacts for p in _artifact_problems(artifact)]
    problems += [p for alias in aliases for p in alias_problems(alias)]
    if problems:
        raise InvalidInput.of("the registration", problems)
    run = models.run_of(run_id)
    if run is not None:
        models.ledger.drop_spoiled(run)  # what failed before is no duplicate
    kept = models.shelf.model(model.name, run)
    if kept is not None and wanted.name:
        there = models.shelf.version(kept.record.id, wanted.name, run)
        if there is not None:
            raise duplicate(subject_of(there.record))
    doing = f"register model {model.name}" + (f" {wanted.name}" if wanted.name else "")
    with deciding(models.ledger, doing, run, reason) as batch:
        parent = kept.record if kept is not None else _model(models, model, batch)
        record = _claim(models, parent, wanted, batch)
        uploaded = list(upload(batch, record.name)) if upload is not None else []
        made = [models.new_artifact(artifact, batch.run_id, record) for artifact in artifacts]
        made += [models.new_artifact(artifact, batch.run_id, record, is_there=True) for artifact in uploaded]
        writes = [write for each in made for write in (
            models.write_of(MODEL_ARTIFACT, each), *models.claims(MODEL_ARTIFACT, each), models.link(each, record)
        )]  # fmt: skip
        moves = [partial(alias_write, models, record, alias, batch.run_id) for alias in dict.fromkeys(aliases)]
        if writes or moves:
            batch.write(*writes, *moves)
    return Registered(
        cast(RegisteredModel, resource_of(parent)),
        cast(ModelVersion, resource_of(record)),
        [cast(Artifact, resource_of(each)) for each in made],
    )


def _artifact_problems(artifact: Artifact) -> Iterator[str]:
    if not isinstance(artifact, Artifact) or type(artifact) is Artifact:
        yield f"an artifact must be a ModelArtifact, DocArtifact …, not {type(artifact).__name__}"
        return
    if artifact.id is not None:
        yield f"{artifact.artifact_type} {artifact.name!r:.100} has an id: link it with upsert_model_version_artifact"
    yield from problems_of(artifact, str(artifact.artifact_type))


def _model(models: Models, model: RegisteredModel, batch: Batch) -> RegisteredModelValue:
    """The record of a new model; of the one that somebody else has registered meanwhile."""
    record = models.new_model(model)
    try:
        batch.write(models.write_of(MODEL, record), *models.claims(MODEL, record))
    except DuplicateError:
        there = models.shelf.model(model.name, batch.run_id)
        if there is None or there.record.id == record.id:
            raise  # it is the external id that is taken
        return there.record
    return record


def _claim(models: Models, model: RegisteredModelValue, wanted: ModelVersion, batch: Batch) -> ModelVersionValue:
    """The record of the version, written: from now on nobody else can register it while the run is undecided."""
    if wanted.name:
        record = models.new_version(wanted, model)
        batch.write(models.write_of(MODEL_VERSION, record), *models.claims(MODEL_VERSION, record))
        return record
    number = _highest_number(models, model.id)
    while True:
        number += 1
        record = models.new_version(wanted.model_copy(update={"name": str(number)}), model)
        if batch.first(models.write_of(MODEL_VERSION, record)):
            claims = models.claims(MODEL_VERSION, record)
            if claims:
                batch.write(*claims)
            return record


def _highest_number(models: Models, model: str) -> int:
    """The highest version of a model that is a number, deleted ones too; 0 when there is none."""

    def find(connection: Connection) -> int:
        return int(connection.execute(_NUMBERS, (MODEL_VERSION, model)).fetchone()["highest"] or 0)

    return models.registry.catalog.ask(find)
