"""Pages of registered models, versions and artifacts: one query in one state of the index, under what a run staged."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from types import NoneType
from typing import Any, Final

import orjson
from pydantic import ValidationError

from prefect_registry.catalog.catalog import Catalog
from prefect_registry.catalog.queries import MOST_PER_PAGE, cursor, last_of, moment_of
from prefect_registry.errors import FormatError, InvalidInput
from prefect_registry.ids import with_article
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.ledger.staged import staged_cells
from prefect_registry.models.addresses import NOUNS
from prefect_registry.models.fields import order_of
from prefect_registry.models.filters import Filter, filter_of
from prefect_registry.models.resources import ArtifactState, ArtifactType, ModelVersionState, RegisteredModelState
from prefect_registry.records.base import first_problem
from prefect_registry.records.models import ModelArtifactValue, ModelRecord, ModelVersionValue, RegisteredModelValue
from prefect_registry.records.types import MODEL, MODEL_ARTIFACT, MODEL_LINK, MODEL_VERSION

_RECORDS: Final[dict[str, type[ModelRecord]]] = {
    MODEL: RegisteredModelValue,
    MODEL_VERSION: ModelVersionValue,
    MODEL_ARTIFACT: ModelArtifactValue,
}
_STATES: Final[dict[str, frozenset[str]]] = {
    MODEL: frozenset(RegisteredModelState),
    MODEL_VERSION: frozenset(ModelVersionState),
    MODEL_ARTIFACT: frozenset(ArtifactState),
}
_TYPES: Final = frozenset(ArtifactType)

_STAGED: Final = (
    "SELECT json_extract(cell.value, '$[0]') AS type, json_extract(cell.value, '$[1]') AS name,"
    " json_extract(cell.value, '$[2]') AS value FROM json_each(:staged) AS cell"
)
"""What :meth:`Listing._staged` gives."""
_NEWEST: Final = (
    "SELECT c.name, c.value FROM cells AS c WHERE c.type = '{type}' AND NOT c.deleted AND c.value IS NOT NULL{names}"
    " AND c.gen = (SELECT max(gen) FROM cells WHERE type = c.type AND key = c.key{settled})"
)
"""The cells of a type that are there, by the index."""
_UNDER_STAGED: Final = (
    " AND c.name NOT IN (SELECT name FROM staged WHERE type = '{type}')"
    " UNION ALL SELECT c.name, c.value FROM staged AS c WHERE c.type = '{type}' AND c.value IS NOT NULL{names}"
)
"""And those of a run in the place of those that it has touched."""
_SETTLED: Final = " AND visible_at <= :as_of"
_OF_THE_VERSION: Final = " AND (c.name > :low AND c.name < :high OR c.name > :low_short AND c.name < :high_short)"
"""Cells whose names begin with a version's id, or the last 16 characters of it, and ``@``: a part of an index."""
_LINKED: Final = (
    "SELECT substr(json_extract(link.value, '$.artifact'), -16) AS name FROM ({links}) AS link"
    " WHERE json_extract(link.value, '$.version') = :parent"
)
"""The names of the cells of the artifacts that a version has."""


class Listing:
    """Lists what the cells of the model registry hold."""

    def __init__(self, ledger: Ledger, catalog: Catalog) -> None:
        self.ledger = ledger
        self.catalog = catalog

    def page(
        self,
        kind: str,
        *,
        parent: str | None = None,
        limit: int = 20,
        order_by: str = "id",
        ascending: bool = True,
        token: str | None = None,
        filter_query: str | None = None,
        states: Collection[str] | None = None,
        run_id: str | None = None,
        as_of: datetime | None = None,
        artifact_type: str | None = None,
        fresh: bool = True,
        max_age: float | None = None,
    ) -> tuple[list[Any], str | None]:
        """Records of :mod:`prefect_registry.records.models`, and the token of the next page; None at the end.

        Args:
            kind: ``model``, ``model_version`` or ``model_artifact``.
            parent: Only the versions of this model, or the artifacts that this version is linked with: its id.
            limit: The most that a page has; at most 10,000.
            order_by: Any field of the kind, or ``properties.key``. Ties go by id, and what has no value comes last.
            token: What the page before gave. It goes on behind its last item, whatever has come in between.
            filter_query: See :mod:`prefect_registry.models.filters`.
            states: Only these. By default archived models and versions are left out, unless ``filter_query`` looks
                at the state.
            run_id: Under what is staged in this run, those around it and those nested in it; not with ``as_of``.
            as_of: As it was published then (aware).
            artifact_type: Only artifacts of this type.
            fresh: As in :meth:`~prefect_registry.catalog.catalog.Catalog.runs`; ``max_age`` too.

        Raises:
            InvalidInput: Lists everything that cannot be; also for a token of another query.
        """
        _check(kind, parent, limit, states, artifact_type)
        wanted = filter_of(kind, filter_query)
        values: dict[str, Any] = {**wanted.values, "parent": parent, "artifact_type": artifact_type}
        order = order_of(kind, order_by, ascending, values)
        shown = _shown(kind, states, wanted)
        asked = repr((kind, parent, order_by, ascending, filter_query, shown, run_id, as_of, artifact_type))
        conditions = [wanted.sql, *_conditions(kind, parent, artifact_type, shown, values)]
        if token is not None:
            after = order.after(_ID, _last(asked, token))
            conditions.append(after.sql)
            values |= after.values
        staged = self._staged(kind, parent, run_id) if as_of is None else []
        values["staged"] = orjson.dumps(staged).decode()
        source = _source(kind, parent, bool(staged), as_of is not None)
        sql = f"{source} SELECT item.value, {order.column} AS last_value, {_ID} AS id FROM item"
        sql += f" WHERE {' AND '.join(conditions)} ORDER BY {order.sql(_ID)} LIMIT {limit + 1}"
        values |= {"as_of": moment_of("as_of", as_of)} | _range(parent)
        found = self.catalog.ask(lambda connection: connection.execute(sql, values).fetchall(), fresh, max_age)
        items = [_record(kind, row["value"]) for row in found[:limit]]
        last = found[limit - 1] if len(found) > limit else None
        return items, cursor(asked, (last["last_value"], last["id"])) if last is not None else None

    def _staged(self, kind: str, parent: str | None, run_id: str | None) -> list[tuple[str, str, str | None]]:
        """The cells that are laid over the index: type, name, and value as JSON text; None for what is not there."""
        types = [kind, MODEL_LINK] if kind == MODEL_ARTIFACT and parent is not None else [kind]
        return [
            (type_, name, orjson.dumps(cell.value).decode() if cell is not None and not cell.deleted else None)
            for (type_, name), cell in staged_cells(self.ledger, run_id, types).items()
        ]


_ID: Final = "json_extract(item.value, '$.id')"


def _check(
    kind: str, parent: str | None, limit: int, states: Collection[str] | None, artifact_type: str | None
) -> None:
    if kind not in _RECORDS:
        raise InvalidInput.of("kind", [f"it must be one of {', '.join(_RECORDS)}, not {kind!r:.40}"])
    problems = []
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_PER_PAGE:
        problems.append(f"limit must be from 1 to {MOST_PER_PAGE:,}, not {limit!r:.40}")
    if parent is not None and kind == MODEL:
        problems.append("registered models belong to nothing: leave out parent")
    elif parent is not None and not _is_text(parent):
        problems.append(f"parent must be an id, not {parent!r:.40}")
    if states is not None and (isinstance(states, str) or not all(state in _STATES[kind] for state in states)):
        problems.append(f"states must be some of {', '.join(sorted(_STATES[kind]))}, not {states!r:.80}")
    if artifact_type is not None and (kind != MODEL_ARTIFACT or artifact_type not in _TYPES):
        told = f"one of {', '.join(sorted(_TYPES))}" if kind == MODEL_ARTIFACT else f"left out for a {NOUNS[kind]}"
        problems.append(f"artifact_type must be {told}, not {artifact_type!r:.40}")
    if problems:
        raise InvalidInput.of("the listing", problems)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _shown(kind: str, states: Collection[str] | None, wanted: Filter) -> list[str] | None:
    """The states of what is shown; None for all."""
    if states is not None:
        return sorted({str(state) for state in states})
    return None if kind == MODEL_ARTIFACT or "state" in wanted.fields else ["LIVE"]


def _conditions(
    kind: str, parent: str | None, artifact_type: str | None, states: list[str] | None, values: dict[str, Any]
) -> list[str]:
    """What must hold besides the filter."""
    found = []
    if parent is not None and kind == MODEL_VERSION:
        found.append("json_extract(item.value, '$.model') = :parent")
    if artifact_type is not None:
        found.append("json_extract(item.value, '$.type') = :artifact_type")
    if states is not None:
        names = [f"state{i}" for i in range(len(states))]
        values |= zip(names, states, strict=True)
        found.append(f"json_extract(item.value, '$.state') IN ({', '.join(f':{name}' for name in names)})")
    return found


def _source(kind: str, parent: str | None, under_staged: bool, in_the_past: bool) -> str:
    """``item``: the cells of a kind that are there."""
    newest = _NEWEST + _UNDER_STAGED if under_staged else _NEWEST
    settled = _SETTLED if in_the_past else ""
    tables, names = [f"staged AS ({_STAGED})"], ""
    if kind == MODEL_ARTIFACT and parent is not None:
        links = newest.format(type=MODEL_LINK, names=_OF_THE_VERSION, settled=settled)
        tables.append(f"linked AS ({_LINKED.format(links=links)})")
        names = " AND c.name IN (SELECT name FROM linked)"
    tables.append(f"item AS ({newest.format(type=kind, names=names, settled=settled)})")
    return f"WITH {', '.join(tables)}"


def _range(parent: str | None) -> dict[str, str]:
    """Between what the names of a version's links are; "A" comes right behind "@"."""
    whole, short = parent or "", (parent or "")[-16:]
    return {"low": f"{whole}@", "high": f"{whole}A", "low_short": f"{short}@", "high_short": f"{short}A"}


def _last(asked: str, token: str) -> tuple[Any, Any]:
    """The last item of the page before, by the token that it gave."""
    try:
        value, id_ = last_of(asked, token)
    except InvalidInput as error:
        raise InvalidInput.of("next_page_token", error.problems, todo="Begin again at the first page") from error
    if not (isinstance(id_, str) and isinstance(value, (str, int, float, NoneType))):
        raise InvalidInput.of("next_page_token", ["it is not one that a page gave"])
    return value, id_


def _record(kind: str, value: str) -> ModelRecord:
    try:
        return _RECORDS[kind].model_validate(orjson.loads(value))
    except ValidationError as error:
        raise FormatError(
            f"The record of {with_article(NOUNS[kind])} cannot be read",
            why=first_problem(error),
            todo="It was damaged, or written by something else; nothing was changed",
        ) from error
