"""Records of model runs that are wrong in themselves, so that all else that is wrong with them can be told as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from prefect_registry.errors import InvalidInput
from prefect_registry.provenance.records.base import problems_of
from prefect_registry.provenance.records.runs import ModelRunRecord

_STAND_INS: dict[str, Any] = {
    "workflow_template_id": "?",
    "inputs": [],
    "outputs": [],
    "display_name": "?",
    "description": "?",
    "associations": {"modeller_id": "?"},
}
_RULES = {("display_name", "empty"), ("description", "empty"), ("end_time", "end_before_start")}
"""What the rules on model runs tell too, of fields whose values are of the right kind."""


def unruled(value: ModelRunRecord | Mapping[str, Any], subject: str = "the model run record") -> ModelRunRecord:
    """A new record of ``value``, also where its texts are blank or it ends before it starts: that is for
    :func:`~prefect_registry.provenance.validating.problems_of_model_run`, which tells it with everything else.

    Raises:
        InvalidInput: ``problems`` has everything that is wrong with its fields.
    """
    given = value.model_dump(warnings=False) if isinstance(value, BaseModel) else value
    try:
        return ModelRunRecord.model_validate(given)
    except ValidationError as error:
        wrong = {(e["loc"][0] if len(e["loc"]) == 1 else "", e["type"]) for e in error.errors(include_url=False)}
        if not wrong <= _RULES:
            raise InvalidInput.of(subject, problems_of(error), todo="Correct it and call again") from error
    fields = {str(field) for field, _ in wrong}
    return _with_stand_ins(given, fields).model_copy(update={field: given[field] for field in fields})


def salvaged(document: Mapping[str, Any]) -> tuple[ModelRunRecord, frozenset[str]]:
    """What can be shown of a record that was refused, and the fields of which nothing can: they are missing, or their
    values are of another kind.
    """
    try:
        return unruled(document), frozenset()
    except InvalidInput:
        pass
    known = {key: value for key, value in document.items() if key in ModelRunRecord.model_fields}
    try:
        record = ModelRunRecord.model_validate(known)
    except ValidationError as error:
        absent = {str(e["loc"][0]) for e in error.errors(include_url=False) if e["type"] != "end_before_start"}
        if absent & {"start_time", "end_time"}:
            absent |= {"start_time", "end_time"}
        fields = {*absent, "end_time"}
        record = _with_stand_ins(known, fields)
        if "end_time" not in absent:
            record = record.model_copy(update={"end_time": known["end_time"]})
        return record, frozenset(absent)
    return record, frozenset()


def _with_stand_ins(given: Mapping[str, Any], fields: Collection[str]) -> ModelRunRecord:
    """A valid record with other values in some of its fields."""
    kept = {key: value for key, value in given.items() if key not in fields}
    start = kept.setdefault("start_time", 0)
    kept |= {field: _STAND_INS[field] for field in fields if field in _STAND_INS}
    if "end_time" in fields:
        kept["end_time"] = start
    return ModelRunRecord.model_validate(kept)
