"""What recorded provenance says of lineage, as far as cells hold it (reference system 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Assertion = tuple[str, str, str]


def assertions(value: Mapping[str, Any]) -> dict[Assertion, None]:
    """What a model run says of lineage, as source, relation and target; in the order of the reference system, and each
    once. A value that makes no sense says nothing of what it does not name.
    """
    return dict.fromkeys(a for a in _assertions(value) if all(isinstance(id_, str) and id_ for id_ in a))


def prov_node_name(id_: str, run_id: str) -> str:
    """The name of the cell that holds what the import ``run_id`` said of the thing ``id_``: reverting the import takes
    back that cell, and nothing that other imports said. Cells of before that hold what all imports said, and are named
    by the id alone.
    """
    return f"{id_}/{run_id}"


def node_assertions(name: str, value: Mapping[str, Any]) -> dict[tuple[str, str, str, str], None]:
    """What the cell ``name`` of an imported thing says of lineage: source, relation, target, and who says so."""
    source = value.get("id") or name
    links = [link for link in _list(value.get("links")) if isinstance(link, list) and len(link) == 3]
    return {(str(source), *map(str, link)): None for link in links}  # type: ignore[misc]


def _assertions(value: Mapping[str, Any]) -> Iterator[Any]:
    record, run, model = _mapping(value.get("record")), value.get("run_id"), value.get("model")
    template, people = record.get("workflow_template_id"), _mapping(record.get("associations"))
    modeller = people.get("modeller_id")
    inputs, outputs = ([_mapping(each) for each in _list(record.get(side))] for side in ("inputs", "outputs"))
    yield run, "wasInformedBy", record.get("study_id")
    for each in inputs:
        yield run, "used", each.get("dataset_id")
    for each in outputs:
        yield each.get("dataset_id"), "wasGeneratedBy", run
    yield run, "used", model
    yield run, "used", template
    yield run, "wasAssociatedWith", modeller
    yield run, "wasAssociatedWith", people.get("requesting_organisation_id")
    for each in outputs:
        yield each.get("dataset_id"), "wasAttributedTo", modeller
    for id_ in _list(value.get("dataset_templates")):
        yield template, "hadMember", id_
    for each in (*inputs, *outputs):
        yield each.get("dataset_id"), "wasInfluencedBy", each.get("dataset_template_id")
    yield template, "hadMember", model


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
