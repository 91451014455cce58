"""Whether a model run says what its workflow template requires, of things that there are (reference system 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from prefect_registry.provenance.records.items import SeedItem, Study
from prefect_registry.provenance.records.runs import (
    END_BEFORE_START,
    NO_DESCRIPTION,
    NO_DISPLAY_NAME,
    ModelRunRecord,
    TemplatedDataset,
)
from prefect_registry.provenance.records.templates import DatasetTemplate, TemplateResource, WorkflowTemplate

SOME_SHOWN = 20
"""How many keys a message names."""


class Lookup(Protocol):
    """The items that a record refers to: None where there is none of that id and subtype."""

    def study(self, id: str, /) -> Study | SeedItem | None:
        """The study of that id."""

    def workflow_template(self, id: str, /) -> WorkflowTemplate | SeedItem | None:
        """The workflow template of that id."""

    def dataset_template(self, id: str, /) -> DatasetTemplate | SeedItem | None:
        """The dataset template of that id."""

    def dataset(self, id: str, /) -> object | None:
        """Anything but None, if there is a dataset of that id; may be a seed item."""

    def model(self, id: str, /) -> object | None:
        """As :meth:`dataset`."""

    def person(self, id: str, /) -> object | None:
        """As :meth:`dataset`."""

    def organisation(self, id: str, /) -> object | None:
        """As :meth:`dataset`."""


class Code(StrEnum):
    """What is wrong with a model run. Stable and append-only: programs may match on them."""

    END_BEFORE_START = "end_before_start"
    EMPTY_DISPLAY_NAME = "empty_display_name"
    EMPTY_DESCRIPTION = "empty_description"
    STUDY_NOT_FOUND = "study_not_found"
    STUDY_INCOMPLETE = "study_incomplete"
    WORKFLOW_TEMPLATE_NOT_FOUND = "workflow_template_not_found"
    WORKFLOW_TEMPLATE_INCOMPLETE = "workflow_template_incomplete"
    DATASET_TEMPLATE_NOT_FOUND = "dataset_template_not_found"
    DATASET_TEMPLATE_INCOMPLETE = "dataset_template_incomplete"
    INPUT_MISSING = "input_missing"
    OUTPUT_MISSING = "output_missing"
    INPUT_NOT_IN_TEMPLATE = "input_not_in_template"
    OUTPUT_NOT_IN_TEMPLATE = "output_not_in_template"
    DATASET_NOT_FOUND = "dataset_not_found"
    RESOURCES_MISSING = "resources_missing"
    RESOURCES_UNEXPECTED = "resources_unexpected"
    MODEL_NOT_FOUND = "model_not_found"
    MODELLER_NOT_FOUND = "modeller_not_found"
    ORGANISATION_NOT_FOUND = "organisation_not_found"
    ANNOTATIONS_MISSING = "annotations_missing"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``path`` is the field that would have to change: ``inputs[0].dataset_id``."""

    code: Code
    message: str
    path: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def problems_of_model_run(record: ModelRunRecord, lookup: Lookup) -> list[Problem]:
    """Everything that is wrong, in the reference's order of checks; where it stops at the first, this goes on.

    An input's template must be among the workflow's *input* templates, an output's among its output templates; the
    reference takes either for either. What cannot be known without a template that is not there is not checked.
    """
    return list(_problems(record, lookup))


def _problems(record: ModelRunRecord, lookup: Lookup) -> Iterator[Problem]:
    yield from _own_problems(record)
    yield from _study_problems(record.study_id, lookup)
    workflow = lookup.workflow_template(record.workflow_template_id)
    template, about = None, f"workflow template with id {record.workflow_template_id}"
    if workflow is None:
        yield _not_found(Code.WORKFLOW_TEMPLATE_NOT_FOUND, about, "workflow_template_id")
    elif isinstance(workflow, SeedItem):
        yield _incomplete(Code.WORKFLOW_TEMPLATE_INCOMPLETE, about, "workflow_template_id")
    else:
        template = workflow

    sides = (
        _Side("input", record.inputs, None if template is None else template.input_templates),
        _Side("output", record.outputs, None if template is None else template.output_templates),
    )
    found: dict[str, DatasetTemplate] = {}
    for id_ in dict.fromkeys(id_ for side in sides for id_ in side.template_ids):
        one = lookup.dataset_template(id_)
        about = f"dataset template with id {id_} (associated with the workflow template)"
        if one is None:
            yield _not_found(Code.DATASET_TEMPLATE_NOT_FOUND, about, "workflow_template_id")
        elif isinstance(one, SeedItem):
            yield _incomplete(Code.DATASET_TEMPLATE_INCOMPLETE, about, "workflow_template_id")
        else:
            found[id_] = one
    for side in sides:
        yield from side.missing()
    for side in sides:
        yield from side.problems(found, lookup)
    if template is not None and lookup.model(template.software_id) is None:
        about = f"model with id {template.software_id} (associated with the workflow template)"
        yield _not_found(Code.MODEL_NOT_FOUND, about, "workflow_template_id")
    yield from _association_problems(record, lookup)
    if template is not None and template.annotations is not None:
        missing = [key for key in template.annotations.required if key not in (record.annotations or {})]
        if missing:
            message = f"Missing required annotations with keys: ({_listed(missing)})."
            yield Problem(Code.ANNOTATIONS_MISSING, message, "annotations")


def _own_problems(record: ModelRunRecord) -> Iterator[Problem]:
    """What the model refuses too: a record can be made without its checks."""
    if record.end_time < record.start_time:
        yield Problem(Code.END_BEFORE_START, END_BEFORE_START, "end_time")
    if not record.display_name.strip():
        yield Problem(Code.EMPTY_DISPLAY_NAME, NO_DISPLAY_NAME, "display_name")
    if not record.description.strip():
        yield Problem(Code.EMPTY_DESCRIPTION, NO_DESCRIPTION, "description")


def _study_problems(study_id: str | None, lookup: Lookup) -> Iterator[Problem]:
    if study_id is None:
        return
    study = lookup.study(study_id)
    if study is None:
        yield _not_found(Code.STUDY_NOT_FOUND, f"study with id {study_id}", "study_id")
    elif isinstance(study, SeedItem):
        yield _incomplete(Code.STUDY_INCOMPLETE, f"study with id {study_id}", "study_id")


def _association_problems(record: ModelRunRecord, lookup: Lookup) -> Iterator[Problem]:
    modeller, organisation = record.associations.modeller_id, record.associations.requesting_organisation_id
    if lookup.person(modeller) is None:
        message = f"Modeller with id {modeller} was not a valid person"
        yield Problem(Code.MODELLER_NOT_FOUND, message, "associations.modeller_id")
    if organisation is not None and lookup.organisation(organisation) is None:
        message = f"Organisation with id {organisation} was not a valid organisation"
        yield Problem(Code.ORGANISATION_NOT_FOUND, message, "associations.requesting_organisation_id")


class _Side:
    """The inputs, or the outputs, and the templates for them; None when the workflow template is not known."""

    def __init__(
        self, noun: str, datasets: Iterable[TemplatedDataset], templates: Iterable[TemplateResource] | None
    ) -> None:
        self.noun, self.datasets = noun, list(datasets)
        self.templates = None if templates is None else list(templates)
        self.template_ids = [each.template_id for each in self.templates or ()]

    def missing(self) -> Iterator[Problem]:
        given = {each.dataset_template_id for each in self.datasets}
        for each in self.templates or ():
            if not each.optional and each.template_id not in given:
                code = Code.INPUT_MISSING if self.noun == "input" else Code.OUTPUT_MISSING
                message = (
                    f"The workflow template expects dataset with template ID {each.template_id} "
                    f"but it was not present in the {self.noun}s."
                )
                yield Problem(code, message, f"{self.noun}s")

    def problems(self, found: dict[str, DatasetTemplate], lookup: Lookup) -> Iterator[Problem]:
        for i, dataset in enumerate(self.datasets):
            path = f"{self.noun}s[{i}]"
            expected = self.templates is None or dataset.dataset_template_id in self.template_ids
            if not expected:
                code = Code.INPUT_NOT_IN_TEMPLATE if self.noun == "input" else Code.OUTPUT_NOT_IN_TEMPLATE
                message = (
                    f"The {self.noun} dataset template with id {dataset.dataset_template_id} does not exist in the "
                    f"workflow template's list of expected/required {self.noun} dataset templates."
                )
                yield Problem(code, message, f"{path}.dataset_template_id")
            if lookup.dataset(dataset.dataset_id) is None:
                about = f"{self.noun} dataset with id {dataset.dataset_id}"
                yield _not_found(Code.DATASET_NOT_FOUND, about, f"{path}.dataset_id")
            template = found.get(dataset.dataset_template_id) if expected else None
            if template is not None:
                yield from _resource_problems(dataset, template, f"{path}.resources")


def _resource_problems(dataset: TemplatedDataset, template: DatasetTemplate, path: str) -> Iterator[Problem]:
    given = dataset.resources or {}
    missing = [each.key for each in template.deferred_resources if not each.optional and each.key not in given]
    known = {each.key for each in template.deferred_resources}
    unexpected = [key for key in given if key not in known]
    about = f"The provided templated dataset with id {dataset.dataset_template_id} and dataset id {dataset.dataset_id}"
    if missing:
        message = (
            f"{about} was missing deferred resource paths for the following required resource keys "
            f"({_listed(missing)})."
        )
        yield Problem(Code.RESOURCES_MISSING, message, path)
    if unexpected:
        message = (
            f"{about} provided unexpected deferred resource paths for the following unexpected resource keys "
            f"({_listed(unexpected)})."
        )
        yield Problem(Code.RESOURCES_UNEXPECTED, message, path)


def _not_found(code: Code, about: str, path: str) -> Problem:
    return Problem(code, f"Provided {about} was not a valid id", path)


def _incomplete(code: Code, about: str, path: str) -> Problem:
    return Problem(code, f"Provided {about} is an incomplete seed record.", path)


def _listed(keys: list[str]) -> str:
    more = len(keys) - SOME_SHOWN
    return ",".join(keys[:SOME_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
