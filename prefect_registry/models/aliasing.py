"""Aliases of versions: ``champion``, ``staging`` … One name, moved atomically, with a history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from prefect_registry.errors import InvalidInput
from prefect_registry.ledger.dropping import kept_of
from prefect_registry.models.addresses import address_of, alias_name
from prefect_registry.models.converting import named_problems
from prefect_registry.models.exceptions import ModelNotFound
from prefect_registry.models.service import Models
from prefect_registry.models.writing import Write
from prefect_registry.records.models import ModelAliasValue, ModelVersionValue
from prefect_registry.records.types import MODEL, MODEL_ALIAS

LATEST = "latest"
"""Not an alias: the version that was registered last."""


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias: the version that it points at from then on (None: it was removed), when, by whom, why."""

    alias: str
    version: str | None
    at: datetime
    by: str | None
    run_id: str | None
    reason: str | None


def alias_problems(alias: object) -> Iterator[str]:
    """What is wrong with an alias: nothing yielded means it is fine."""
    yield from named_problems(alias, "the alias")
    if isinstance(alias, str) and alias.lower() == LATEST:
        yield f"{alias!r} is the version that was registered last, and cannot be an alias"


def set_alias(
    models: Models, model: str, alias: str, version: ModelVersionValue | None, run: str | None, reason: str | None
) -> str | None:
    """Point an alias of the model of an id at one of its versions, or remove it (None). Returns where it pointed."""
    problems = list(alias_problems(alias))
    if version is not None and version.model != model:
        problems.append(f"version {version.name!r:.250} is one of model {version.model_name!r:.250}, not of this one")
    if problems:
        raise InvalidInput.of("the alias", problems)
    before, generation = models.shelf.alias(model, alias, run)
    if version is None and before is None:
        raise ModelNotFound(f"The model has no alias {alias!r:.250}", committed="no", alias=alias)
    if version is not None and before is not None and before.version == version.id:
        return before.version_name
    expected = generation.gen if generation is not None else None
    if version is not None:
        write = _pointing(models, version, alias, before, expected)
    else:
        assert before is not None
        value = before.model_copy(update={"previous": before.version_name, "by": models.by}).model_dump()
        write = Write(
            MODEL_ALIAS, _name(model, alias), value, f"alias {alias!r:.250}", expected, deleted=True, moves=True
        )
    models.write_alone(write, run, reason)
    return before.version_name if before is not None else None


def alias_write(models: Models, version: ModelVersionValue, alias: str, run: str | None) -> Write:
    """The move of an alias to a version that is being registered."""
    before, generation = models.shelf.alias(version.model, alias, run)
    return _pointing(models, version, alias, before, generation.gen if generation is not None else None)


def moves(models: Models, model: str, alias: str, run: str | None) -> list[AliasMove]:
    """Every move of an alias, oldest first."""
    found = kept_of(models.ledger.cells.history(MODEL_ALIAS, _name(model, alias), run))
    return [
        AliasMove(alias, None if g.deleted else g.value.get("version_name"), g.at, g.value.get("by"), g.tx, g.reason)
        for g in found
    ]


def _name(model: str, alias: str) -> str:
    return alias_name(address_of(MODEL, model), alias)


def _pointing(
    models: Models, version: ModelVersionValue, alias: str, before: ModelAliasValue | None, expected: int | None
) -> Write:
    value = ModelAliasValue(
        model=version.model, model_name=version.model_name, alias=alias, version=version.id,
        version_name=version.name, previous=before.version_name if before is not None else None, by=models.by,
    )  # fmt: skip
    return Write(
        MODEL_ALIAS, _name(version.model, alias), value.model_dump(), f"alias {alias!r:.250}", expected, moves=True
    )
